"""What the driver is asked to do, as data that crosses a process boundary."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.model import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

RATE_MAX_RPS = 50_000.0
SAMPLES_MAX = 20_000_000
"""About half a gigabyte of samples; a plan that could exceed it is refused before it starts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Open-loop load on one URL.

    ``url`` may hold ``{key}``, which takes the values of *keys* in turn.  ``arrivals`` is ``clock``
    (exact spacing) or ``poisson`` (seeded).  Times are seconds.
    """

    url: str
    rate_rps: float
    arrivals: str = "clock"
    keys: tuple[str, ...] = ()
    timeout_s: float = 5.0
    connections_max: int = 256
    in_flight_max: int = 2000
    max_duration_s: float = 3600.0
    degraded_header: str = "x-degraded"
    headers: tuple[tuple[str, str], ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.url.startswith("http://"):
            raise UsageError(f"traffic speaks http:// only, not {self.url!r}")
        if not 0 < self.rate_rps <= RATE_MAX_RPS:
            raise UsageError(f"rate_rps must be above 0 and at most {RATE_MAX_RPS:g}, not {self.rate_rps:g}")
        if self.rate_rps * self.max_duration_s > SAMPLES_MAX:
            raise UsageError(f"{self.rate_rps:g} rps for {self.max_duration_s:g} s is too much to record")
        if self.arrivals not in ("clock", "poisson"):
            raise UsageError(f"arrivals is clock or poisson, not {self.arrivals!r}")
        if ("{key}" in self.url) != bool(self.keys):
            raise UsageError("give keys and {key} in the url together, or neither")

    def departures(self) -> Iterator[float]:
        """Yield intended departures, seconds after the start, endlessly."""
        if self.arrivals == "clock":
            yield from (i / self.rate_rps for i in itertools.count())
        dice, at = random.Random(self.seed), 0.0
        while True:
            at += dice.expovariate(self.rate_rps)
            yield at
