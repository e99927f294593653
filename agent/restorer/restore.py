"""Makes a change and puts it back, each on condition that the object is as it was just read."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.clients.kubernetes import Changed, NotThere
from agent.model import Refused
from agent.restorer.changes import BACK, Stands

if TYPE_CHECKING:
    from agent.clients.kubernetes import Api
    from agent.restorer.changes import Change, Object

RACES_MAX = 10
"""So often it is tried again at once because the object was written between the look and the order."""
ASK_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one change: was it *restored* just now, and if not, what is worth saying."""

    restored: bool
    says: str = ""


def make(api: Api, change: Change) -> None:
    """Make *change* to the very object that it names.

    Raises:
        Refused: The object is gone, or has become another one than the change was meant for.
        KubernetesError: The API server did not let us.
    """
    for _ in range(RACES_MAX):
        found = read(api, change)
        why = f"{change.name} is gone" if found is None else change.unfit(found)
        if found is None or why is not None:
            raise Refused(f"{why}; it was not touched")
        with contextlib.suppress(Changed):
            api.patch(change.written_at, change.put(found), manager=change.mark)
            return
    raise Changed(f"{change.name} is written to all the time; it was not changed")


def restore(api: Api, change: Change) -> Outcome:
    """Put *change* back if it is in; what somebody else has set since is left alone, and told.

    Raises:
        KubernetesError: Nobody knows whether it is in, or it could not be put back.
    """
    for _ in range(RACES_MAX):
        found = read(api, change)
        stands = Stands.BACK if found is None else change.stands(found)
        if found is None or stands is Stands.BACK:
            return Outcome(restored=False)
        body = change.back(found) if stands is Stands.IN else change.rest(found)
        with contextlib.suppress(Changed, NotThere):  # the next look tells what became of it
            if body is not None:
                api.patch(change.written_at, body, manager=change.mark + BACK, timeout_s=ASK_S)
            if stands is Stands.IN:
                return Outcome(restored=True)
            says = f"{change.name} was changed meanwhile ({change.now(found)}) and was left so"
            return Outcome(restored=False, says=says)
    raise Changed(f"{change.name} is written to all the time; it was not put back")


def prove(api: Api, change: Change) -> None:
    """Try to write what putting *change* back would write, without doing it: rights, webhooks and all.

    Raises:
        KubernetesError: It would not be let.
    """
    for _ in range(RACES_MAX):
        found = read(api, change)
        if found is None:
            raise NotThere(f"{change.name} is gone")
        with contextlib.suppress(Changed):
            api.patch(change.written_at, change.back(found), manager=change.mark + BACK, dry_run=True)
            return
    raise Changed(f"{change.name} is written to all the time")


def is_in(api: Api, change: Change) -> bool:
    """Whether the object still is as *change* made it."""
    found = read(api, change)
    return found is not None and change.stands(found) is Stands.IN


def read(api: Api, change: Change) -> Object | None:
    """Return the very object, None when it is gone or was made anew."""
    try:
        found = api.get(change.path, timeout_s=ASK_S)
    except NotThere:
        return None
    return found if found["metadata"]["uid"] == change.uid else None
