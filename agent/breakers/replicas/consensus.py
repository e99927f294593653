"""What several courses of one source have in common: each is as likely, and only one is true."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from agent.breakers.courses.states import State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.breakers.courses.states import Course, Transition

AGREED = 0.95
"""So large a share of the courses has to have the same states for them to be told."""
UNKNOWN = "unknown"
"""The state in a time in which they differ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A change of state, not before ``after`` and not after ``before``; either state may be `UNKNOWN`."""

    was: str
    to: str
    after: float
    before: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Consensus:
    """The states that are told, in order, and the changes between them; ``like`` is a course that has them.

    ``untold`` are the times in which the courses differ.
    """

    sequence: tuple[str, ...]
    steps: tuple[Step, ...]
    untold: tuple[tuple[float, float], ...]
    like: int


def agreed(courses: Sequence[Course]) -> Consensus:
    """Return what nearly all *courses* have in common; a bracket spans theirs."""
    sequence = [str(courses[0].sequence[0])]
    steps: list[Step] = []
    untold = []
    fitting = np.ones(len(courses), bool)
    for parts in _episodes(courses):
        shapes = [tuple(step.to for step in part) for part in parts]
        shape, times = Counter(shapes).most_common(1)[0]
        if times >= AGREED * len(parts):
            same = np.array([each == shape for each in shapes])
            fitting &= same
            found = [
                _around(each) for each in zip(*(parts[row] for row in np.flatnonzero(same)), strict=True)
            ]
        else:
            found = _differing(sequence[-1], [part for part in parts if part])
            untold.append((found[0].after, found[-1].before if len(found) > 1 else np.inf))
        steps += found
        sequence += [step.to for step in found]
    return Consensus(
        sequence=tuple(sequence), steps=tuple(steps), untold=tuple(untold), like=int(np.argmax(fitting))
    )


def _around(alike: Sequence[Transition]) -> Step:
    return Step(
        was=str(alike[0].was),
        to=str(alike[0].to),
        after=min(step.after for step in alike),
        before=max(step.before for step in alike),
    )


def _differing(state: str, parts: Sequence[Sequence[Transition]]) -> list[Step]:
    """Return from when to when nothing is told: until all are closed, or to the end."""
    began, ended = _around([part[0] for part in parts]), _around([part[-1] for part in parts])
    lost = Step(was=state, to=UNKNOWN, after=began.after, before=began.before)
    if any(part[-1].to is not State.CLOSED for part in parts):
        return [lost]
    return [lost, Step(was=UNKNOWN, to=str(State.CLOSED), after=ended.after, before=ended.before)]


def _episodes(courses: Sequence[Course]) -> list[list[tuple[Transition, ...]]]:
    """Return for each time between moments at which all are closed the transitions of each course in it."""
    bounds = [-np.inf, *_all_closed(courses), np.inf]
    found = []
    for since, until in pairwise(bounds):
        parts = [
            tuple(step for step in course.transitions if since < step.before <= until) for course in courses
        ]
        if any(parts):
            found.append(parts)
    return found


def _all_closed(courses: Sequence[Course]) -> list[float]:
    """Return a moment in each time in which every course is closed."""
    edges: list[tuple[float, int]] = []
    for course in courses:
        began = [-np.inf] * (course.sequence[0] is State.CLOSED)
        began += [step.before for step in course.transitions if step.to is State.CLOSED]
        ended = [step.after for step in course.transitions if step.was is State.CLOSED]
        edges += [(at, 1) for at in began] + [(at, -1) for at in ended]
    edges.sort()
    found, depth = [], 0
    for (at, change), (following, _) in pairwise([*edges, (np.inf, 0)]):
        depth += change
        if depth == len(courses) and -np.inf < at < following < np.inf:
            found.append((at + following) / 2)
    return found
