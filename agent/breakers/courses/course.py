"""From decisions to a course of states, each transition with the bracket it must lie in."""

from __future__ import annotations

import heapq
import math
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from agent.breakers.courses.closings import bounded
from agent.breakers.courses.lateness import with_earlier
from agent.breakers.courses.pauses import MIXED_IN_A_ROW_MAX, without_pauses
from agent.breakers.courses.states import JUST_S, Course, State, Stretch, Transition

if TYPE_CHECKING:
    from agent.breakers.reading.decisions import Baseline, Decisions
    from agent.breakers.streams import Flags, Floats

FALSE_OPENS = 1e-3
"""How many openings may be seen by chance in a whole recording, at most."""
ADMITTED_IN_A_ROW = 5
"""So many admitted after a good trial, with no rejection among them, make the breaker closed."""
BY_CHANCE = 2e-3
"""A row of calls let in, or kept back, less likely than this is no chance."""
SETTLED_MIN = 2
"""So often it opened again after one and the same number of trials, for that to be how many it wants."""
SHARED_MIN = 3
"""So often a call was let in after another one was kept back, and no trial had ended in between."""
SLOWER = 2.5
"""A call that takes so many times as long as others may open a breaker, too."""
ASIDE_HARDLY = 0.005
"""A row of aside answers less likely than this is not one."""
ROW_MAX = 200
ON_THE_WAY_S = 0.02
"""From the decision in the service to the arrival at the link, at most, if it is not seen to take longer."""
STALLED_S = 0.05
"""So long after it opened a call from before may arrive: a trial would not come so soon."""
TOLD_S = 0.003
"""From the end of a trial at the link until the service knows of it, at most."""
BESIDE_S = 0.1
"""A rejection that took longer waited for something: it was decided at its end, not when it came."""


def follow(decisions: Decisions, baseline: Baseline, clear: Flags, *, late_s: float = 0.0) -> Course:
    """Return the course of the one breaker behind *decisions*; O(n log n).

    *clear* says which calls were answered as nothing but a rejection is, *late_s* how late they are seen.
    """
    bad = _bad_ends(decisions)
    course = _Machine(decisions, baseline, clear, bad, max(STALLED_S, late_s)).course()
    return with_earlier(bounded(without_pauses(course, decisions, bad), decisions), late_s)


def _bad_ends(decisions: Decisions) -> Floats:
    """Return when calls ended that may open a breaker: failed, or far slower than others; sorted."""
    through = decisions.forwarded
    took = decisions.done - decisions.begun
    usual = float(np.median(took[through & decisions.good])) if (through & decisions.good).any() else np.inf
    return np.sort(decisions.done[through & (~decisions.good | (took > SLOWER * usual))])


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
    ended: int = 0
    all_kept_back: int = 0
    released: float = -math.inf
    kept_back_last: float = -math.inf
    shared: int = 0
    in_flight: list[float] = field(default_factory=list)

    def under_way(self, at: float) -> int:
        """Return how many trials had not ended at the moment *at*; moments come in order."""
        while self.in_flight and self.in_flight[0] <= at:
            self.released = heapq.heappop(self.in_flight)
        return len(self.in_flight)

    def lets_in_a_share(self, at: float) -> bool:
        """Whether the call let in at the moment *at* came after one kept back, with no place free since."""
        ends_soon = not self.in_flight or self.in_flight[0] <= at + JUST_S
        return not ends_soon and self.kept_back_last > self.released + JUST_S

    @property
    def row_needed(self) -> int:
        """How many admitted in a row are no chance, if a half-open one lets in a share of the calls."""
        if not self.all_kept_back:
            return ADMITTED_IN_A_ROW
        before = len(self.rows) - self.admitted
        share = (before + 1) / (before + self.all_kept_back + 2)
        by_share = math.ceil(math.log(BY_CHANCE) / math.log(share))
        return min(MIXED_IN_A_ROW_MAX, max(ADMITTED_IN_A_ROW, by_share))


class _Machine:
    """Reads decisions one by one; each state has one method."""

    def __init__(
        self, decisions: Decisions, baseline: Baseline, clear: Flags, bad: Floats, on_the_way_s: float
    ) -> None:
        self._at = decisions.at.tolist()
        self._begun = decisions.begun.tolist()
        self._done = decisions.done.tolist()
        self._forwarded = decisions.forwarded.tolist()
        self._good = decisions.good.tolist()
        self._clear = clear.tolist()
        self._bad = bad.tolist()
        self._on_the_way_s = on_the_way_s
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
        self._waits_for = 0  # so many results: so many were let in though one had failed already
        self._let_in: list[int] = []  # trials of each half-open stretch after which it opened again

    def course(self) -> Course:
        """Read everything."""
        read = {State.CLOSED: self._closed, State.OPEN: self._open, State.HALF_OPEN: self._half_open}
        for row, forwarded in enumerate(self._forwarded):
            read[self._state](row, forwarded)
        self._leave(len(self._at))
        return Course(stretches=tuple(self._stretches), transitions=tuple(self._transitions))

    def _closed(self, row: int, forwarded: bool) -> None:  # noqa: FBT001
        if forwarded:
            self._last_admitted, self._rejected = row, 0
            return
        self._rejected += 1
        if self._rejected < self._in_a_row and not self._opens_clearly(row):
            return
        began = row - self._rejected + 1
        self._last_rejected = row
        if began == 0:  # it was open before the recording began
            self._state = State.OPEN
        else:
            sure = min(row, began + self._sure - 1)
            self._go(State.OPEN, began, self._at[self._last_admitted], self._at[sure])

    def _opens_clearly(self, row: int) -> bool:
        """Whether one call kept back is enough: it looks like nothing else, and something had just failed."""
        if not self._clear[row] or self._last_admitted < 0 or self._beside_the_next(row):
            return False
        since, until = self._at[self._last_admitted] - JUST_S, self._at[row] + JUST_S
        return bisect_right(self._bad, until) > bisect_left(self._bad, since)

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
        return bool(self._begun[row] <= opened and self._at[row] <= opened + self._on_the_way_s)

    def _half_open(self, row: int, forwarded: bool) -> None:  # noqa: FBT001
        if forwarded:
            self._try(row)
        else:
            self._keep_back(row)

    def _try(self, row: int) -> None:
        trial, at = self._trial, self._at[row]
        trial.under_way(at)
        trial.shared += trial.lets_in_a_share(at)
        trial.rows.append(row)
        heapq.heappush(trial.in_flight, self._done[row])
        trial.rejected = trial.kept_back = 0
        trial.kept_back_last = -math.inf
        self._last_admitted = row
        if at >= trial.first_good:
            trial.admitted += 1
            if trial.admitted == 1:
                trial.admitted_from = row
        if self._good[row]:
            trial.first_good = min(trial.first_good, self._done[row])
        else:
            trial.first_failed = min(trial.first_failed, self._done[row])
        trial.last_done = max(trial.last_done, self._done[row])
        ended = len(trial.rows) - len(trial.in_flight)
        if trial.admitted >= trial.row_needed and ended > self._waits_for:
            self._close(trial)

    def _close(self, trial: _Trial) -> None:
        began = trial.admitted_from
        after = max(trial.first_good, trial.kept_back_at)
        trial.rows = [each for each in trial.rows if each < began]
        self._rejected = 0
        self._go(State.CLOSED, began, after, self._at[self._last_admitted])

    def _keep_back(self, row: int) -> None:
        trial, at = self._trial, self._at[row]
        self._last_rejected = row
        decided = at >= min(trial.first_good, trial.first_failed) and not self._beside_the_next(row)
        decided &= not self._is_full(trial, at - TOLD_S)
        trial.keeps_others_back |= not decided
        trial.kept_back += 1
        trial.all_kept_back += 1
        trial.kept_back_last = at
        trial.under_way(at)
        if trial.kept_back >= self._sure:
            trial.admitted, trial.kept_back_at = 0, at
        if not decided or not self._has_failed(trial, max(self._begun[row], at - BESIDE_S) - TOLD_S):
            return
        trial.rejected += 1
        if trial.rejected == 1:
            trial.rejected_from = row
            trial.ended = len(trial.rows) - len(trial.in_flight)
        if trial.rejected >= (self._in_a_row if at >= trial.first_good else self._sure):
            began = trial.rejected_from
            if any(self._at[each] > trial.first_failed + ON_THE_WAY_S for each in trial.rows):
                self._waits_for = max(self._waits_for, trial.ended)
            self._let_in.append(len(trial.rows))
            last = self._at[trial.rows[-1]]
            ended = trial.first_failed if trial.first_failed < math.inf else trial.first_good
            after = max(last, min(ended, self._at[began]))
            self._go(State.OPEN, began, after, self._at[min(row, began + self._sure - 1)])

    def _is_full(self, trial: _Trial, at: float) -> bool:
        """Whether it has let in as many as ever, and waits for their results: so it keeps others back.

        It always lets in so many before it opens again, though some of them have failed already.
        """
        budget = self._waits_for
        settled = len(self._let_in) >= SETTLED_MIN and set(self._let_in) == {budget}
        return settled and len(trial.rows) == budget and trial.under_way(at) > 0

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
        if trial.shared >= SHARED_MIN and at >= trial.first_failed:
            # It keeps calls back by chance: so many in a row are none, whatever is still under way.
            share = len(trial.rows) / (len(trial.rows) + trial.all_kept_back - trial.kept_back)
            if (1 - share) ** trial.kept_back < BY_CHANCE:
                return True
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
