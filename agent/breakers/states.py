"""From decisions to a sequence of states, each transition with the bracket it must lie in."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import islice, pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.breakers.decisions import Baseline, Decisions

FALSE_OPENS = 1e-3
"""How many openings may be seen by chance in a whole recording, at most."""
ADMITTED_IN_A_ROW = 5
"""So many admitted after a good trial, with no rejection among them, make the breaker closed."""
MIXED_IN_A_ROW_MAX = 12
"""More than five are asked for, but no more than this, where a half-open one lets in a share of the calls."""
BY_CHANCE = 2e-3
"""A row of admitted calls less likely than this is no chance."""
PAUSE = 0.32
"""Shorter than this share of the longest open time, being open after a good trial is a pause: open times that
vary by a half either way are never as short."""
ASIDE_HARDLY = 0.005
"""A row of aside answers less likely than this is not one."""
ROW_MAX = 200
ON_THE_WAY_S = 0.02
"""From the decision in the service to the arrival at the link, at most."""

TOLD_S = 0.003
"""From the end of a trial at the link until the service knows of it, at most."""
BESIDE_S = 0.1
"""A rejection that took longer waited for something: it was decided at its end, not when it came."""


class State(StrEnum):
    """What a breaker does with calls: lets them through, keeps them back, or tries some."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """A change of state, not before ``after`` and not after ``before`` (monotonic seconds)."""

    was: State
    to: State
    after: float
    before: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """The decisions from row ``first`` up to row ``end`` (exclusive), taken in one state.

    ``trials`` are the rows of a half-open stretch that were let through, in order.
    """

    state: State
    first: int
    end: int
    trials: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """The states of one breaker over a recording: n stretches and the n - 1 transitions between them."""

    stretches: tuple[Stretch, ...]
    transitions: tuple[Transition, ...]

    @property
    def sequence(self) -> tuple[State, ...]:
        """The states in order."""
        return tuple(each.state for each in self.stretches)

    def of(self, state: State) -> tuple[Stretch, ...]:
        """Return the stretches in *state*."""
        return tuple(each for each in self.stretches if each.state is state)


def follow(decisions: Decisions, baseline: Baseline) -> Course:
    """Return the course of the one breaker behind *decisions*; O(n)."""
    return _without_pauses(_Machine(decisions, baseline).course(), decisions)


def _without_pauses(course: Course, decisions: Decisions) -> Course:
    """Return *course* with half-open in one piece where it only paused.

    One that lets in a share of the calls keeps many back in a row by chance; after good trials only, and
    for much less than the open time, that is no opening.
    """
    stretches, steps = list(course.stretches), list(course.transitions)
    lasted = [
        two.before - one.after
        for one, two in pairwise(steps)
        if one.to is State.OPEN and two.was is State.OPEN
    ]
    longest = max(lasted, default=0.0)
    place = 1
    while place < len(stretches) - 1:
        was, between, then = stretches[place - 1 : place + 2]
        if (
            between.state is State.OPEN
            and was.state is then.state is State.HALF_OPEN
            and steps[place].before - steps[place - 1].after < PAUSE * longest
            and was.trials
            and bool(decisions.good[list(was.trials)].all())
        ):
            stretches[place - 1 : place + 2] = [replace(was, end=then.end, trials=was.trials + then.trials)]
            del steps[place - 1 : place + 1]
        else:
            place += 1
    return Course(stretches=tuple(stretches), transitions=tuple(steps))


def rejected_in_a_row(baseline: Baseline, n: int) -> int:
    """Return how many calls in a row must be kept back before that is no chance any more.

    Source:
        A row of k aside answers has the chance p**k at each of n calls; p is the upper 95 % bound
        (Clopper-Pearson, the one-sided bound 1 - 0.05**(1/n) when none was seen).
    """
    share = aside_bound(baseline)
    return min(ROW_MAX, max(2, math.ceil(math.log(FALSE_OPENS / max(n, 1)) / math.log(share))))


def aside_bound(baseline: Baseline) -> float:
    """Return the upper bound of the share of calls that are answered aside and look like rejections."""
    if not baseline.ambiguous:
        return min(0.05, 1 - 0.05 ** (1 / baseline.n)) if baseline.n else 0.05
    spread = math.sqrt(baseline.aside_share * (1 - baseline.aside_share) / max(baseline.n, 1))
    return min(0.95, baseline.aside_share + 2 * spread)


@dataclass(slots=True)
class _Trial:
    """A half-open stretch while it is read."""

    first: int
    rows: list[int] = field(default_factory=list)
    first_good: float = math.inf
    first_failed: float = math.inf
    last_done: float = -math.inf
    keeps_others_back: bool = False
    admitted: int = 0
    admitted_from: int = -1
    kept_back: int = 0
    kept_back_at: float = -math.inf
    rejected: int = 0
    rejected_from: int = -1
    all_kept_back: int = 0
    in_flight: list[float] = field(default_factory=list)
    row_in_flight: list[tuple[float, int]] = field(default_factory=list)

    def under_way(self, at: float) -> int:
        """Return how many trials had not ended at the moment *at*; moments come in order."""
        while self.in_flight and self.in_flight[0] <= at:
            heapq.heappop(self.in_flight)
        return len(self.in_flight)

    @property
    def row_needed(self) -> int:
        """How many admitted in a row are no chance, if a half-open one lets in a share of the calls."""
        if not self.all_kept_back:
            return ADMITTED_IN_A_ROW
        before = len(self.rows) - self.admitted
        share = (before + 1) / (before + self.all_kept_back + 2)
        by_share = math.ceil(math.log(BY_CHANCE) / math.log(share))
        return min(MIXED_IN_A_ROW_MAX, max(ADMITTED_IN_A_ROW, by_share))


@dataclass(slots=True)
class _Budget:
    """What is known of how many trials may be under way at a time, from all half-open stretches.

    ``full_at`` is how many were when somebody was kept back, ``had`` how many when somebody was let in
    before any trial had succeeded.  ``waits_for`` is how many results it waits for: so many were let in
    before it opened again, though one had failed already.
    """

    full_at: int = 0
    had: int = 0
    waits_for: int = 0

    def proves_closed(self, under_way: int) -> bool:
        """Whether to be let in while so many were under way needs a closed one."""
        return 0 < self.full_at <= under_way and self.had < self.full_at


class _Machine:
    """Reads decisions one by one; each state has one method."""

    def __init__(self, decisions: Decisions, baseline: Baseline) -> None:
        self._at = decisions.at.tolist()
        self._begun = decisions.begun.tolist()
        self._done = decisions.done.tolist()
        self._forwarded = decisions.forwarded.tolist()
        self._good = decisions.good.tolist()
        self._in_a_row = rejected_in_a_row(baseline, len(self._at))
        hardly = math.log(ASIDE_HARDLY) / math.log(aside_bound(baseline))
        self._sure = max(1, math.ceil(hardly)) if baseline.ambiguous else 1
        self._stretches: list[Stretch] = []
        self._transitions: list[Transition] = []
        self._state = State.CLOSED
        self._first = 0
        self._last_admitted = self._last_rejected = -1
        self._rejected = 0
        self._trial = _Trial(first=-1)
        self._budget = _Budget()
        self._closings: list[tuple[int, int, list[tuple[float, int]]]] = []

    def course(self) -> Course:
        """Read everything."""
        read = {State.CLOSED: self._closed, State.OPEN: self._open, State.HALF_OPEN: self._half_open}
        for row, forwarded in enumerate(self._forwarded):
            read[self._state](row, forwarded)
        self._leave(len(self._at))
        for place, first, admitted in self._closings:
            self._bound_closing(place, first, admitted)
        return Course(stretches=tuple(self._stretches), transitions=tuple(self._transitions))

    def _closed(self, row: int, forwarded: bool) -> None:  # noqa: FBT001
        if forwarded:
            self._last_admitted, self._rejected = row, 0
            return
        self._rejected += 1
        if self._rejected < self._in_a_row:
            return
        began = row - self._rejected + 1
        self._last_rejected = row
        if began == 0:  # it was open before the recording began
            self._state = State.OPEN
        else:
            sure = min(row, began + self._sure - 1)
            self._go(State.OPEN, began, self._at[self._last_admitted], self._at[sure])

    def _open(self, row: int, forwarded: bool) -> None:  # noqa: FBT001
        if not forwarded:
            self._last_rejected = row
            return
        if self._was_let_in_before(row):
            return
        sure = max(0, self._last_before(row) - self._sure + 1)
        self._trial = _Trial(first=row)
        self._go(State.HALF_OPEN, row, self._at[sure], self._at[row])
        self._half_open(row, forwarded)

    def _last_before(self, row: int) -> int:
        """Return the last rejection from before the call came; one beside it may have come after it."""
        came = max(self._begun[row], self._at[row] - BESIDE_S)
        last = self._last_rejected
        while last > self._first and self._at[last] > came:
            last -= 1
        return last

    def _was_let_in_before(self, row: int) -> bool:
        """Whether the call may have been let in just before it opened: it arrives a little later."""
        opened = self._transitions[-1].before if self._transitions else -math.inf
        return bool(self._begun[row] <= opened and self._at[row] <= opened + ON_THE_WAY_S)

    def _half_open(self, row: int, forwarded: bool) -> None:  # noqa: FBT001
        if forwarded:
            self._try(row)
        else:
            self._keep_back(row)

    def _try(self, row: int) -> None:
        trial, at = self._trial, self._at[row]
        under_way = trial.under_way(at)
        trial.rows.append(row)
        heapq.heappush(trial.in_flight, self._done[row])
        trial.rejected = trial.kept_back = 0
        self._last_admitted = row
        if at >= trial.first_good:
            trial.admitted += 1
            if trial.admitted == 1:
                trial.admitted_from = row
                trial.row_in_flight = []
            trial.row_in_flight.append((at, under_way))
        else:
            self._budget.had = max(self._budget.had, under_way)
        if self._good[row]:
            trial.first_good = min(trial.first_good, self._done[row])
        else:
            trial.first_failed = min(trial.first_failed, self._done[row])
        trial.last_done = max(trial.last_done, self._done[row])
        if trial.admitted >= trial.row_needed and len(trial.rows) > self._budget.waits_for:
            self._close(trial)

    def _close(self, trial: _Trial) -> None:
        began = trial.admitted_from
        after = max(trial.first_good, trial.kept_back_at)
        trial.rows = [each for each in trial.rows if each < began]
        self._rejected = 0
        self._go(State.CLOSED, began, after, trial.row_in_flight[-1][0])
        self._closings.append((len(self._transitions) - 1, trial.first, trial.row_in_flight))

    def _bound_closing(self, place: int, first: int, admitted: list[tuple[float, int]]) -> None:
        """Say when it was closed at the latest: more were let in at once than it lets in half-open.

        One that waits for several results, and keeps nobody back meanwhile, may be half-open until then.
        """
        step = self._transitions[place]
        proven = next((at for at, under_way in admitted if self._budget.proves_closed(under_way)), None)
        before = step.before if proven is None else proven
        if proven is None and self._budget.waits_for > 1:
            rows = (row for row in range(first, len(self._at)) if self._forwarded[row])
            waited_for = list(islice(rows, self._budget.waits_for))
            before = max(before, *(self._done[row] for row in waited_for))
        self._transitions[place] = replace(step, before=before)

    def _keep_back(self, row: int) -> None:
        trial, at = self._trial, self._at[row]
        self._last_rejected = row
        decided = at >= min(trial.first_good, trial.first_failed) and not self._beside_the_next(row)
        trial.keeps_others_back |= not decided
        trial.kept_back += 1
        trial.all_kept_back += 1
        if not decided:
            self._budget.full_at = max(self._budget.full_at, trial.under_way(at))
        if trial.kept_back >= self._sure:
            trial.admitted, trial.kept_back_at = 0, at
        if not decided or not self._has_failed(trial, max(self._begun[row], at - BESIDE_S) - TOLD_S):
            return
        trial.rejected += 1
        if trial.rejected == 1:
            trial.rejected_from = row
        if trial.rejected >= (self._in_a_row if at >= trial.first_good else self._sure):
            began = trial.rejected_from
            if any(self._at[each] > trial.first_failed + TOLD_S for each in trial.rows):
                self._budget.waits_for = max(self._budget.waits_for, len(trial.rows))
            last = self._at[trial.rows[-1]]
            ended = trial.first_failed if trial.first_failed < math.inf else trial.first_good
            after = max(last, min(ended, self._at[began]))
            self._go(State.OPEN, began, after, self._at[min(row, began + self._sure - 1)])

    def _beside_the_next(self, row: int) -> bool:
        """Whether the next call was let in and under way already: then this one was kept back beside it."""
        following = row + 1
        return (
            following < len(self._at)
            and self._forwarded[following]
            and self._begun[following] <= self._at[row]
        )

    def _has_failed(self, trial: _Trial, at: float) -> bool:
        """Whether a rejection that was decided after *at* says that the trial is over.

        Others may just not be tried; and a call that came before the trial was over may have been kept
        back beside it.
        """
        if trial.keeps_others_back or at >= trial.first_good:
            return at >= trial.last_done
        return at >= trial.first_failed

    def _go(self, to: State, row: int, after: float, before: float) -> None:
        self._leave(row)
        self._transitions.append(Transition(was=self._state, to=to, after=after, before=before))
        self._state = to

    def _leave(self, row: int) -> None:
        trials = tuple(self._trial.rows) if self._state is State.HALF_OPEN else ()
        self._stretches.append(Stretch(state=self._state, first=self._first, end=row, trials=trials))
        self._first = row
