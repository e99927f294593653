"""Plays the phases in which results come in late, until it is told what becomes of the breaker then."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from agent.breakers.courses.states import State
from agent.breakers.exercise import protocol
from agent.breakers.measures import late, timing, trials
from agent.breakers.measures.estimate import common
from agent.faults.exercise.phases import SLOW_MAX_S
from agent.faults.exercise.rounds import ROUND_S
from agent.traffic import commands

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from agent.breakers.measures.late import Late
    from agent.breakers.view import View
    from agent.faults.exercise.rounds import Rounds

MOSTLY = 0.75
"""So many requests fail at once, and the rest succeed late: rows of failures, with successes on their way."""
TRIES, ENOUGH = 8, 3
"""So often late results are tried at most; so often they were seen to come in, and nothing came of it."""
INTO_TRIALS = (0.3, 0.5, 0.2)
"""How far into the time of trials that hang the hang ends, by turns."""
MEETS_S, MEETS_CALLS = 0.1, 6
"""Before every request fails, so many are let go on their way, and it takes no less than this."""
IN_TIME = 0.85
"""So much of the service's patience a late answer takes at most."""
INTO_OPEN = 0.4
"""And no more than it takes to open it, and this share of its open time, so that it is open still."""
HANGS, USUAL = ("hang", "late-failure"), 3
"""Under these it opens on calls that hung; so many of the last such open times tell the next one."""
BEFORE_S = 0.05
"""So long before trials fail nobody calls any more."""
MANY = 10
"""Where it opens on no fixed count of failures, so many fail in a row."""
HALF, TURN = 0.5, 2


class LateResults:
    """Late results in *rounds*: successes while it is open, failures while it is closed again."""

    def __init__(self, rounds: Rounds) -> None:
        self._rounds, self._exercise = rounds, rounds.exercise

    def successes(self) -> None:
        """Requests fail at once while others, from before or among them, succeed late; again and again.

        By turns all fail once some are on their way, which opens one that counts failures in a row; and most
        do all the time, which opens one that counts shares.  What suits it comes twice as often.
        """
        seen = self._exercise.look()
        in_a_row, share = _in_a_row(seen), 1.0
        for n in self._until_told("late-success", late.successes_while_open):
            some, late_s = self._timed(seen, in_a_row or 0.0, share)
            self._rounds.recorder.begin("late-success")
            asked_at = time.monotonic()
            began = self._exercise.inject("slow", direction="upstream", latency_ms=1000 * late_s)
            all_fail = (n % 3 == TURN) == (in_a_row is None)
            if all_fail:
                time.sleep(max(0.0, some - (began - asked_at)))  # the other one takes as long to come
            self._exercise.inject("error", toxicity=1.0 if all_fail else MOSTLY)
            self._exercise.fault("late-success", began)
            self._rounds.until_opened(began, self._rounds.pace.patience_s)
            time.sleep(late_s)  # until whoever was let in before has come back
            self._rounds.again()
            if not _late_and_well(self._exercise.look(), began, late_s):
                share *= HALF  # the service's patience was not known

    def _timed(self, seen: View, in_a_row: float, share: float) -> tuple[float, float]:
        """Return for how long requests are let go on their way, and how late they succeed.

        They come back when it has opened: *in_a_row* failures take as long as so many calls do, and by
        chance longer.  They take *share* of what the service's patience is thought to be.
        """
        rate = max(1.0, self._exercise.rate.rps)
        opens_s = (in_a_row + 2 * math.sqrt(in_a_row)) / rate
        some = max(MEETS_S, MEETS_CALLS / rate)
        longest = min(IN_TIME * share * protocol.patience_of_service_s(seen), SLOW_MAX_S)
        late_s = min(longest, some + opens_s + INTO_OPEN * protocol.open_time_s(seen))
        return max(0.5 * MEETS_S, min(some, late_s - opens_s)), late_s

    def failures(self) -> None:
        """The dependency hangs, and recovers while trials are under way: they fail after others succeeded.

        Then nobody calls for a moment: no success sets back the count of those that fail.
        """
        seen = self._exercise.look()
        patience_s, enough = protocol.patience_of_service_s(seen), _in_a_row(seen) or MANY
        for n in self._until_told("late-failure", late.failures_while_closed):
            self._rounds.recorder.begin("late-failure")
            began = self._exercise.inject("hang", lost=True)
            self._exercise.fault("late-failure", began)
            self._rounds.until_opened(began, self._rounds.pace.patience_s)
            tried = self._while_tried(began, INTO_TRIALS[n % len(INTO_TRIALS)])
            self._exercise.heal()
            self._exercise.fault_over()
            if tried is not None:
                self._pause(tried, patience_s, enough)
            time.sleep(2 * patience_s + late.COUNTED_BY_S)
            self._rounds.again()

    def _pause(self, tried: float, patience_s: float, enough: float) -> None:
        """Have nobody call when those fail that were *tried* from then on, once it should have closed."""
        rate = max(1.0, self._exercise.rate.rps)
        fail_at = tried + patience_s
        time.sleep(max(0.0, fail_at - BEFORE_S - time.monotonic()))
        for_s = fail_at + (enough + 2 * math.sqrt(enough)) / rate - time.monotonic()
        if for_s > 0:
            commands.change(self._rounds.folder, rate_rps=0, for_s=for_s)

    def _until_told(self, extra: str, results: Callable[[View], list[Late]]) -> Iterator[int]:
        """Count tries until it is told what late *results* do, there were too many, or there is no time."""
        for n in range(TRIES):
            found = results(self._exercise.look())
            if late.is_decided(found) or len(found) >= ENOUGH * (1 + any(each.moved for each in found)):
                return
            takes_s = ROUND_S + 1.5 * protocol.open_time_s(self._exercise.look())
            if n >= ENOUGH and not self._exercise.has_time(f"{extra} once more", takes_s):
                return
            yield n

    def _while_tried(self, since: float, share: float) -> float | None:
        """Wait until trials should be under way, and return since when, None if it has not opened.

        That is over too soon to be seen first.
        """
        seen = self._exercise.look()
        opened = [step for step in seen.course.transitions if step.to is State.OPEN]
        if not opened or opened[-1].before < since:
            return None
        hung = [each for each in trials.waits(seen) if _kind_at(seen, each.opened.before) in HANGS]
        known = common([each.bracket for each in hung[-USUAL:]]) if hung else None
        usual_s = sum(known) / 2 if known else hung[-1].high if hung else protocol.open_time_s(seen)
        # Calls that still hang have no samples yet, so the last one before it opened is not known.
        at = opened[-1].before + usual_s
        into_s = share * protocol.patience_of_service_s(seen)
        time.sleep(max(0.0, at + into_s - time.monotonic()))
        return at


def _in_a_row(view: View) -> float | None:
    """Return how many failures in a row open it, None where it opens on no fixed count."""
    count = timing.failures_to_open(view.plain)
    return count.high if count.more.get("constant") else None


def _kind_at(view: View, at: float) -> str:
    fault = view.fault_at(at)
    return fault.kind if fault else ""


def _late_and_well(view: View, since: float, late_s: float) -> bool:
    """Whether a call that was let through since then came out well, and as late as it was to."""
    asked = view.asked
    took = asked.done - asked.at
    return bool((asked.forwarded & asked.good & (asked.at >= since) & (took >= HALF * late_s)).any())
