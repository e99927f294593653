"""Half-open in one piece: what looks like an opening between good trials, and is none."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from agent.breakers.courses.states import JUST_S, Course, State

if TYPE_CHECKING:
    from agent.breakers.reading.decisions import Decisions
    from agent.breakers.streams import Floats

MIXED_IN_A_ROW_MAX = 12
"""More than five are asked for, but no more than this, where a half-open one lets in a share of the calls."""
PAUSE = 0.32
"""Shorter than this share of the longest open time, being open after a good trial is a pause: open times that
vary by a half either way are never as short."""
NEARLY = 0.8
"""Nor is it more than a pause if it is shorter than this share, and nothing had failed that could open it."""


def without_pauses(course: Course, decisions: Decisions, bad: Floats) -> Course:
    """Return *course* with half-open in one piece where it only paused.

    One that lets in a share of the calls keeps many back in a row by chance, and lets several in, too.
    After good trials only, and for less than an open time, that is no opening.
    """
    stretches, steps = list(course.stretches), list(course.transitions)
    lasted = [
        two.before - one.after
        for one, two in pairwise(steps)
        if one.to is State.OPEN and two.was is State.OPEN
    ]
    longest = max(lasted, default=0.0)

    def is_pause(first: int, last: int) -> bool:
        """Whether half-open goes on in the stretches after *first*, up to *last*."""
        was, opened, tried = stretches[first], steps[last - 2], steps[last - 1]
        for_s = tried.before - opened.after
        if not was.trials or stretches[last].state is not State.HALF_OPEN or was.state is not State.HALF_OPEN:
            return False
        if last - first == 2 and for_s < PAUSE * longest and decisions.good[list(was.trials)].all():
            return True
        began = steps[first - 1].before
        tells = first < 2 or began - steps[first - 2].after >= PAUSE * longest  # a trial, and no leak
        without_cause = np.searchsorted(bad, began) == np.searchsorted(bad, opened.before + JUST_S)
        return bool(tells and without_cause and for_s < NEARLY * longest)

    place = 1
    while place < len(stretches) - 1:
        between = stretches[place]
        few = between.end - between.first <= MIXED_IN_A_ROW_MAX
        last = place + 1 if between.state is State.OPEN else place + 2
        if (between.state is State.OPEN or few) and last < len(stretches) and is_pause(place - 1, last):
            one, other = stretches[place - 1], stretches[last]
            let_in = np.arange(one.first, other.first)[decisions.forwarded[one.first : other.first]]
            whole = replace(one, end=other.end, trials=(*let_in.tolist(), *other.trials))
            stretches[place - 1 : last + 1] = [whole]
            del steps[place - 1 : last]
        else:
            place += 1
    return Course(stretches=tuple(stretches), transitions=tuple(steps))
