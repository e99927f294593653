"""Raises the rate of an exercise where a breaker stays open too briefly for the one that was planned."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from agent.breakers.exercise import protocol, raising
from agent.breakers.reading.rates import A_STEP, BASELINE, RAISE

if TYPE_CHECKING:
    from agent.breakers.exercise.raising import Calm
    from agent.faults.exercise.phases import Exercise

LOOK_S, LOOK_CALLS = 3.0, 60
"""So long, and for so many calls, each step but the last is watched."""


class Raise:
    """The one raise of an exercise, which is calm when it is tried."""

    def __init__(self, exercise: Exercise) -> None:
        self._exercise = exercise
        self._recorder, self._rate, self._pace = exercise.recorder, exercise.rate, exercise.pace
        self._tried = False

    def play(self) -> bool:
        """Raise the rate if that would make the states sharper, step by step; whether it is raised now."""
        plan = self._rate.plan_rps
        if self._tried or self._rate.most_rps <= plan:
            return False
        seen = self._exercise.look()
        wanted = raising.wanted_rps(seen, rate_rps=plan, most_rps=self._rate.most_rps)
        if wanted == plan:
            return False
        self._tried = True
        steps = raising.steps(plan, wanted)
        open_s = protocol.open_time_s(seen)
        takes_s = LOOK_S * len(steps) + self._pace.baseline_s + self._pace.kind_s(open_s)
        if not self._exercise.has_time(RAISE, takes_s):
            return False
        self._recorder.say(
            f"it stays open {open_s:.2f} s: the rate goes from {plan:g} to {wanted:g} calls a second, in "
            f"{len(steps)} steps, as long as calls come out as before"
        )
        self._climb(steps)
        return self._rate.rps > plan

    def _climb(self, steps: tuple[float, ...]) -> None:
        """Raise it step by step; at the last one that the service stands it is calm for a baseline."""
        first = self._recorder.phases[0]
        before = raising.calm_of(self._recorder.samples(), first.began, first.ended)
        good = self._rate.plan_rps
        for rate in steps[:-1]:
            if not self._stands(rate, before, RAISE, good):
                break
            good = rate
        else:
            if self._stands(steps[-1], before, BASELINE, good):
                return
        if good > self._rate.plan_rps and self._stands(good, before, BASELINE, self._rate.plan_rps):
            return
        self._recorder.take_back_steps(RAISE, A_STEP)

    def _stands(self, rate_rps: float, before: Calm, kind: str, good_rps: float) -> bool:
        """Call at that rate for a while; if calls come out worse than *before*, go back to *good_rps*."""
        asked = time.monotonic()
        failed = "" if rate_rps == self._rate.rps else self._rate.become(rate_rps)
        self._recorder.begin(kind, rate_rps=rate_rps)
        since = time.monotonic()
        why = [failed] if failed else []

        def enough(now: float) -> bool:
            if says := raising.worse(
                before, self._recorder.samples(), rate_rps=rate_rps, since=since, now=now
            ):
                why.append(says)
            lasted, calls = now - since, rate_rps * (now - since)
            if kind == BASELINE:
                return bool(why) or (lasted >= self._pace.baseline_s and calls >= self._pace.baseline_calls)
            return bool(why) or (lasted >= LOOK_S and calls >= LOOK_CALLS)

        if not why:
            self._exercise.wait(lambda _, now: enough(now), 3 * self._pace.baseline_s + LOOK_S)
        if why:
            self._recorder.say(f"{rate_rps:g} calls a second are taken back: {why[0]}")
            self._rate.become(good_rps)
            self._exercise.settle()
        self._recorder.end()
        if why:
            self._recorder.take_back(asked, why[0])
        return not why
