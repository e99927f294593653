"""Plays the kinds of fault that every breaker is put through, one after the other, each with its recovery."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from agent.breakers.courses.states import State
from agent.breakers.exercise import protocol
from agent.breakers.exercise.protocol import Step
from agent.breakers.reading.live import misled
from agent.breakers.streams import FaultWindow
from agent.faults import links
from agent.faults.exercise.raising import Raise
from agent.model import NoEvidence
from agent.safety.door import guard, heal_others
from agent.traffic.samples import why_missing

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Collection, Mapping, Sequence

    from agent.breakers.exercise.protocol import Pace
    from agent.breakers.view import View
    from agent.faults.exercise.rate import Rate
    from agent.faults.exercise.recording import Recorder

LOOK_EVERY_S = 0.25
SLOW_MAX_S = 2.0
SLOW_SHARE = 0.6
"""A slow answer takes this share of the service's patience, so that it is late and still a success."""


class Way(Protocol):
    """How a link is broken: from outside it, as a link of the fault proxy, or from inside pods."""

    def put(self, fault: str, *, link: str, max_duration_s: float, **fields: Any) -> None:
        """Put *fault*, named and described as in :mod:`agent.faults.links`, on *link*."""

    def heal(self, but: Collection[str] = ()) -> None:
        """Take out everything that was put in, here and elsewhere, and leave the injections *but* names."""


class ByProxy:
    """Links of the fault proxy at *proxy*, None for the one of this home."""

    def __init__(self, proxy: str | None) -> None:
        self._proxy = proxy

    def put(self, fault: str, *, link: str, max_duration_s: float, **fields: Any) -> None:
        """Put it on."""
        faults: Mapping[str, Callable[..., Any]] = {
            "fail_requests": links.fail_requests,
            "partition": links.partition,
            "delay": links.delay,
            "refuse": links.refuse,
            "reset": links.reset,
        }
        faults[fault](link=link, proxy=self._proxy, max_duration_s=max_duration_s, **fields)

    def heal(self, but: Collection[str] = ()) -> None:
        """Take out everything of this run, and leave the injections that *but* names."""
        heal_others(but)


class Exercise:
    """One exercise while it is played; also what its extra phases are played with."""

    def __init__(
        self,
        recorder: Recorder,
        pace: Pace,
        dice: random.Random,
        *,
        way: Way,
        rate: Rate,
        within_s: float,
    ) -> None:
        self.recorder, self.pace, self.dice, self.rate = recorder, pace, dice, rate
        self._way = way
        self._until = time.monotonic() + within_s
        self.slow_ms = 300.0
        self._step, self._state = Step(kind="", link=recorder.links[0]), State.CLOSED

    def play(self, kinds: Sequence[str]) -> None:
        """Play *kinds*, each with its recovery, up to one after which it does not close.

        Once it is known how long it stays open the rate is raised if that is short; then those that were
        played by then are played again, and what is told is what they showed at that rate.
        """
        guard(links.__name__)
        self._learn_the_calm()
        keys = self._keys_apart()
        left = list(protocol.steps(kinds, self.recorder.links, keys))
        raising = None if keys or len(self.recorder.links) > 1 else Raise(self)
        played: list[Step] = []
        while left:
            if not self._play(left):
                left = left[1:]
                continue
            if not self.recover():
                return  # a breaker that does not close has nothing more to show under traffic
            played.append(left.pop(0))
            if raising and raising.play():
                left, played, raising = [*played, *left], [], None

    def _learn_the_calm(self) -> None:
        began = time.monotonic()
        self.recorder.begin("baseline", rate_rps=self.rate.plan_rps or None)
        self.recorder.say(f"calm for {self.pace.baseline_s:.0f} s, to learn what the service does usually")
        self.wait(
            lambda seen, now: protocol.baseline_is_enough(seen, self.pace, now - began),
            3 * self.pace.baseline_s,
        )
        self.recorder.end()
        self._check_streams()

    def _play(self, left: Sequence[Step]) -> bool:
        """Play the first of the steps that are *left*, if there is time."""
        self._step = step = left[0]
        seen = self.look()
        if not self.has_time(step.kind, self.pace.kind_s(protocol.open_time_s(seen))):
            return False
        self.recorder.say(protocol.next_in_words(seen, self.pace, left))
        self.slow_ms = 1000 * min(SLOW_MAX_S, SLOW_SHARE * protocol.patience_of_service_s(seen))
        self.any_moment()
        self.recorder.begin(step.kind)
        self._fail(step.kind)
        self.recorder.end()
        if step.kind == "slow" and not self._opened_under("slow"):
            self.recorder.begin("hold")
            self._hold_a_trial()
            self.recorder.end()
        return True

    def has_time(self, kind: str, takes_s: float) -> bool:
        """Whether there is time for a phase that usually takes so long; if not, that is noted."""
        left_s = self._until - time.monotonic()
        if takes_s > left_s:
            self.recorder.skip(kind, f"it would take {takes_s:.0f} s, and {left_s:.0f} s are left")
        return takes_s <= left_s

    def any_moment(self) -> None:
        """Let a moment pass: the phase at which a fault begins must not be chosen."""
        time.sleep(self.dice.uniform(0, 0.5))

    def look(self) -> View:
        """Look at the breaker of the path that fails now."""
        return self.recorder.look(self._step.link, self._step.key)

    def _check_streams(self) -> None:
        self.look()
        calls, _ = self.recorder.calls()
        if len(calls) == 0:
            raise NoEvidence(f"there is no traffic: {why_missing(self.recorder.folder)}")
        arrivals = self.recorder.arrivals()
        if unused := [link for link, each in arrivals.items() if len(each) == 0]:
            names = " and ".join(repr(link) for link in unused)
            raise NoEvidence(
                f"{len(calls)} calls were made and not one request came over the link {names}: "
                "the service bypasses it (tell it to call the link's address; or what it calls from its pods "
                "is not what `towards` names), never asks the dependency, or speaks TLS or HTTP/2 to it, "
                "which a link carries unseen" + (", or no --key leads there" if len(arrivals) > 1 else "")
            )
        if wrong := misled(calls, arrivals, self.recorder.keys, self.recorder.told):
            raise NoEvidence(wrong)

    def _keys_apart(self) -> tuple[str, ...]:
        """Return the keys whose requests can be made to fail alone, where one link leads all of them."""
        keys = self.recorder.keys.values() if len(self.recorder.links) == 1 else ()
        return tuple(key for key in keys if self.recorder.path_of(key)) if len(keys) > 1 else ()

    def _fail(self, kind: str) -> None:
        """Keep one kind of fault in for as long as it teaches something."""
        began = self.inject(kind)
        self.fault(kind, began)
        longest = self.pace.fault_limit_s(protocol.open_time_s(self.look()))
        self.wait(lambda seen, now: protocol.fault_is_enough(seen, self.pace, began, now), longest)
        if self._opened_under(kind):
            # Ended at a random moment of the open time, or every recovery looks alike.
            time.sleep(self.dice.uniform(0, protocol.open_time_s(self.look())))
        self.heal()
        self.fault_over()

    def _hold_a_trial(self) -> None:
        """Open it, then make the trial slow but successful, and see what becomes of the others."""
        self.open()
        began = self.inject("slow")
        self.fault("hold", began)
        longest = 2 * protocol.open_time_s(self.look()) + self.pace.patience_s
        self.wait(lambda seen, _: protocol.is_closed(seen), longest)
        self.heal()
        self.fault_over()

    def open(self) -> bool:
        """Open it with errors and return whether it did; no fault is in then."""
        began = self.inject("error")
        self.fault("error", began)
        longest = protocol.patience_s(self.look(), self.pace)
        opened = self.wait(lambda seen, _: seen.course.sequence[-1] is State.OPEN, longest)
        self.heal()
        self.fault_over()
        return opened

    def recover(self) -> bool:
        """Wait until it has closed and stayed so; whether it did."""
        since = time.monotonic()
        self.recorder.say(f"{self._step.kind} is out: until it has closed and stayed so for a while")
        open_s = protocol.open_time_s(self.look())
        self.wait(
            lambda seen, now: protocol.recovery_is_enough(seen, self.pace, since, now),
            max(self.pace.recover_max_s, self.pace.recover_limit_s(open_s)),
        )
        return protocol.is_closed(self.look())

    def settle(self) -> None:
        """Wait until it is closed and has been left alone for a while."""
        since = time.monotonic()
        self.wait(
            lambda seen, now: protocol.is_closed(seen) and now - since >= self.pace.settle_s,
            self.pace.recover_max_s,
        )

    def _opened_under(self, kind: str) -> bool:
        seen = self.look()
        began = max(fault.began for fault in seen.faults if fault.kind == kind)
        return protocol.opened_since(seen, began)

    def inject(self, kind: str, **more: Any) -> float:
        """Put one fault into the link that fails now, with *more* to say of it than is usual.

        Returns:
            When it was not yet in, just before it was.
        """
        path = self.recorder.path_of(self._step.key) if self._step.key else self.recorder.path_of_calls()
        faults: Mapping[str, tuple[str, dict[str, Any]]] = {
            "error": ("fail_requests", {"status": 500, "path": path}),
            "not-found": ("fail_requests", {"status": 404}),
            "hang": ("partition", {}),
            "slow": ("delay", {"latency_ms": self.slow_ms}),
            "refuse": ("refuse", {}),
            "reset": ("reset", {"on": "request"}),  # with the connection none could be counted
        }
        stays_s = self.pace.fault_limit_s(protocol.known_open_s(self.look()))
        longest = stays_s + self.pace.patience_s + self.pace.recover_max_s
        fault, fields = faults[kind]
        began = time.monotonic()
        self._way.put(fault, link=self._step.link, max_duration_s=longest, **(fields | more))
        return began

    def heal(self) -> None:
        """Take out what is in, but not the link, nor a raised rate."""
        self._way.heal(but=self.rate.held)

    def fault(self, kind: str, began: float) -> None:
        """Note that a fault has been in since *began*."""
        link = self._step.link if len(self.recorder.links) > 1 else ""
        self.recorder.faults.append(
            FaultWindow(kind=kind, began=began, ended=float("inf"), link=link, key=self._step.key)
        )

    def fault_over(self) -> None:
        """Note that the last fault is out."""
        faults = self.recorder.faults
        faults[-1] = replace(faults[-1], ended=time.monotonic())

    def wait(self, enough: Callable[[View, float], bool], longest_s: float) -> bool:
        """Look again and again until it is *enough*, and return whether it was."""
        deadline = time.monotonic() + longest_s
        while time.monotonic() < deadline:
            seen = self.look()
            if len(seen.arrivals) and seen.course.sequence[-1] is not self._state:
                self._state = seen.course.sequence[-1]
                self.recorder.say(f"seen {self._state.replace('_', '-')}")
            if enough(seen, time.monotonic()):
                return True
            time.sleep(LOOK_EVERY_S)
        return False
