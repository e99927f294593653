"""From data to places on paper: scales, round ticks, and labels that do not overlap."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


SPAN_MAX = 1e300
"""A hundred times that is no number any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """A map from ``[low, high]`` to ``[first, last]``, by the logarithm if *log*."""

    low: float
    high: float
    first: float
    last: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Return the place of *value*, held inside the paper and rounded to a tenth of a pixel."""
        low, high, at = self.low, self.high, min(max(value, self.low), self.high)
        if self.log:
            low, high, at = math.log(low), math.log(high), math.log(at)
        share = (at - low) / (high - low) if high > low else 0.0
        return round(self.first + share * (self.last - self.first), 1)


def ticks(low: float, high: float, most: int, steps: Sequence[float] = (1, 2, 5)) -> list[float]:
    """Return at most *most* multiples of a round step in ``[low, high]``, or the two ends alone."""
    span = high - low
    if not (0 < span < SPAN_MAX and most > 0):
        return [low]
    exponent = math.floor(math.log10(span / most))
    candidates = sorted(s * 10.0**e for e in range(exponent - 1, exponent + 3) for s in steps)
    step = next((s for s in candidates if span / s <= most), candidates[-1])
    first = math.ceil(low / step - 1e-9)
    return [round(n * step, 10) for n in range(first, math.floor(high / step + 1e-9) + 1)]


def time_ticks(length_s: float, most: int) -> list[float]:
    """Return round offsets in ``[0, length_s]``: decimal below a minute, then parts of minutes and hours."""
    if length_s <= 60:
        return ticks(0.0, length_s, most)
    steps = [m * unit for unit in (1, 60, 3600) for m in (5, 10, 15, 20, 30, 60, 120, 180, 360, 720)]
    step = next((s for s in sorted(steps) if length_s / s <= most), None)
    if step is None:
        return ticks(0.0, length_s, most)
    return [float(n * step) for n in range(int(length_s / step) + 1)]


def log_ticks(low: float, high: float, most: int = 4) -> list[float]:
    """Return at most *most* of 1, 2, 5 times a power of ten in ``[low, high]``, the powers first."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1, 2, 5), (1, 3), (1,)):
        found = [s * 10.0**p for p in powers for s in steps if low <= s * 10.0**p <= high]
        if len(found) <= most:
            return found
    return found[:: math.ceil(len(found) / most)]


def width_px(text: str, size_px: float = 11) -> float:
    """Return about how wide *text* is in a sans-serif face; wide scripts count double."""
    return sum(1.0 if ord(c) > 0x2E7F else 0.56 for c in text) * size_px


def lanes(spans: Sequence[tuple[float, float]], most: int) -> list[int | None]:
    """Return a lane for each span, so that no two in a lane touch; None for what fits in none of *most*."""
    ends: list[float] = []
    given: dict[int, int | None] = {}
    for n, (start, end) in sorted(enumerate(spans), key=lambda item: item[1]):
        lane = next((k for k, taken in enumerate(ends) if taken < start), None)
        if lane is None and len(ends) < most:
            lane = len(ends)
            ends.append(end)
        elif lane is not None:
            ends[lane] = end
        given[n] = lane
    return [given[n] for n in range(len(spans))]


def spread(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Return *places* moved as little as needed to be *gap* apart, inside ``[low, high]`` if they fit."""
    order = sorted(range(len(places)), key=lambda n: places[n])
    moved = list(places)
    for before, n in zip([None, *order], order, strict=False):
        floor = low if before is None else moved[before] + gap
        moved[n] = max(moved[n], floor)
    ceiling = high
    for n in reversed(order):
        moved[n] = min(moved[n], ceiling)
        ceiling = moved[n] - gap
    return moved
