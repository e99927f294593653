"""Breakers of every kind whose truth is known: what the inference is measured on.

A discrete-event simulation of one service with one breaker (or one a replica) before one dependency.
Nothing of the inference is used here.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agent.breakers.streams import Arrivals, Calls, FaultWindow, Outcome, columns

if TYPE_CHECKING:
    from collections.abc import Callable

NETWORK_S = 0.0005
"""From the service to the dependency's link, one way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """How the simulated breaker is built.  Times are seconds.

    ``trip`` is ``consecutive`` (``threshold`` failures in a row), ``count`` (a share ``ratio`` of the last
    ``window`` calls, of at least ``threshold``) or ``time`` (the same over the last ``window`` seconds).
    ``half_open`` is what becomes of others while ``budget`` trials are in flight: ``reject``, ``queue`` or
    ``admit``; ``successes`` good trials close it.  ``late`` is what an outcome does that was admitted in
    an earlier state: ``ignored`` or ``counted``.
    """

    trip: str = "consecutive"
    threshold: int = 5
    ratio: float = 0.5
    window: float = 20.0
    open_s: float = 3.0
    half_open: str = "reject"
    budget: int = 1
    successes: int = 1
    late: str = "ignored"
    replicas: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What is around the breaker: load, latency, the service's patience, caching, and the fault."""

    rate_rps: float = 30.0
    duration_s: float = 40.0
    latency_s: float = 0.02
    timeout_s: float = 1.0
    aside_share: float = 0.0
    aside_looks_rejected: bool = False
    fault: str = "error"
    fault_began: float = 12.0
    fault_ended: float = 24.0
    passes_ids_on: bool = True
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """The recording, and for each replica its real transitions as (when, from, to)."""

    calls: Calls
    arrivals: Arrivals
    fault: FaultWindow
    transitions: tuple[tuple[tuple[float, str, str], ...], ...]

    def sequence(self, replica: int = 0) -> tuple[str, ...]:
        """The states that *replica* went through."""
        return ("closed", *(to for _, _, to in self.transitions[replica]))


def simulate(design: Design, world: World) -> Truth:
    """Play *world* against *design*."""
    return _Simulation(design, world).play()


@dataclass(slots=True)
class _Breaker:
    """A state machine that says True (go), False (rejected) or None (wait)."""

    design: Design
    state: str = "closed"
    failures: int = 0
    recent: deque[tuple[float, bool]] = field(default_factory=deque)
    opened_at: float = 0.0
    generation: int = 0
    in_trial: int = 0
    good_trials: int = 0
    log: list[tuple[float, str, str]] = field(default_factory=list)

    def admits(self, now: float) -> bool | None:
        if self.state == "open" and now - self.opened_at >= self.design.open_s:
            self._go("half_open", now)
        if self.state == "open":
            return False
        if self.state == "half_open":
            if self.design.half_open == "admit" or self.in_trial < self.design.budget:
                self.in_trial += 1
                return True
            return None if self.design.half_open == "queue" else False
        return True

    def finished(self, now: float, *, good: bool, generation: int) -> None:
        if generation != self.generation and self.design.late == "ignored":
            return
        if self.state == "half_open":
            self.in_trial = max(0, self.in_trial - 1)
            if not good:
                self._go("open", now)
            else:
                self.good_trials += 1
                if self.good_trials >= self.design.successes:
                    self._go("closed", now)
        elif self.state == "closed":
            self._count(now, good=good)
        elif good:
            self._go("closed", now)  # a late success: only where late outcomes are counted
        else:
            self.opened_at = now

    def _count(self, now: float, *, good: bool) -> None:
        if self.design.trip == "consecutive":
            self.failures = 0 if good else self.failures + 1
            if self.failures >= self.design.threshold:
                self._go("open", now)
            return
        self.recent.append((now, good))
        if self.design.trip == "count":
            while len(self.recent) > self.design.window:
                self.recent.popleft()
        else:
            while self.recent and self.recent[0][0] < now - self.design.window:
                self.recent.popleft()
        failed = sum(not each for _, each in self.recent)
        if len(self.recent) >= self.design.threshold and failed >= self.design.ratio * len(self.recent):
            self._go("open", now)

    def _go(self, to: str, now: float) -> None:
        self.log.append((now, self.state, to))
        self.state = to
        self.generation += 1
        self.failures = self.in_trial = self.good_trials = 0
        self.recent.clear()
        if to == "open":
            self.opened_at = now


class _Simulation:
    def __init__(self, design: Design, world: World) -> None:
        self._world = world
        self._dice = random.Random(world.seed)
        self._breakers = [_Breaker(design) for _ in range(design.replicas)]
        self._waiting: list[deque[tuple[int, float]]] = [deque() for _ in range(design.replicas)]
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._order = itertools.count()
        self._calls: dict[str, list[float]] = {
            name: [] for name in ("begun", "ended", "outcome", "status", "degraded", "key", "id")
        }
        self._arrivals: dict[str, list[float]] = {
            name: [] for name in ("at", "ended", "status", "source", "id")
        }

    def play(self) -> Truth:
        now, world = 0.0, self._world
        for number in itertools.count(1):
            now += self._dice.expovariate(world.rate_rps)
            if now > world.duration_s:
                break
            self._at(now, self._arrive(number))
        while self._events:
            at, _, happen = heapq.heappop(self._events)
            happen(at)
        calls, arrivals = columns(Calls, self._calls), columns(Arrivals, self._arrivals)
        assert isinstance(calls, Calls)
        assert isinstance(arrivals, Arrivals)
        return Truth(
            calls=calls,
            arrivals=arrivals,
            fault=FaultWindow(kind=world.fault, began=world.fault_began, ended=world.fault_ended),
            transitions=tuple(tuple(breaker.log) for breaker in self._breakers),
        )

    def _at(self, when: float, happen: Callable[[float], None]) -> None:
        heapq.heappush(self._events, (when, next(self._order), happen))

    def _arrive(self, number: int) -> Callable[[float], None]:
        def arrive(now: float) -> None:
            if self._dice.random() < self._world.aside_share:
                looks = (Outcome.STATUS, 503) if self._world.aside_looks_rejected else (Outcome.OK, 200)
                self._answer(number, now, now + 0.001, *looks)
                return
            self._decide(self._dice.randrange(len(self._breakers)), number, now, now)

        return arrive

    def _decide(self, replica: int, number: int, begun: float, now: float) -> None:
        breaker = self._breakers[replica]
        admitted = breaker.admits(now)
        if admitted is None:
            self._waiting[replica].append((number, begun))
        elif admitted:
            self._forward(replica, number, begun, now)
        else:
            self._answer(number, begun, now + 0.0005, Outcome.STATUS, 503)

    def _forward(self, replica: int, number: int, begun: float, now: float) -> None:
        world, breaker = self._world, self._breakers[replica]
        generation = breaker.generation
        arrived = now + NETWORK_S
        broken = world.fault_began <= arrived < world.fault_ended
        latency = self._dice.expovariate(1 / world.latency_s)
        status = 200
        if broken and world.fault == "error":
            latency, status = 0.001, 500
        elif broken and world.fault == "hang":
            latency = max(latency, world.fault_ended - arrived)
        took = min(latency, world.timeout_s)
        good = latency < world.timeout_s and status == 200
        done = arrived + took + NETWORK_S
        answered = status if latency < world.timeout_s else 0  # given up: the connection is closed
        self._note_arrival(replica, number, arrived, arrived + took, answered)

        def finish(at: float) -> None:
            breaker.finished(at, good=good, generation=generation)
            self._answer(number, begun, at, *((Outcome.OK, 200) if good else (Outcome.STATUS, 502)))
            while self._waiting[replica] and breaker.state != "half_open":
                waiting = self._waiting[replica].popleft()
                self._decide(replica, *waiting, at)

        self._at(done, finish)

    def _answer(self, number: int, begun: float, ended: float, outcome: Outcome, status: int) -> None:
        row = {"begun": begun, "ended": ended, "outcome": outcome, "status": status}
        for name, value in (row | {"degraded": 0, "key": 0, "id": number}).items():
            self._calls[name].append(value)

    def _note_arrival(self, replica: int, number: int, at: float, ended: float, status: int) -> None:
        number = number if self._world.passes_ids_on else 0
        row = {"at": at, "ended": ended, "status": status, "source": replica, "id": number}
        for name, value in row.items():
            self._arrivals[name].append(value)
