"""How far a pod's monotonic clock is ahead of this process's, from exchanges over a stream, as NTP has it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

KEPT = 64
"""Exchanges that are remembered: a quarter of a minute of looks."""
SLEW = 1e-3
"""Two monotonic clocks drift apart by no more than this.

Source:
    adjtimex(2): the kernel changes the frequency of a clock by at most 500 ppm, and here are two.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A question and its answer; *asked* and *answered* on the one clock, *heard* and *told* on the other."""

    asked: float
    heard: float
    told: float
    answered: float

    @property
    def ahead_s(self) -> float:
        """How far the other clock is ahead, if both ways took the same time.

        Source:
            RFC 5905, section 8: theta = ((T2 - T1) + (T3 - T4)) / 2.
        """
        return ((self.heard - self.asked) + (self.told - self.answered)) / 2

    @property
    def within_s(self) -> float:
        """How wrong that can be at most: half of the time on the way.

        Source:
            RFC 5905, section 8: delta = (T4 - T1) - (T3 - T2); the error is at most delta / 2.
        """
        return max(0.0, ((self.answered - self.asked) - (self.told - self.heard)) / 2)


@dataclass(slots=True)
class Clock:
    """One pod's clock beside ours.  ``worst_s`` is the most that a moment told by it can have been wrong."""

    worst_s: float = 0.0
    _kept: deque[Exchange] = field(default_factory=lambda: deque(maxlen=KEPT))

    def learn(self, exchange: Exchange) -> None:
        """Take in one exchange."""
        self._kept.append(exchange)

    def ours(self, theirs: float) -> float:
        """Return the moment *theirs* on our clock, by the exchange that tells it best.

        One that was slow says little, and so does one of long ago or long after.
        """
        best = min(self._kept, key=lambda each: self._error_s(each, theirs))
        self.worst_s = max(self.worst_s, self._error_s(best, theirs))
        return theirs - best.ahead_s

    @staticmethod
    def _error_s(exchange: Exchange, theirs: float) -> float:
        return exchange.within_s + SLEW * abs(theirs - exchange.heard)
