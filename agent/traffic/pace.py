"""When requests are due, under a rate that may change meanwhile; no clock in here."""

from __future__ import annotations

import itertools
import math
import random
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Pace:
    """The departures of one open loop; ``due`` is the next one, seconds after the start.

    A request is due whenever the integral of the rate over time passes a mark: the whole numbers with
    *arrivals* ``clock``, the points of a Poisson process of rate 1 with ``poisson``.  So a change of the
    rate neither skips nor repeats a request.

    Source:
        Cinlar (1975), Introduction to Stochastic Processes: inversion of the integrated rate.
    """

    def __init__(self, rate_rps: float, *, arrivals: str, seed: int) -> None:
        self._marks = _whole() if arrivals == "clock" else _poisson(random.Random(seed))
        self._mark = next(self._marks)
        self._rate_rps, self._since, self._passed = rate_rps, 0.0, 0.0
        self._coming: deque[tuple[float, float]] = deque()
        self.due = self._when()

    def advance(self) -> None:
        """Go on to the next departure."""
        self._mark = next(self._marks)
        self.due = self._when()

    def change(self, at: float, rate_rps: float) -> None:
        """Have *rate_rps* (0 is a pause) from *at* on, which is not before an earlier change."""
        self._coming.append((at, rate_rps))
        self.due = self._when()

    def _when(self) -> float:
        while True:
            due = self._since + (self._mark - self._passed) / self._rate_rps if self._rate_rps else math.inf
            if not self._coming or due < self._coming[0][0]:
                return due
            at, rate_rps = self._coming.popleft()
            self._passed += (at - self._since) * self._rate_rps
            self._since, self._rate_rps = at, rate_rps


def _whole() -> Iterator[float]:
    return map(float, itertools.count())


def _poisson(dice: random.Random) -> Iterator[float]:
    at = 0.0
    while True:
        at += dice.expovariate(1.0)
        yield at
