"""Results that come in when the state their call was let in by is over, and what became of that state.

A breaker that ignores them goes on as it was; one that counts them changes its state right then.  Each is
one observation for or against; where there was nobody to show it, it is none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from agent.breakers.courses.states import State
from agent.breakers.measures import trials
from agent.breakers.view import GUARD_S

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.breakers.courses.states import Stretch, Transition
    from agent.breakers.streams import Flags, Floats
    from agent.breakers.view import View

EARLY = 0.8
"""It was open for less than this share of the shortest time that it is open for else."""
COUNTED_BY_S = 0.6
"""So long after a failure it may open because of it: some look at what they counted twice a second only."""
HANGING = (["hang"], ["slow"], ["hold"], ["late-failure"])
"""The faults under which calls fail late, and callers wait as they always do."""
LONG_AFTER_S = 3.0
"""What happens so long after a fault is not its doing."""
SEVERAL, SURE_NATS = 2, 5.0
"""Once is chance; and 150 to 1."""
MIXED = ("late-success", "error", "reset")
"""The faults under which some fail at once and some succeed late, and no call waits for anything else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Late:
    """Late results in one stretch of a state that began by ``since`` and lasted until ``until``.

    ``moved`` is whether the state ended right after one of them, ``chance`` how likely it would have ended
    just then if it had nothing to do with them.  ``rows`` are their calls.
    """

    moved: bool
    chance: float
    since: float
    until: float
    rows: Flags


def successes_while_open(view: View) -> list[Late]:
    """Return each time a call from before came out well while it was open.

    It moved where nobody was kept back any more who came after that, long before it tries else; it did not
    where somebody was.  Where it was full meanwhile, whoever ends makes room for the next: that tells
    nothing.
    """
    asked, found = view.asked, []
    shortest = shortest_open_s(view)
    if shortest is None:
        return []
    others = [wait for wait in trials.waits(view) if not _lates(view, wait).any()]
    leaky = (1 + sum(wait.high < EARLY * shortest for wait in others)) / (2 + len(others))
    for opened, stretch, tried in _stretches(view, State.OPEN):
        fault = view.fault_at(opened.before)
        rows = _good_from_before(view, opened, tried)
        kept = asked.begun[stretch.first : stretch.end][~asked.forwarded[stretch.first : stretch.end]]
        if fault is None or fault.kind not in MIXED or not rows.any() or len(kept) == 0:
            continue
        ended = np.sort(asked.done[rows])
        chance = leaky * _right_after(view, ended, shortest)
        moved = tried is not None and ended[-1] + GUARD_S >= kept.max()
        until = tried.before if tried and moved else float(kept.max())
        if _may_be_full(view, opened.after, until):
            continue
        if moved:
            if until - opened.after < EARLY * shortest:
                found.append(Late(moved=True, chance=chance, since=opened.before, until=until, rows=rows))
        elif ended[0] + GUARD_S < kept.max():
            found.append(Late(moved=False, chance=chance, since=opened.before, until=until, rows=rows))
    return found


def shortest_open_s(view: View) -> float | None:
    """Return how long it is open at least until a trial, with no success meanwhile; None if never seen."""
    known = (wait.low for wait in trials.proper_waits(view) if not _lates(view, wait).any())
    return min(known, default=None)


def _lates(view: View, wait: trials.Wait) -> Flags:
    return _good_from_before(view, wait.opened, wait.tried)


def _good_from_before(view: View, opened: Transition, tried: Transition | None) -> Flags:
    asked = view.asked
    rows: Flags = asked.forwarded & asked.good & (asked.at < opened.before)
    rows &= (asked.done > opened.before + GUARD_S) & (asked.done < (tried.before if tried else math.inf))
    return rows


def _right_after(view: View, ended: Floats, open_s: float) -> float:
    """Return the share of an open time in which the next call would be the first after one of *ended*."""
    begun = np.sort(view.asked.begun)
    following, first = np.unique(np.searchsorted(begun, ended), return_index=True)
    waited = begun[np.minimum(following, len(begun) - 1)] - ended[first]
    return float(min(1.0, waited.clip(GUARD_S).sum() / open_s))


def _may_be_full(view: View, since: float, until: float) -> bool:
    """Whether as many are under way then as ever were, at any other time."""
    asked = view.asked
    inside = (asked.at >= since) & (asked.at <= until)
    elsewhere = asked.at[asked.forwarded & ((asked.at < since) | (asked.at > until))]
    most = int(view.under_way(elsewhere).max(initial=0))
    return int(view.under_way(asked.at[inside & ~asked.forwarded]).max(initial=0)) >= most


def failures_while_closed(view: View) -> list[Late]:
    """Return each time a call from before it closed failed after that, while all others came out well.

    It moved where it opened soon after that.  Under a fault nothing is told: others fail then, too.
    """
    asked, found = view.asked, []
    bad = asked.forwarded & ~asked.good
    by_itself = _openings_a_second(view)
    for closed, _, opened in _stretches(view, State.CLOSED):
        following = min((each.began for each in view.faults if each.began > closed.before), default=math.inf)
        again = opened is not None and opened.before <= following
        until = opened.before if opened and again else min(following, float(asked.at[-1]))
        own = bad & (asked.at > closed.after) & (asked.at < until)
        rows: Flags = bad & (asked.at <= closed.after)
        rows &= (asked.done > closed.before + GUARD_S) & (asked.done < until + GUARD_S)
        past = [fault.kind for fault in view.faults if fault.ended < until]
        if not rows.any() or own.any() or (again and view.fault_at(until)) or past[-1:] not in HANGING:
            continue
        first, last = float(asked.done[rows].min()), float(asked.done[rows].max())
        chance = 1 - math.exp(-by_itself * (last - first + COUNTED_BY_S))
        if again:
            if until - last <= COUNTED_BY_S:
                found.append(Late(moved=True, chance=chance, since=closed.before, until=until, rows=rows))
        elif until - last >= COUNTED_BY_S:
            found.append(Late(moved=False, chance=chance, since=closed.before, until=until, rows=rows))
    return found


def _openings_a_second(view: View) -> float:
    """Return how often it opens with no fault in and none just over; half an opening where none was seen."""
    calm = [stretch for stretch in view.course.of(State.CLOSED) if stretch.end > stretch.first]
    seconds = sum(float(view.asked.at[each.end - 1] - view.asked.at[each.first]) for each in calm)
    flaps = sum(
        not view.meets(opened.before - LONG_AFTER_S, opened.before)
        for _, _, opened in view.steps_of(State.CLOSED, State.OPEN)
    )
    return (flaps + 0.5) / max(seconds, 1.0)


def is_decided(seen: Sequence[Late]) -> bool:
    """Whether it moves because of late results: several times, and hardly by chance."""
    return sum(each.moved for each in seen) >= SEVERAL and nats(seen) >= SURE_NATS


def nats(seen: Sequence[Late]) -> float:
    """Return how much better a breaker explains it that moves then than one that just did, as a logarithm.

    How often it moves, if it does so, is as it was seen (with one half of each added).
    """
    moved = sum(each.moved for each in seen)
    share = (moved + 0.5) / (len(seen) + 1)
    return sum(
        math.log(share / each.chance if each.moved else (1 - share) / (1 - each.chance)) for each in seen
    )


def _stretches(view: View, state: State) -> list[tuple[Transition, Stretch, Transition | None]]:
    """Return each stretch of *state* with how it began and, if it did, how it ended."""
    course = view.course
    ends = [*course.transitions, None]
    return [
        (began, stretch, ended)
        for stretch, (began, ended) in zip(course.stretches[1:], pairwise(ends), strict=True)
        if stretch.state is state and began is not None
    ]
