"""Copies of the ledger's entries on the Job that a run lives in, for when the ledger dies with its node.

The ledger itself stays in the pod, and healing there never needs a copy.  A copy is written ahead of
the harm, like the entry: whoever finds the pod dead undoes and checks what the copies name.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from agent import settings as settings_of
from agent.model import Call, GamedayError, Injection, Refused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.model import Json

FAULTS = "agent.faults."
ENTRY = "gameday/injection-"
"""Annotation of the Job; one for each injection."""


class NotCopied(Refused):
    """The copy of a ledger entry could not be written; nothing was touched."""


class NotOurs(GamedayError):
    """A copy names what this agent never wrote; it is not called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Copies:
    """What stands on a Job: the injections of its run, and why the rest is none of them."""

    injections: tuple[Injection, ...]
    strange: tuple[str, ...] = ()


def announce(injection: Injection) -> None:
    """Write the copy of *injection* where this process runs in a Job; nothing to do elsewhere.

    Raises:
        NotCopied: The Job could not be changed, so nothing may be broken.
    """
    place = settings_of.current().job
    if place is None:
        return
    from agent.clients import jobs  # noqa: PLC0415  # outside of a Job no injection pays for them
    from agent.clients.kubernetes import KubernetesError, connect  # noqa: PLC0415

    namespace, name, uid = place.split("/")
    annotations = {ENTRY + injection.id: json.dumps(asdict(injection))}
    try:
        with connect() as api:
            api.patch(jobs.path_of(namespace, name), {"metadata": {"uid": uid, "annotations": annotations}})
    except KubernetesError as error:
        raise NotCopied(
            f"{injection.fault}: its record could not be copied to Job {namespace}/{name}, and would be "
            f"lost with this pod: {error}; nothing was touched"
        ) from error


def copies(annotations: Mapping[str, str], *, run: str, place: Mapping[str, Json]) -> Copies:
    """Return the injections of *run* that a Job's *annotations* name, as they are undone from out here.

    Whoever may change a Job could write there what this process is to call, so only the agent's own
    faults are taken.
    """
    found, strange = [], []
    for key, text in sorted(annotations.items()):
        if key.startswith(ENTRY):
            try:
                found.append(from_here(Injection.from_json(json.loads(text)), run=run, place=place))
            except (NotOurs, ValueError, KeyError, TypeError) as error:
                strange.append(f"{key}: {error}")
    return Copies(injections=tuple(found), strange=tuple(strange))


def from_here(injection: Injection, *, run: str, place: Mapping[str, Json]) -> Injection:
    """Return *injection* with its calls' cluster as this process reaches it.

    Inside the cluster there is no kubeconfig; *place* is the same cluster as this process calls it.

    Raises:
        NotOurs: It is of another run, or calls something else than the agent's own faults.
    """
    if injection.run != run:
        raise NotOurs(f"injection {injection.id} is of run {injection.run}, not of {run}")
    calls: dict[str, Any] = {}
    for name in ("undo", "landed_check", "gone_check", "renew"):
        call: Call | None = getattr(injection, name)
        if call is None:
            continue
        if not call.func.startswith(FAULTS):
            raise NotOurs(f"injection {injection.id} calls {call.func}, which is none of the agent's faults")
        if "place" in call.arguments:
            calls[name] = replace(call, arguments={**call.arguments, "place": dict(place)})
    return replace(injection, **calls)
