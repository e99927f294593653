"""How late decisions are seen, and brackets that allow for it.

A service decides some while before the request arrives, or the answer is at the client.  On a machine that is
short of time, or with a runtime that is not warm yet, that is tens of milliseconds.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from agent.breakers.courses.states import Course
    from agent.breakers.reading.decisions import Decisions

LATE_MAX_S = 0.05
"""No bracket is made wider than by this: a call that took longer to the link waited for something."""


def seen_late(decisions: Decisions, until: float) -> float:
    """Return how late, in seconds, decisions are seen: what calls took to the link before *until*.

    Source:
        The 99 % quantile of calls in the calm.
    """
    calm = decisions.forwarded & decisions.good & (decisions.at < until)
    took = (decisions.at - decisions.begun)[calm]
    return min(LATE_MAX_S, float(np.quantile(took, 0.99))) if len(took) else 0.0


def with_earlier(course: Course, by_s: float) -> Course:
    """Return *course* where what bounds each transition from below was decided up to *by_s* before."""
    steps, last = [], -math.inf
    for step in course.transitions:
        steps.append(replace(step, after=max(step.after - by_s, min(step.after, last))))
        last = step.before
    return replace(course, transitions=tuple(steps))
