"""What came of the load that was offered: the share that was answered well, and the requests it took.

A call counts where it was *meant to leave*.  It is good if the client had a plain answer in time: an
honest fallback (degraded) keeps users going, but is no sign that what is behind it works.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from agent.breakers.measures.estimate import CONFIDENCE, share_interval
from agent.breakers.reading.recording import rows_of
from agent.breakers.streams import Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.breakers.streams import Flags, Floats

WINDOW_S = 1.0
WINDOW_CALLS = 40
"""A window holds so many calls: with 36 good ones of 36 the exact interval begins above 90 %."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Load:
    """Calls by the moment they were meant to leave, and requests at the dependency; monotonic s, sorted."""

    intended: Floats
    good: Flags
    arrived: Floats

    def calls(self, since: float, until: float) -> slice:
        """Return the rows of the calls meant to leave in [since, until)."""
        first, end = np.searchsorted(self.intended, (since, until))
        return slice(int(first), int(end))

    def requests(self, since: float, until: float) -> int:
        """Return how many requests came to the dependency in [since, until)."""
        first, end = np.searchsorted(self.arrived, (since, until))
        return int(end - first)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A share or a ratio with its 95 % interval; *n* calls behind it, of which with 0 nothing is known."""

    estimate: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The share of good calls in [since, until), monotonic s."""

    since: float
    until: float
    share: Measured


def load_of(samples: bytes, arrived: Sequence[float]) -> Load:
    """Return the load in a samples file and the moments at which requests *arrived*.

    A call that was shed is one that did not come out well.
    """
    rows, ahead = rows_of(samples)
    order = np.argsort(rows["intended_at"], kind="stable")
    good = (rows["outcome"] == Outcome.OK) & (rows["degraded"] == 0)
    return Load(
        intended=(rows["intended_at"] - ahead)[order],
        good=good[order],
        arrived=np.sort(np.array(arrived, "f8")),
    )


def goodput(load: Load, since: float, until: float) -> Measured:
    """Return the share of the calls in [since, until) that came out well; exact interval."""
    good = load.good[load.calls(since, until)]
    hits, n = int(good.sum()), len(good)
    low, high = share_interval(hits, n)
    return Measured(estimate=hits / n if n else math.nan, low=low, high=high, n=n)


def windows(load: Load, since: float, until: float) -> list[Window]:
    """Return the whole windows of [since, until), each a second long or as long as it takes for its calls."""
    n = len(load.good[load.calls(since, until)])
    if not n or until - since < WINDOW_S:
        return []
    width_s = max(WINDOW_S, WINDOW_CALLS * (until - since) / n)
    edges = [since + k * width_s for k in range(int((until - since) / width_s + 1e-9) + 1)]
    return [Window(since=a, until=b, share=goodput(load, a, b)) for a, b in pairwise(edges)]


def amplification(load: Load, since: float, until: float) -> Measured:
    """Return the requests at the dependency for each call offered in [since, until).

    The interval is that of a ratio over windows of a second; with fewer than three it is unbounded.

    Source:
        Cochran, Sampling Techniques, section 2.11 (the ratio estimate and its variance).
    """
    count = int(until - since)
    n = len(load.good[load.calls(since, until)])
    if not n:
        return Measured(estimate=math.nan, low=0.0, high=math.inf, n=0)
    ratio = load.requests(since, until) / n
    if count < 3:
        return Measured(estimate=ratio, low=0.0, high=math.inf, n=n)
    from scipy.special import stdtrit  # noqa: PLC0415  # 50 ms, and only analyses need it

    edges = np.linspace(since, until, count + 1)
    calls = np.diff(np.searchsorted(load.intended, edges))
    requests = np.diff(np.searchsorted(load.arrived, edges))
    error = math.sqrt(float(np.sum((requests - ratio * calls) ** 2)) / (count - 1) * count) / n
    spread = float(stdtrit(count - 1, 1 - (1 - CONFIDENCE) / 2)) * error
    return Measured(estimate=ratio, low=max(0.0, ratio - spread), high=ratio + spread, n=n)
