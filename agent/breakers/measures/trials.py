"""What happens around a trial: how long it was open before, who else was let in, who had to wait."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from agent.breakers.courses.states import State
from agent.breakers.measures.estimate import common

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.breakers.courses.states import Transition
    from agent.breakers.view import View

CROWD = 5
"""So many let in at once, with nobody kept back, are a crowd and not a budget that nobody reached."""
CLOCK_ERROR_S = 0.01
EARLY = 0.25
"""A trial after less than this share of the longest wait so far was no trial but a leak."""
CHECKS_MIN = 10
"""So many requests that are nobody's call may be active checks."""
FAR_LONGER = 5.0
"""Open so many times as long under a fault as after it, it waited for its end, and not for an open time."""
QUEUED_SHARE = 0.5
MIXED = 5
ADMITS = 0.25
"""Whoever keeps back at most this share of those who come keeps nobody back on purpose: the rest came
when the trial was over already."""

FAMILIES = {
    "reject": "others are rejected while a trial is in flight",
    "queue": "others wait for the trial in flight",
    "admit": "everybody is let in until the first trial has ended",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """One half-open stretch, while its first trial was in flight: who was let in of those who came.

    ``waited`` are those who came meanwhile and were kept from a decision until the trial was over.
    """

    admitted: int
    offered: int
    waited: int
    began: float
    ended: float


def held(view: View) -> list[Held]:
    """Return what happened during the first trial of each half-open stretch; leaks are no trials."""
    asked, found = view.asked, []
    leaks_at = {wait.tried.before for wait, leak in zip(*_told(view), strict=True) if leak}
    for stretch in view.course.of(State.HALF_OPEN):
        if not stretch.trials or float(asked.at[stretch.trials[0]]) in leaks_at:
            continue
        first = stretch.trials[0]
        # The one that ends first, which need not be the one that began first, decides, or its permit is free.
        began, ended = float(asked.at[first]), float(asked.done[list(stretch.trials)].min())
        # Calls wait at most as long as a trial, so what came meanwhile lies in the rows from here on.
        rows = slice(first, int(np.searchsorted(asked.at, ended + 2 * (ended - began) + 1.0)))
        came = (asked.begun[rows] > began) & (asked.begun[rows] < ended)
        admitted = asked.forwarded[rows] & (asked.at[rows] < ended)
        waited = came & (asked.at[rows] >= ended)
        offered = int((came | admitted).sum())
        found.append(
            Held(
                admitted=int(admitted.sum()),
                offered=offered,
                waited=int(waited.sum()),
                began=began,
                ended=ended,
            )
        )
    return found


def family(seen: Sequence[Held]) -> str:
    """Name what becomes of others: ``reject``, ``queue`` or ``admit``."""
    offered = sum(each.offered for each in seen)
    kept = offered - sum(each.admitted for each in seen)
    if kept <= ADMITS * offered:
        return "admit"
    waited = sum(each.waited for each in seen)
    return "queue" if waited >= QUEUED_SHARE * kept and waited > len(seen) else "reject"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """How long it was open before a trial: at least ``low`` and at most ``high`` seconds."""

    opened: Transition
    tried: Transition
    low: float
    high: float

    @property
    def bracket(self) -> tuple[float, float]:
        """Both ends, as far apart as two clocks and two processes may put them."""
        return max(0.0, self.low - CLOCK_ERROR_S), self.high + CLOCK_ERROR_S


def waits(view: View) -> list[Wait]:
    """Return each time it was seen to open until it let somebody through, trial or leak."""
    return [
        Wait(
            opened=opened,
            tried=tried,
            low=max(0.0, tried.after - opened.before),
            high=tried.before - opened.after,
        )
        for opened, tried in pairwise(view.course.transitions)
        if opened.to is State.OPEN
        and tried.to is State.HALF_OPEN
        and not view.meets(opened.after, opened.before, hidden=True)
    ]


def proper_waits(view: View) -> list[Wait]:
    """Return each time it was open until a trial; leaks are left out."""
    found = waits(view)
    return [wait for wait, leak in zip(found, _leaky(found), strict=True) if not leak]


def until_well(view: View) -> list[tuple[float, float]]:
    """Return how long after its fault's end it let somebody in, each time; [] where it has a time of its own.

    An active check closes it: it never tries while the dependency fails, however long that is, and soon
    after does.  Without requests that are nobody's call there is no such check.
    """
    mapping = view.mapping
    if mapping.beat is None and (not mapping.by_id or mapping.strangers < CHECKS_MIN):
        return []
    found, waited = [], []
    for wait in proper_waits(view):
        fault = view.fault_at(wait.opened.before)
        if fault is None:
            continue
        rest_s = wait.tried.before - fault.ended
        if wait.tried.after < fault.ended or fault.ended - wait.opened.before < FAR_LONGER * rest_s:
            return []
        found.append((max(0.0, wait.tried.after - fault.ended), rest_s))
        waited.append(wait.bracket)
    return [] if len(waited) > 1 and common(waited) else found


def from_trial_starts(view: View) -> list[tuple[float, float]]:
    """Return the brackets of proper waits, those after a failed trial counted from that trial's start."""
    found: list[tuple[float, float]] = []
    trial: Transition | None = None
    for wait in proper_waits(view):
        since = wait.opened if wait.opened.was is State.CLOSED or trial is None else trial
        found.append(
            (
                max(0.0, wait.tried.after - since.before - CLOCK_ERROR_S),
                wait.tried.before - since.after + CLOCK_ERROR_S,
            )
        )
        trial = wait.tried
    return found


def leaks(view: View) -> int:
    """Return how many calls an open breaker let through too early to be trials."""
    return sum(_leaky(waits(view)))


def grows(view: View) -> bool:
    """Whether each wait is longer than the one before, within each fault."""
    rises = falls = 0
    for one, two in pairwise(waits(view)):
        if view.fault_at(one.tried.before) is view.fault_at(two.tried.before):
            rises += one.high < two.low
            falls += two.high < one.low
    return rises > 0 and rises > 3 * falls


def is_gradual(view: View) -> bool:
    """Whether some calls were let in and some kept back for a while after a trial had succeeded.

    So does a machine that has no three states: it lets in a share that grows.
    """
    asked = view.asked
    for stretch in view.course.of(State.HALF_OPEN):
        span = slice(stretch.first, stretch.end)
        good = asked.done[span][asked.forwarded[span] & asked.good[span]]
        if len(good) == 0:
            continue
        after = asked.at[span] > good.min()
        let_in = int((after & asked.forwarded[span]).sum())
        if min(let_in, int(after.sum()) - let_in) >= MIXED:
            return True
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Lag:
    """From when good trials were ``over`` until others were let in, while those in ``rows`` were kept back.

    It ended after ``after`` and at ``before``.
    """

    over: float
    after: float
    before: float
    rows: slice


def lags(view: View) -> list[Lag]:
    """Return each time calls were kept back while half-open with nothing in flight and no trial failed.

    The last one of a stretch ends where it is closed.
    """
    asked, found = view.asked, []
    for stretch, _, step in view.steps:
        if stretch.state is not State.HALF_OPEN or step.to is not State.CLOSED or not stretch.trials:
            continue
        let_in = [*stretch.trials, stretch.end]
        over = np.maximum.accumulate(asked.done[let_in[:-1]])
        all_good = np.logical_and.accumulate(asked.good[let_in[:-1]])
        for place, (row, following) in enumerate(pairwise(let_in)):
            if following > row + 1 and all_good[place] and asked.at[following - 1] > over[place]:
                after, before = float(asked.at[following - 1]), float(asked.at[following])
                found.append(
                    Lag(over=float(over[place]), after=after, before=before, rows=slice(row + 1, following))
                )
    return found


def _told(view: View) -> tuple[list[Wait], list[bool]]:
    found = waits(view)
    return found, _leaky(found)


def _leaky(found: Sequence[Wait]) -> list[bool]:
    longest = max((wait.low for wait in found), default=0.0)
    return [wait.high < EARLY * longest for wait in found]
