"""purgatory with a Redis: its key ``cbr::NAME``."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from agent.breakers.boxes.whitebox import Sample, Traps
from agent.breakers.courses.states import State
from agent.whitebox.address import state_of
from agent.whitebox.keys import Keys
from agent.whitebox.reader import Unreadable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.whitebox.address import Address
    from agent.whitebox.reader import Reader


def reader(address: Address) -> Reader:
    """Read the key at ``redis://HOST:PORT/NUMBER``.  Option: ``name`` of the circuit."""
    return _Purgatory(Keys(address), address.required("name", "circuit"))


class _Purgatory:
    """One document a circuit."""

    traps = Traps(
        lazy=True,
        late_half_open=True,
        notes=(
            "it stays open after its ttl until the next call arrives",
            "what a call changed is written when it has ended: half-open after the trial, and gone at once",
        ),
    )

    def __init__(self, keys: Keys, name: str) -> None:
        self._keys, self._name = keys, name
        self._before: Sample | None = None

    def read(self) -> Sequence[Sample]:
        """Return the state; where it has just opened, not before ``opened_at``."""
        value, asked, read = self._keys.get(f"cbr::{self._name}")
        if value is None:
            raise Unreadable(f"there is no key cbr::{self._name}: nobody has called that circuit yet")
        try:
            found = json.loads(value)
            state, opened_at = state_of(str(found["state"])), found.get("opened_at")
        except (ValueError, KeyError, TypeError):
            raise Unreadable(f"cbr::{self._name} holds something else") from None
        before, details = self._before, {"state": found["state"], "opened_at": opened_at}
        sample = Sample(asked=asked, read=read, state=state, details=details)
        self._before = sample
        opens = before is not None and before.state is not State.OPEN and state is State.OPEN
        if before is None or not opens or not isinstance(opened_at, int | float):
            return [sample]
        at = max(before.asked, opened_at - time.time() + time.monotonic())
        event = Sample(asked=at, read=read, state=state, event=True, details=details)
        return [event, sample] if at < read else [sample]

    def close(self) -> None:
        """Close the connection."""
        self._keys.close()
