"""Any breaker that shows its state as JSON: a URL, a path into the document, and what each value means."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from agent.breakers.boxes.whitebox import Sample
from agent.whitebox.address import state_of
from agent.whitebox.prometheus import given_traps
from agent.whitebox.reader import Unreadable
from agent.whitebox.web import Web

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agent.breakers.boxes.whitebox import Traps
    from agent.breakers.courses.states import State
    from agent.whitebox.address import Address
    from agent.whitebox.reader import Reader

STEP = re.compile(r"\[(\d+)\]|([^.\[\]]+)")


def reader(address: Address) -> Reader:
    """Read a JSON document.

    Options: ``path`` such as ``breakers[0].state`` (without it the document itself is the state);
    ``map=VALUE:closed,...``, where the values are not the usual words; ``lazy=yes``, ``half_open=no``.
    """
    traps = given_traps(address)
    return _Document(Web(address), address.text("path"), address.states(), traps)


class _Document:
    """One value in a document."""

    def __init__(self, web: Web, path: str, meaning: Mapping[str, State], traps: Traps) -> None:
        self._web, self._path, self._meaning, self.traps = web, path, meaning, traps

    def read(self) -> Sequence[Sample]:
        """Return what the value means."""
        page = self._web.get()
        value = at_path(page.json(), self._path)
        word = str(value).lower() if isinstance(value, bool) else str(value)
        state = self._meaning.get(word) or (None if self._meaning else state_of(word))
        if state is None:
            raise Unreadable(f"nobody said what {word[:40]!r} means")
        return [Sample(asked=page.asked, read=page.read, state=state, details={"value": word[:40]})]

    def close(self) -> None:
        """Close the connection."""
        self._web.close()


def at_path(document: Any, path: str) -> Any:
    """Return the value at *path*: names with dots between, and [numbers].

    Raises:
        Unreadable: There is none.
    """
    found = document
    for number, name in STEP.findall(path):
        try:
            found = found[int(number)] if number else found[name]
        except (KeyError, IndexError, TypeError):
            raise Unreadable(f"there is no {path} in it") from None
    return found
