"""When a half-open breaker was closed at the latest: by what it lets in, or by how many ended well."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from agent.breakers.courses.states import JUST_S, State

if TYPE_CHECKING:
    from agent.breakers.courses.states import Course, Stretch, Transition
    from agent.breakers.reading.decisions import Decisions

TRIALS = 5
"""So many good trials close any breaker, as long as none was seen to need more."""
REACH = 500
"""So many calls are looked at after a closing began."""


@dataclass(frozen=True, slots=True)
class _Limits:
    """What all half-open stretches show together.

    ``full_at`` is how many trials were under way at the most when somebody was kept back, ``had`` when
    somebody was let in before any trial had succeeded; ``needed`` is how many ended before it opened again.
    """

    full_at: int
    had: int
    needed: int

    @property
    def are_known(self) -> bool:
        """Whether a half-open one never lets in so many that it could be taken for a closed one."""
        return self.had < self.full_at


def bounded(course: Course, decisions: Decisions) -> Course:
    """Return *course* with the latest moment of each closing."""
    limits = _limits(course, decisions)
    steps = list(course.transitions)
    for place, (was, step) in enumerate(zip(course.stretches, steps, strict=False)):
        if was.state is State.HALF_OPEN and step.to is State.CLOSED:
            before = _closed_by(was, course.stretches[place + 1], step, decisions, limits)
            steps[place] = replace(step, before=before)
    return replace(course, transitions=tuple(steps))


def _limits(course: Course, decisions: Decisions) -> _Limits:
    full_at = had = needed = 0
    for stretch in course.of(State.HALF_OPEN):
        done = decisions.done[stretch.first : stretch.end]
        let_in = decisions.forwarded[stretch.first : stretch.end]
        good = let_in & decisions.good[stretch.first : stretch.end]
        first_good = float(done[good].min(initial=np.inf))
        decided = min(first_good, float(done[let_in & ~good].min(initial=np.inf)))
        under_way: list[float] = []
        for row in range(stretch.first, stretch.end):
            at = float(decisions.at[row])
            if at >= first_good:
                break
            if decisions.forwarded[row]:
                had = max(had, _count(under_way, at + JUST_S))
                heapq.heappush(under_way, float(decisions.done[row]))
            elif at < decided:
                full_at = max(full_at, _count(under_way, at - JUST_S))
    for was, step in zip(course.stretches, course.transitions, strict=False):
        if was.state is State.HALF_OPEN and step.to is State.OPEN:
            needed = max(needed, int((decisions.done[list(was.trials)] <= step.before).sum()))
    return _Limits(full_at=full_at, had=had, needed=needed)


def _count(ends: list[float], at: float) -> int:
    """Return how many of *ends* are later than *at*, and forget the others."""
    while ends and ends[0] <= at:
        heapq.heappop(ends)
    return len(ends)


def _closed_by(
    tried: Stretch, closed: Stretch, step: Transition, decisions: Decisions, limits: _Limits
) -> float:
    """Return when it was closed at the latest.

    It was where more are let in at once than it lets in half-open; and it is taken to be where as many
    trials had ended well as it ever needed, whichever comes first.
    """
    rows = np.arange(tried.first, min(closed.end, closed.first + REACH))
    rows = rows[decisions.forwarded[rows]]
    shown = np.inf
    under_way: list[float] = []
    for row in rows.tolist() if limits.are_known else ():
        at = float(decisions.at[row])
        if row >= closed.first and _count(under_way, at + JUST_S) >= limits.full_at:
            shown = max(at, step.after)
            break
        heapq.heappush(under_way, float(decisions.done[row]))
    ends = np.sort(decisions.done[rows[decisions.good[rows]]])
    enough = min(max(TRIALS, limits.needed), len(ends))
    by_ends = min(float(ends[enough - 1]), float(decisions.at[closed.end - 1])) if enough else step.before
    return float(min(shown, max(step.before, by_ends)))
