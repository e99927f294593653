"""What the extra phases are played with that go in rounds: each opens the breaker, and it closes again."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from agent.breakers.exercise import protocol

if TYPE_CHECKING:
    from agent.breakers.view import View
    from agent.faults.exercise.phases import Exercise

ROUND_S = 3.0
"""What a round of a phase takes besides the open time."""


class Rounds:
    """Rounds of phases of one *exercise*."""

    def __init__(self, exercise: Exercise) -> None:
        self.exercise = exercise
        self.recorder, self.pace = exercise.recorder, exercise.pace
        self.folder = exercise.recorder.folder

    def until_opened(self, since: float, longest_s: float, *, failures: float = float("inf")) -> None:
        """Wait until it has opened since then, or so many failures did not open it."""
        self.exercise.wait(
            lambda seen, _: protocol.opened_since(seen, since) or _failed(seen, since) >= failures, longest_s
        )

    def again(self) -> None:
        """Take out what is in, and wait until it has closed."""
        self.exercise.heal()
        if self.recorder.faults[-1].ended > time.monotonic():
            self.exercise.fault_over()
        self.recorder.end()
        open_s = protocol.open_time_s(self.exercise.look())
        self.exercise.wait(lambda seen, _: protocol.is_closed(seen), self.pace.recover_limit_s(open_s))


def _failed(view: View, since: float) -> int:
    """Return how many calls that were let through since then have failed."""
    asked = view.asked
    return int((asked.forwarded & ~asked.good & (asked.at >= since)).sum())
