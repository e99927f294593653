"""gobreaker v2 with a shared store in Redis: its key ``gobreaker:state:NAME``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from agent.breakers.boxes.whitebox import Sample, Traps
from agent.breakers.courses.states import State
from agent.whitebox.keys import Keys
from agent.whitebox.reader import Unreadable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.whitebox.address import Address
    from agent.whitebox.reader import Reader

STATES = {0: State.CLOSED, 1: State.HALF_OPEN, 2: State.OPEN}


def reader(address: Address) -> Reader:
    """Read the key at ``redis://HOST:PORT/NUMBER``.  Option: ``name`` of the breaker."""
    return _Gobreaker(Keys(address), address.required("name", "breaker"))


class _Gobreaker:
    """The shared state as it is stored.

    The library's own ``State()`` makes the change from open to half-open and stores it: asking would change
    what is asked about.  The key is only read.
    """

    traps = Traps(
        lazy=True,
        late_half_open=True,
        notes=(
            "it stays open after its timeout until the next call arrives, or until somebody calls State()",
            "a state is stored when a call has ended: with one trial (MaxRequests 1) never half-open",
            "calls wait for each other at a lock that is held while one runs",
        ),
    )

    def __init__(self, keys: Keys, name: str) -> None:
        self._keys, self._name = keys, name

    def read(self) -> Sequence[Sample]:
        """Return the state in the store."""
        value, asked, read = self._keys.get(f"gobreaker:state:{self._name}")
        if value is None:
            raise Unreadable(f"there is no key gobreaker:state:{self._name}")
        try:
            found = json.loads(value)
            state = STATES[found["state"]]
        except (ValueError, KeyError, TypeError):
            raise Unreadable(f"gobreaker:state:{self._name} holds something else") from None
        details = {"state": found["state"], "expiry": found.get("expiry")}
        return [Sample(asked=asked, read=read, state=state, details=details)]

    def close(self) -> None:
        """Close the connection."""
        self._keys.close()
