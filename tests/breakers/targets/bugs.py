"""The catalogue of bugs: each is a breaker with one method that is wrong, or layers in the wrong order.

The numbers count a catalogue of 28 bugs that were reported against real breakers.  Left out are 14 (shared
state that one bad node poisons: it needs a dependency with several addresses), and 21 and 23, which are
settings of the envoy and nginx targets.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, override

from breaker import Breaker, Permit, Verdict
from child import State
from layers import Ask, Guard, Layers, Rejected, Reply, Work

PAUSE_S = 0.15
SETTLED_LATE_S = 0.5
WINDOW_S = 1.0
WINDOW_CALLS = 25
RAMP_S = 3.0
RAMP_FROM = 0.1
THROTTLE_WINDOW_S = 1.0
THROTTLE_RATIO = 2.0
THROTTLE_MAX = 0.9


class LockHeld(Breaker):
    """Holds one lock for the whole call, so that callers wait for one another."""

    _lock: asyncio.Lock | None = None

    @override
    async def call(self, work: Work) -> Reply:
        self._lock = self._lock or asyncio.Lock()
        async with self._lock:
            return await super().call(work)


class StuckTrial(Breaker):
    """A failed trial is not reported, and its permit never comes back."""

    @override
    def failed(self, permit: Permit) -> None:
        if self.state is State.HALF_OPEN:
            self.trials += 1
        else:
            super().failed(permit)


class RestsOnlyInQuiet(Breaker):
    """Every call that is turned away begins the open time anew."""

    @override
    async def turn_away(self) -> None:
        if self.state is State.OPEN:
            self.opened_at = self.clock()
        await super().turn_away()


class NotSetBack(Breaker):
    """So many failures within a window open it, whatever succeeds in between."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._times: deque[float] = deque()

    @override
    def failed(self, permit: Permit) -> None:
        self._times.append(self.clock())
        while self.clock() - self._times[0] > WINDOW_S:
            self._times.popleft()
        self.failures = len(self._times) - 1
        super().failed(permit)


class LateSuccessCloses(NotSetBack):
    """A success closes it, whenever its call was let through.

    Successes do not set the count back, or the late ones would keep it from opening in the first place.
    """

    @override
    def late(self, permit: Permit, verdict: Verdict) -> None:
        if verdict is Verdict.SUCCESS and self.state is not State.CLOSED:
            self.move(State.CLOSED)


class LateFailureRearms(Breaker):
    """A failure begins the open time anew, whenever its call was let through."""

    @override
    def late(self, permit: Permit, verdict: Verdict) -> None:
        if verdict is Verdict.FAILURE and self.state is State.OPEN:
            self.opened_at = self.clock()


class LateTrialReopens(Breaker):
    """A trial that fails after another one has closed it opens it again."""

    @override
    def late(self, permit: Permit, verdict: Verdict) -> None:
        was_trial = permit.generation == self.generation - 1
        if verdict is Verdict.FAILURE and self.state is State.CLOSED and was_trial:
            self.open(permit)


class OpenFromCallStart(Breaker):
    """The open time is counted from the start of the call that opened it."""

    @override
    def open(self, permit: Permit) -> None:
        super().open(permit)
        self.opened_at = permit.began


class CountsCallerErrors(Breaker):
    """An answer 4xx is a failure."""

    @override
    def judge_reply(self, reply: Reply) -> Verdict:
        return Verdict.FAILURE if reply.status >= 400 else Verdict.SUCCESS


class CallerErrorsAreFine(Breaker):
    """An answer 4xx is a success."""

    @override
    def judge_reply(self, reply: Reply) -> Verdict:
        return Verdict.SUCCESS


class CountsCancelled(Breaker):
    """A call whose caller went away is a failure."""

    @override
    def judge_error(self, error: BaseException) -> Verdict:
        return Verdict.FAILURE if isinstance(error, asyncio.CancelledError) else super().judge_error(error)


class BelievesChecks(Breaker):
    """An active check that is well closes it, whatever the calls say."""

    @override
    def mark_up(self) -> None:
        if self.state is State.OPEN:
            self.move(State.CLOSED)


class SettlesLate(Breaker):
    """Results are counted half a second after the fact; until then every call is let through."""

    @override
    def settle(self, permit: Permit, verdict: Verdict) -> None:
        asyncio.get_running_loop().call_later(SETTLED_LATE_S, super().settle, permit, verdict)


class TumblingWindow(Breaker):
    """Counts in windows that begin anew each second, and a window with few calls never opens it."""

    _began, _good, _bad = 0.0, 0, 0

    @override
    def succeeded(self) -> None:
        self._count(bad=False)
        super().succeeded()

    @override
    def failed(self, permit: Permit) -> None:
        self._count(bad=True)
        calls = self._good + self._bad
        enough = calls >= WINDOW_CALLS and self._bad >= calls / 2
        if self.state is State.HALF_OPEN or enough:
            self._good = self._bad = 0
            self.open(permit)

    def _count(self, *, bad: bool) -> None:
        if self.clock() - self._began >= WINDOW_S:
            self._began, self._good, self._bad = self.clock(), 0, 0
        self._bad, self._good = self._bad + bad, self._good + (not bad)


class Ramp(Breaker):
    """After the open time a growing share of the calls is let through, until all are."""

    @override
    async def admit(self) -> Permit:
        if self.state is State.OPEN and self.is_rested():
            self.move(State.HALF_OPEN)
            self._ramp_began = self.clock()
        if self.state is State.HALF_OPEN:
            share = RAMP_FROM + (1 - RAMP_FROM) * (self.clock() - self._ramp_began) / RAMP_S
            if share >= 1:
                self.move(State.CLOSED)
            elif random.random() >= share:
                raise Rejected
        if self.state is State.OPEN:
            raise Rejected
        return self.permit()

    @override
    def succeeded(self) -> None:
        self.failures = 0


class Throttle(Breaker):
    """Turns calls away with a probability that follows the failures, and never all of them; has no states.

    Source: Site Reliability Engineering, ch. 21, "Client-Side Throttling"; the cap is ours.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._calls: deque[float] = deque()
        self._good: deque[float] = deque()

    @override
    async def admit(self) -> Permit:
        self._calls.append(self.clock())
        self._forget()
        excess = len(self._calls) - THROTTLE_RATIO * len(self._good)
        if random.random() < min(THROTTLE_MAX, excess / (len(self._calls) + 1)):
            raise Rejected
        return self.permit()

    @override
    def settle(self, permit: Permit, verdict: Verdict) -> None:
        if verdict is not Verdict.FAILURE:
            self._good.append(self.clock())

    def _forget(self) -> None:
        for times in (self._calls, self._good):
            while times and self.clock() - times[0] > THROTTLE_WINDOW_S:
                times.popleft()


type Make = Callable[[str], Guard]
type Choose = Callable[[str], Guard]


def one(make: Make) -> Choose:
    """One breaker for all keys."""
    breaker = make("dependency")
    return lambda _: breaker


def per_key(make: Make) -> Choose:
    """A breaker for each key."""
    known: dict[str, Guard] = {}
    return lambda key: known[key] if key in known else known.setdefault(key, make(f"dependency/{key}"))


def replicas(count: int) -> Callable[[Make], Choose]:
    """So many breakers that know nothing of one another; each call meets one at random."""

    def choosing(make: Make) -> Choose:
        breakers = [make(f"replica-{n}") for n in range(count)]
        return lambda _: random.choice(breakers)

    return choosing


def one_each(make: Make) -> Choose:
    """A new breaker for each call."""
    return lambda _: make("of one call")


def in_order(on: Layers) -> Ask:
    """The right order: the breaker sees timeouts and answers that say error."""
    return on.guarded(on.timely(on.checked(on.ask)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Bug:
    """What differs from the right service.  ``choose`` None means as the command line says."""

    says: str
    breaker: type[Breaker] = Breaker
    clock: Callable[[], float] = time.monotonic
    choose: Callable[[Make], Choose] | None = None
    layers: Callable[[Layers], Ask] = in_order
    rules: Mapping[str, Any] = field(default_factory=dict)
    timeout_factor: float = 1.0
    cancels_with_caller: bool = False


NO_BUG = Bug(says="No bug.")

CATALOGUE: dict[str, Bug] = {
    "outer-timeout-not-counted": Bug(  # 1
        says="The timeout lies outside the breaker, which sees a cancelled call and does not count it.",
        layers=lambda on: on.timely(on.guarded(on.checked(on.ask))),
    ),
    "500-returned-is-success": Bug(  # 2
        says="An answer 5xx is returned, not raised, inside the breaker, which takes it for a success.",
        layers=lambda on: on.checked(on.guarded(on.timely(on.ask))),
    ),
    "slow-never-counted": Bug(  # 3
        says="The timeout is 50 times as long, so that a hanging call fails long after it matters.",
        timeout_factor=50.0,
    ),
    "lock-serialises": Bug(  # 4
        says="The guarded call runs under a lock: one at a time, and the others wait.", breaker=LockHeld
    ),
    "half-open-stampede": Bug(  # 5
        says="Half-open lets every call through until the first one ends.", rules={"half_open": "admit"}
    ),
    "half-open-waiters": Bug(  # 6
        says="Half-open makes the others wait for the trial's end.", rules={"half_open": "queue"}
    ),
    "stuck-half-open": Bug(  # 7
        says="A failed trial is lost with its permit, and it stays half-open for ever.", breaker=StuckTrial
    ),
    "never-closes-under-traffic": Bug(  # 8
        says="Each rejected call begins the open time anew: it closes only after a pause in the traffic.",
        breaker=RestsOnlyInQuiet,
    ),
    "late-success-closes": Bug(  # 9
        says="A success of a call that began before it opened closes it; opens on failures within 1 s.",
        breaker=LateSuccessCloses,
    ),
    "late-failure-rearms": Bug(  # 10
        says="Failures of calls that began before it opened begin the open time anew.",
        breaker=LateFailureRearms,
    ),
    "late-trial-reopens": Bug(  # 10, after the recovery
        says="Half-open admits all, and a trial that fails after another one closed it opens it again.",
        breaker=LateTrialReopens,
        rules={"half_open": "admit"},
    ),
    "open-time-from-call-start": Bug(  # 11
        says="The open time is counted from the start of the call that opened it.", breaker=OpenFromCallStart
    ),
    "shared-over-keys": Bug(  # 12
        says="One breaker for all keys, although they fail independently; opens on failures within 1 s.",
        choose=one,
        breaker=NotSetBack,
    ),
    "per-replica": Bug(  # 13
        says="Several breakers that share nothing (--replicas), each of which has to find out for itself.",
        choose=replicas(3),
    ),
    "retries-inside": Bug(  # 15
        says="Two retries inside the breaker: it counts a failure for every three calls of the dependency.",
        layers=lambda on: on.guarded(on.retried(on.timely(on.checked(on.ask)))),
    ),
    "retries-outside-open-error": Bug(  # 16
        says="Retries with pauses outside the breaker repeat its rejections too, so that callers wait.",
        layers=lambda on: on.retried(in_order(on), also=(Rejected,), pause_s=PAUSE_S),
    ),
    "fallback-swallows": Bug(  # 17
        says="The fallback lies inside the breaker, which never learns of a failure.",
        layers=lambda on: on.guarded(on.swallowed(on.timely(on.checked(on.ask)))),
    ),
    "new-breaker-per-request": Bug(says="Each call gets a breaker of its own.", choose=one_each),  # 18
    "4xx-counted": Bug(says="An answer 4xx is counted as a failure.", breaker=CountsCallerErrors),  # 19
    "4xx-resets": Bug(  # 19 b
        says="An answer 4xx sets the count back and closes it when half-open.", breaker=CallerErrorsAreFine
    ),
    "caller-cancel-counted": Bug(  # 20
        says="A caller that goes away cancels the call, which is counted as a failure.",
        breaker=CountsCancelled,
        cancels_with_caller=True,
    ),
    "active-check-overrides": Bug(  # 22
        says="An active check of /health closes it although the calls themselves fail.",
        breaker=BelievesChecks,
        layers=lambda on: on.actively_checked(in_order(on)),
        rules={"open_s": 3.0},  # or it closes by itself first
    ),
    "active-check-watched": Bug(
        says="No bug: /health is checked, and nothing comes of it.",
        layers=lambda on: on.actively_checked(in_order(on)),
    ),
    "overhang": Bug(  # 24
        says="Results are counted half a second late; meanwhile every call is let through.",
        breaker=SettlesLate,
    ),
    "bulkhead-counted": Bug(  # 25
        says="A bulkhead of 10 calls lies inside the breaker, which counts the ones it turns away.",
        layers=lambda on: on.guarded(on.bulkheaded(on.timely(on.checked(on.ask)))),
    ),
    "bulkhead-outside": Bug(
        says="No bug: the bulkhead of 10 calls lies around the breaker, which learns nothing of it.",
        layers=lambda on: on.bulkheaded(in_order(on)),
    ),
    "tumbling-window-min-volume": Bug(  # 26
        says="Counts in windows of 1 s and ignores those with fewer than 25 calls: never opens when quiet.",
        breaker=TumblingWindow,
    ),
    "wall-clock": Bug(  # 27
        says="The open time is measured with a clock that can be set; no difference until it is.",
        clock=time.time,
    ),
    "wrong-layer": Bug(  # 28
        says="The breaker guards something that is not on the path.",
        layers=lambda on: on.timely(on.checked(on.ask)),
    ),
    "gradual-recovery": Bug(
        says="No bug: after the open time a share that grows from 10 % over 3 s is let through.", breaker=Ramp
    ),
    "adaptive-throttle": Bug(
        says="No bug: calls are turned away by chance, at most nine of ten; there are no states.",
        breaker=Throttle,
    ),
}

BUGS: dict[str, str] = {name: bug.says for name, bug in CATALOGUE.items()}
"""Name -> what it does, in a sentence."""
