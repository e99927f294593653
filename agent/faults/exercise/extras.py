"""Plays the extra phases: those that need the client to behave otherwise, or two faults at once."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from agent.breakers.courses.states import State
from agent.breakers.exercise import phases, protocol
from agent.faults import clocks
from agent.faults.clocks import ClockError
from agent.faults.exercise import late as late_results
from agent.faults.exercise.late import LateResults
from agent.faults.exercise.rounds import ROUND_S, Rounds
from agent.faults.traffic import surge
from agent.model import DidNotLand, UsageError
from agent.traffic import commands
from agent.traffic.commands import TrafficUnreachable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.breakers.view import View
    from agent.faults.clocks import Clock
    from agent.faults.exercise.phases import Exercise

SELDOM = 0.25
"""So many requests fail, among answers that are the caller's own fault: rows of failures are rare."""
ENOUGH = 60
"""So many failed, or given up, calls that do not open it will not."""
INTERLEAVED_MAX_S, CANCEL_MAX_S = 10.0, 6.0
GIVES_UP = 0.5
"""An impatient caller waits for this share of a slow answer."""
BURST_S = 2.0
BURSTS = ((1.4, 1.0), (2.0, 1.0), (3.0, 1.0), (3.0, 0.5))
"""How many times as many calls come, and which share of a slow answer's time the answers take.

A bulkhead is known by what it does when it is hardly full: so there are ever more of them.  Where the load
itself makes answers slower, a full one could not be told from timeouts: so at last they are less slow.
"""
OPEN_SHARE = 0.4
"""A slow answer takes no more of the open time: nobody is under way any more, and it is still open."""
SLOWEST_RPS, LOW_RATE_SHARE, LOW_RATE_S = 2.0, 1 / 16, 20.0
PAUSES_S = (2.0, 5.0, 15.0)
CLOCK_STEPS = (1, -1, 1)
"""Ahead, back, and ahead again: once would be chance."""
TIMES = {
    "late-success": late_results.ENOUGH,
    "late-failure": late_results.ENOUGH,
    "burst": len(BURSTS),
    "clock-step": len(CLOCK_STEPS),
}
OTHER_TRAFFIC = ("late-failure", "cancel", "burst", "low-rate", "pause")
"""In these the client itself does something else; a rate that was raised is as planned from the first on."""
CLOCK_WAITS, CLOCK_MORE_S = 3.0, 5.0
"""The clock is set by so many open times and a little: not to be mistaken for a late trial."""


class Extras:
    """The extra phases of an exercise of one link; each leaves the traffic as planned."""

    def __init__(self, exercise: Exercise, clock: Clock | None = None, *, bursts: bool = True) -> None:
        self._clock, self._bursts = clock, bursts
        self._exercise, self._folder = exercise, exercise.recorder.folder
        self._recorder, self._pace = exercise.recorder, exercise.pace
        self._rounds = Rounds(exercise)

    def play(self, wanted: Sequence[str]) -> None:
        """Play what was named, and what can tell something where that was left open; others are noted."""
        for extra in phases.EXTRAS:
            if extra not in wanted and phases.MORE not in wanted:
                continue
            if len(self._recorder.links) > 1 or any(each.key for each in self._recorder.faults):
                self._recorder.skip(extra, "it is played where there is one link and one key")
                continue
            seen = self._exercise.look()
            if extra == "clock-step" and self._clock is None:
                self._recorder.skip(extra, "no command sets the service's clock: --clock-set")
                continue
            if extra == "burst" and not self._bursts:
                self._recorder.skip(extra, "no burst of calls was allowed: --rate-max")
                continue
            if extra != "pause" and not protocol.is_closed(seen):
                self._recorder.skip(extra, "it did not close before")
                continue
            tells, why = phases.worth(extra, seen)
            if not tells and (extra not in wanted or extra == "pause"):
                self._recorder.skip(extra, why)
            elif self._exercise.has_time(extra, self._takes_s(extra, protocol.open_time_s(seen))):
                self._play(extra)

    def _takes_s(self, extra: str, open_s: float) -> float:
        """Return what a phase usually takes: each round opens the breaker and waits until it closes."""
        return max(self._pace.extra_s(open_s), TIMES.get(extra, 1) * (ROUND_S + 1.5 * open_s))

    def _play(self, extra: str) -> None:
        late = LateResults(self._rounds)
        play = {
            "late-success": late.successes,
            "late-failure": late.failures,
            "interleaved": self._interleaved,
            "cancel": self._cancel,
            "burst": self._burst,
            "low-rate": self._low_rate,
            "clock-step": self._clock_step,
            "pause": self._pause,
        }
        if extra in OTHER_TRAFFIC:
            self._exercise.rate.back()
        self._exercise.any_moment()
        try:
            play[extra]()
        except (TrafficUnreachable, UsageError, ClockError, DidNotLand) as error:
            self._recorder.skip(extra, str(error))
        finally:
            self._calm(extra)
        self._exercise.recover()

    def _calm(self, extra: str) -> None:
        """Take out what is in, and have the traffic as planned where *extra* changed it."""
        self._exercise.heal()
        now = time.monotonic()
        if self._recorder.faults and self._recorder.faults[-1].ended > now:
            self._exercise.fault_over()
        if self._recorder.phases[-1].ended > now:
            self._recorder.end()
        if extra not in OTHER_TRAFFIC:
            return
        try:
            commands.change(self._folder)
        except TrafficUnreachable as error:
            self._recorder.skip("traffic", str(error))

    # what is played

    def _interleaved(self) -> None:
        """A 404 for everybody but a few, who get a 500."""
        self._recorder.begin("interleaved")
        began = self._exercise.inject("not-found", toxicity=1 - SELDOM)
        self._exercise.inject("error")  # of what the other lets through; alone it would open it at once
        self._exercise.fault("interleaved", began)
        self._rounds.until_opened(began, INTERLEAVED_MAX_S, failures=ENOUGH)

    def _cancel(self) -> None:
        """Answers are slow, and callers do not wait for them."""
        began = self._exercise.inject("slow", direction="upstream")
        self._exercise.fault("cancel", began)
        timeout_s = GIVES_UP * self._exercise.slow_ms / 1000
        commands.change(self._folder, timeout_s=timeout_s)
        self._recorder.begin("cancel", timeout_s=timeout_s)
        self._rounds.until_opened(began, CANCEL_MAX_S, failures=ENOUGH)

    def _burst(self) -> None:
        """Answers are slow, and there are far more calls for a while; again and again."""
        status, seen = commands.status(self._folder), self._exercise.look()
        plan, most = float(status["plan_rate_rps"]), float(status["rate_max_rps"])
        if most <= plan:
            raise UsageError("no more calls are allowed than usual: --rate-max, or rate_max_rps")
        longest_ms = min(self._exercise.slow_ms, 1000 * OPEN_SHARE * protocol.open_time_s(seen))
        for factor, share in BURSTS:
            rate = min(factor * plan, most)
            began = self._exercise.inject("slow", direction="upstream", latency_ms=share * longest_ms)
            self._exercise.fault("burst", began)
            surge(rate_rps=rate, max_duration_s=BURST_S + 10.0)
            self._recorder.begin("burst", rate_rps=rate)
            # Not only until it seems open: calls that a bulkhead turns away look the same at first.
            self._exercise.wait(lambda _, __: False, BURST_S)
            self._rounds.again()

    def _low_rate(self) -> None:
        """Errors at few calls a second; at twice as many, and so on, until it opens."""
        seen = self._exercise.look()
        plan = float(commands.status(self._folder)["plan_rate_rps"])
        enough = _enough_at_low_rate(seen)
        rate = max(SLOWEST_RPS, plan * LOW_RATE_SHARE, enough / LOW_RATE_S)
        while rate < plan:
            if self._opens_at(rate, enough):
                return
            rate *= 2

    def _opens_at(self, rate_rps: float, enough: int) -> bool:
        """Have *enough* calls fail at this rate, unless it opens before."""
        commands.change(self._folder, rate_rps=rate_rps)
        began = self._exercise.inject("error")
        self._exercise.fault("low-rate", began)
        self._recorder.begin("low-rate", rate_rps=rate_rps)
        self._rounds.until_opened(began, 2 * enough / rate_rps, failures=enough)
        opened = protocol.opened_since(self._exercise.look(), began)
        self._exercise.heal()
        self._exercise.fault_over()
        self._recorder.end()
        return opened

    def _clock_step(self) -> None:
        """Set the service's clock ahead, or back, while it is open and nothing else is wrong any more.

        The clock is right when it opens, and its dependency well when it tries: so it never remembers a time
        that is in the future once the clock is right again, and nothing stays broken.
        """
        assert self._clock
        for sign in CLOCK_STEPS:
            self._recorder.begin("clock-step")
            opened = self._exercise.open()
            self._recorder.end()
            open_s = protocol.open_time_s(self._exercise.look())
            by_s = sign * (CLOCK_WAITS * open_s + CLOCK_MORE_S)
            if opened:
                self._recorder.begin("clock-step", clock_s=by_s)
                clocks.step(
                    by_s=by_s,
                    command=self._clock.command,
                    reading=self._clock.reading,
                    url=self._clock.url,
                    max_duration_s=2 * open_s + 30.0,
                )
                self._exercise.wait(lambda seen, _: protocol.is_closed(seen), 2 * open_s)
                self._exercise.heal()
                self._recorder.end()
            self._exercise.wait(lambda seen, _: protocol.is_closed(seen), self._pace.recover_limit_s(open_s))

    def _pause(self) -> None:
        """No calls for a while; if it closes, whether that was the pause or mere time."""
        stuck_since = self._recorder.faults[-1].ended if self._recorder.faults else time.monotonic()
        for pause_s in PAUSES_S:
            stuck_s = time.monotonic() - stuck_since
            if self._closes_after(pause_s):
                if self._exercise.open():  # again, and for less time in all than it was stuck before
                    time.sleep(min(pause_s, max(0.0, stuck_s - 2 * pause_s)))
                    self._closes_after(pause_s)
                return

    def _closes_after(self, pause_s: float) -> bool:
        commands.change(self._folder, rate_rps=0)
        self._recorder.begin("pause", rate_rps=0.0)
        time.sleep(pause_s)
        self._recorder.end()
        commands.change(self._folder)
        return self._exercise.wait(lambda seen, _: protocol.is_closed(seen), self._pace.settle_s)


def _enough_at_low_rate(view: View) -> int:
    """How many failures would open it at any rate: twice what it took so far, and not just a few."""
    view, taken = view.plain, [0]
    for _, _, step in view.steps_of(State.CLOSED, State.OPEN):
        fault = view.fault_at(step.before)
        if fault is not None:
            done = view.failed_done
            taken.append(int(((done >= fault.began) & (done <= step.before)).sum()))
    return max(20, 2 * max(taken))
