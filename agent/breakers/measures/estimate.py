"""Numbers with what they are worth: an estimate, its interval, its n, and whether that is enough."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agent.breakers.streams import Floats

CONFIDENCE = 0.95


class Status(StrEnum):
    """Whether a property is as it should be; never a pass without a sample that could have failed."""

    PASS = "pass"  # noqa: S105  # no password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True, kw_only=True)
class Property:
    """One measured property.

    ``low`` and ``high`` enclose the truth with 95 % confidence, or for certain where they come from
    brackets; ``high`` is None where nothing bounds it (never seen to happen).  ``n`` is how many
    observations it rests on, ``why`` says in one sentence what was seen or what it would take.
    """

    unit: str
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    status: Status
    why: str
    more: Mapping[str, object] = field(default_factory=dict)


def share_interval(hits: int, n: int) -> tuple[float, float]:
    """Return the exact 95 % interval of a share, one-sided where none or all hit.

    Source:
        Clopper and Pearson 1934; for 0 of n the bound is 1 - 0.05**(1/n).
    """
    from scipy.special import betaincinv  # noqa: PLC0415  # 50 ms, and only analyses need it

    if n == 0:
        return 0.0, 1.0
    tail = 1 - CONFIDENCE if hits in (0, n) else (1 - CONFIDENCE) / 2
    low = 0.0 if hits == 0 else float(betaincinv(hits, n - hits + 1, tail))
    high = 1.0 if hits == n else float(betaincinv(hits + 1, n - hits, 1 - tail))
    return low, high


def rate_interval(events: int, length: float) -> tuple[float, float]:
    """Return the exact 95 % interval of a rate, one-sided where nothing was seen.

    Source:
        Garwood 1936 (chi-squared); for 0 events the bound is 3.0 / length.
    """
    from scipy.special import gammaincinv  # noqa: PLC0415  # 50 ms, and only analyses need it

    tail = 1 - CONFIDENCE if events == 0 else (1 - CONFIDENCE) / 2
    low = 0.0 if events == 0 else float(gammaincinv(events, tail)) / length
    return low, float(gammaincinv(events + 1, 1 - tail)) / length


def quantile_interval(ordered: Floats, share: float) -> tuple[float, float, float | None]:
    """Return the quantile of sorted values and its 95 % interval by interpolated order statistics.

    The upper end is the greatest value where n is too small to bound it from both sides, and None where it
    is too small to bound it at all (n < 59 for a p95, n < 299 for a p99).

    Source:
        David and Nagaraja, Order Statistics, section 7.1 (distribution-free intervals); the steps between
        them are filled as in Nyblom 1992, "Note on interpolated order statistics", so that the interval
        holds the quantile in 95 % of the cases and not in more.
    """
    n, tails = len(ordered), 1 - CONFIDENCE
    estimate = float(ordered[max(0, math.ceil(share * n) - 1)])
    high = _least(-ordered[::-1], 1 - share, tails / 2)
    above_all = share**n  # the chance that it is above the greatest value
    upper: float | None = float(ordered[-1]) if above_all <= tails else None
    left = tails if upper is None else tails - above_all
    if high is not None:
        upper, left = -high, tails / 2
    low = _least(ordered, share, left)
    return estimate, float(ordered[0]) if low is None else low, upper


def _least(ordered: Floats, share: float, tail: float) -> float | None:
    """Return what the quantile is below of with the chance *tail* only; None if n is too small to say.

    Between the order statistics r and r + 1, whose chances to lie above the quantile enclose *tail*.
    """
    from scipy.special import bdtr  # noqa: PLC0415  # 50 ms, and only analyses need it

    n = len(ordered)
    reach = 10 * math.sqrt(n * share * (1 - share)) + 20
    ranks = np.arange(max(1, int(n * share - reach)), min(n, int(n * share + reach) + 1))
    above = bdtr(ranks - 1, n, share)  # that the quantile is below the value of each rank
    place = int(np.searchsorted(above, tail, side="right")) - 1
    if place < 0 or place + 1 >= len(ranks):
        return None
    rank, one, two = int(ranks[place]), float(above[place]), float(above[place + 1])
    odds = rank * (1 - share) * (two - tail) / ((n - rank) * share * (tail - one)) if tail > one else math.inf
    weight = 1 / (1 + odds)
    return float((1 - weight) * ordered[rank - 1] + weight * ordered[rank])


def mean_interval(values: Floats) -> tuple[float, float, float]:
    """Return a mean and its 95 % interval (normal; n is large where this is used)."""
    mean = float(np.mean(values))
    spread = 1.96 * float(np.std(values)) / math.sqrt(max(1, len(values)))
    return mean, mean - spread, mean + spread


def often(n: int) -> str:
    """Return how often, as people say it."""
    return "once" if n == 1 else f"{n} times"


def counted(n: int, one: str) -> str:
    """Return so many of what *one* is one of."""
    return f"1 {one}" if n == 1 else f"{n} {one}s"


def common(brackets: Sequence[tuple[float, float]]) -> tuple[float, float] | None:
    """Return the intersection of *brackets*, which holds the one value behind them all; None if empty."""
    low, high = max(b[0] for b in brackets), min(b[1] for b in brackets)
    return (low, high) if low <= high else None


def mostly_common(brackets: Sequence[tuple[float, float]], share: float = 0.9) -> tuple[float, float] | None:
    """Return what the most brackets have in common, if that are at least *share* of them; O(n log n)."""
    ends = sorted([(low, 0) for low, _ in brackets] + [(high, 1) for _, high in brackets])
    depth = best = 0
    found = (0.0, 0.0)
    for place, (at, closes) in enumerate(ends):
        depth += -1 if closes else 1
        if depth > best:
            best, found = depth, (at, ends[place + 1][0])
    return found if best and best >= share * len(brackets) else None


def median_bracket(brackets: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return the median of the lower and of the upper ends."""
    return float(np.median([b[0] for b in brackets])), float(np.median([b[1] for b in brackets]))
