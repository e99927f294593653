"""At which rate the service was called when, and which seconds of a recording are judged.

An exercise raises its rate where the open time is short, and takes that back where the service does not stand
it.  What is judged was called at one rate: what came before it was raised only told how far, and what was
called at a rate that was taken back shows the load, not the breaker.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.breakers.streams import FaultWindow, Flags, Floats, Phase

    type Span = tuple[float, float]

BASELINE, RAISE = "baseline", "raise"
A_STEP = "it was a step to a rate that was taken back"


def during(at: Floats, spans: Sequence[Span]) -> Flags:
    """Return which of the moments *at* lie in one of *spans*, their ends left out."""
    found = np.zeros(len(at), bool)
    for since, until in spans:
        found |= (at >= since) & (at < until)
    return found


def calm(faults: Sequence[FaultWindow], phases: Sequence[Phase]) -> tuple[Span, ...]:
    """Return the seconds before the first fault, and those of each further baseline."""
    first = min((fault.began for fault in faults), default=np.inf)
    later = [(each.began, each.ended) for each in _later_baselines(faults, phases)]
    return tuple(_without([(-np.inf, first), *later], taken_back(phases)))


def taken_back(phases: Sequence[Phase]) -> tuple[Span, ...]:
    """Return the seconds in which it was called at a rate that was taken back, until it was calm again."""
    return tuple((each.began, each.ended) for each in phases if each.taken_back)


def settled_since(faults: Sequence[FaultWindow], phases: Sequence[Phase]) -> float:
    """Return when the last further baseline began that a plain fault came after, else minus infinity."""
    extras = {each.kind for each in phases if each.extra}
    last = max((fault.began for fault in faults if fault.kind not in extras), default=-np.inf)
    return max(
        (each.began for each in _later_baselines(faults, phases) if each.began < last), default=-np.inf
    )


def _later_baselines(faults: Sequence[FaultWindow], phases: Sequence[Phase]) -> list[Phase]:
    first = min((fault.began for fault in faults), default=np.inf)
    return [each for each in phases if each.kind == BASELINE and not each.taken_back and each.began >= first]


def _without(spans: Sequence[Span], out: Sequence[Span]) -> list[Span]:
    """Return *spans* with what lies in *out* cut away."""
    left = list(spans)
    for since, until in out:
        left = [
            part
            for low, high in left
            for part in ((low, min(high, since)), (max(low, until), high))
            if part[1] > part[0]
        ]
    return left
