"""Seconds of steadiness, from looks that are points in time."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.model import Look


def seconds(looks: Sequence[Look], steady: bool | None, *, begin: float, end: float) -> float:  # noqa: FBT001
    """Return how long the state was *steady* in ``[begin, end]``.

    A look tells for the time from its own begin to the begin of the next one; the last look of the
    run tells until *end*.
    """
    bounds = [look.at for look in looks] + [end]
    spans = zip(looks, pairwise(bounds), strict=True)
    return sum(max(0.0, min(b, end) - max(a, begin)) for look, (a, b) in spans if look.steady is steady)


def unsteady_since(looks: Sequence[Look]) -> float | None:
    """Return when the present uninterrupted run of looks that were not steady began, or None."""
    since = None
    for look in reversed(looks):
        if look.steady:
            break
        since = look.at
    return since


def steady_after(looks: Sequence[Look], begin: float) -> Look | None:
    """Return the first look that began at or after *begin* and was steady."""
    return next((look for look in looks if look.at >= begin and look.steady), None)
