"""pybreaker with a Redis: its keys ``[NAMESPACE:]pybreaker:state`` and ``:opened_at``."""

from __future__ import annotations

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

LAZY = "it stays open after its reset timeout until the next call arrives"
SECOND = "opened_at has whole seconds, and the last of several processes has written it"


def reader(address: Address) -> Reader:
    """Read the keys at ``redis://HOST:PORT/NUMBER``.  Option: ``namespace``."""
    return StateKey(
        Keys(address), address.text("namespace"), "pybreaker", Traps(lazy=True, notes=(LAZY, SECOND))
    )


class StateKey:
    """A state and the second in which it opened, as pybreaker and aiobreaker keep them."""

    def __init__(self, keys: Keys, namespace: str, base: str, traps: Traps) -> None:
        self._keys, self.traps = keys, traps
        self._prefix = f"{namespace}:{base}" if namespace else base
        self._before: Sample | None = None

    def read(self) -> Sequence[Sample]:
        """Return the state; where it has just opened, not before the second that it gives for that."""
        value, asked, read = self._keys.get(f"{self._prefix}:state")
        if value is None:
            raise Unreadable(f"there is no key {self._prefix}:state (a namespace?)")
        word = value.decode(errors="replace")
        sample = Sample(asked=asked, read=read, state=state_of(word), details={"state": word})
        before, self._before = self._before, sample
        if before is None or sample.state is not State.OPEN or before.state is State.OPEN:
            return [sample]
        opened = self._opened(before.asked, read)
        return [sample] if opened is None else [opened, sample]

    def _opened(self, since: float, until: float) -> Sample | None:
        value, _, _ = self._keys.get(f"{self._prefix}:opened_at")
        try:
            at = float(value or b"") - time.time() + time.monotonic()
        except ValueError:
            return None
        after, before = max(since, at), min(until, at + 1.0)
        if after >= before:  # another host's clock, or another process's opening
            return None
        return Sample(
            asked=after, read=before, state=State.OPEN, event=True, details={"opened_at": str(value)}
        )

    def close(self) -> None:
        """Close the connection."""
        self._keys.close()
