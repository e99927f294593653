"""Services whose truth is known: what the inference is measured on.

A discrete-event simulation of one service with one machine (or one a replica) before one dependency.
Nothing of the inference is used here.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from agent.breakers.simulation.machines import Breaker, Design, Ended, machine_of
from agent.breakers.streams import Arrivals, Calls, FaultWindow, Outcome, columns

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Design", "Truth", "World", "simulate"]

NETWORK_S = 0.0005
"""From the service to the dependency's link, one way."""
REJECT_S = 0.0005
"""What a rejection takes at least."""
TOKENS = 10.0
"""So many calls at once a rate limiter bears."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What is around the machine: load, latency, the service's patience, caching, and the faults.

    A fault is ``error`` (a 500 at once), ``hang`` or ``slow`` (a success after ``slow_s``).  ``later``
    are more of them after the first.  ``strangers_rps`` is another client of the dependency,
    ``checks_every_s`` how often its health is checked over the link (0: never), ``retries`` how often the
    service tries again, inside the machine, after a failure, each time with the chance ``retry_share``.
    ``routing`` is how calls come to replicas: ``random``, ``in turn``, ``by key`` (of ``keys``) or ``least
    busy``; ``one_peer`` is whether all replicas come from one address, and with ``peers`` one replica comes
    from several, now this one, now that one: they share its state.

    A rejection takes ``reject_s`` on the average (exponential, and at least half a millisecond), and
    ``degraded_share`` of them get an answer marked as degraded.  ``rates`` has the moments from which on it
    is called at another rate, in order, and those rates.  A rate limiter (``limit_rps``) and a bulkhead
    (``room`` for so many calls) may stand before the machine; 0 is none.
    """

    rate_rps: float = 30.0
    duration_s: float = 40.0
    latency_s: float = 0.02
    timeout_s: float = 1.0
    aside_share: float = 0.0
    aside_looks_rejected: bool = False
    fault: str = "error"
    fault_began: float = 12.0
    fault_ended: float = 24.0
    slow_s: float = 0.4
    later: tuple[FaultWindow, ...] = ()
    passes_ids_on: bool = True
    strangers_rps: float = 0.0
    checks_every_s: float = 0.0
    retries: int = 0
    retry_share: float = 1.0
    reject_s: float = 0.0
    degraded_share: float = 0.0
    routing: str = "random"
    one_peer: bool = False
    peers: int = 1
    keys: int = 1
    hedge_after_s: float = 0.0
    rates: tuple[tuple[float, float], ...] = ()
    limit_rps: float = 0.0
    room: int = 0
    coalesces: bool = False
    seed: int = 0

    @property
    def faults(self) -> tuple[FaultWindow, ...]:
        """All faults in order."""
        first = FaultWindow(kind=self.fault, began=self.fault_began, ended=self.fault_ended)
        return (first, *self.later)


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """The recording, and for each replica its real transitions as (when, from, to).

    ``met`` has for each replica how many calls it decided about in each of its states, the first included.
    """

    calls: Calls
    arrivals: Arrivals
    faults: tuple[FaultWindow, ...]
    transitions: tuple[tuple[tuple[float, str, str], ...], ...]
    met: tuple[tuple[int, ...], ...]

    @property
    def fault(self) -> FaultWindow:
        """The first fault."""
        return self.faults[0]

    def sequence(self, replica: int = 0) -> tuple[str, ...]:
        """The states that *replica* went through."""
        return ("closed", *(to for _, _, to in self.transitions[replica]))


def simulate(design: Design, world: World) -> Truth:
    """Play *world* against *design*."""
    return _Simulation(design, world).play()


@dataclass(slots=True)
class _Call:
    number: int
    begun: float
    replica: int
    attempts_left: int
    source: int
    generation: int = 0


class _Request(NamedTuple):
    at: float
    ended: float
    status: int
    good: bool


class _Simulation:
    def __init__(self, design: Design, world: World) -> None:
        self._world, self._design = world, design
        self._dice = random.Random(world.seed)
        self._machines = [
            machine_of(design.of_replica(replica), self._dice, world.rate_rps)
            for replica in range(design.replicas)
        ]
        self._busy = [0] * design.replicas
        self._keys: dict[int, int] = {}
        self._waiting: list[deque[_Call]] = [deque() for _ in range(design.replicas)]
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._order = itertools.count()
        self._tokens, self._filled_at = TOKENS, 0.0
        self._inside: set[int] = set()
        self._asking: dict[int, int] = {}
        self._joined: dict[int, list[tuple[int, float]]] = {}
        self._calls: dict[str, list[float]] = {
            name: [] for name in ("begun", "ended", "outcome", "status", "degraded", "key", "id")
        }
        self._arrivals: dict[str, list[float]] = {
            name: [] for name in ("at", "ended", "status", "source", "id")
        }

    def play(self) -> Truth:
        world = self._world
        for number, at in enumerate(self._moments(world.rate_rps, world.rates), 1):
            self._at(at, self._arrive(number))
        for at in self._moments(world.strangers_rps):
            self._note_arrival(99, 0, at, at + world.latency_s, 200)
        for period in {world.checks_every_s, self._design.closes_by_check} - {0.0}:
            for turn in range(int(world.duration_s / period)):
                self._at((turn + 0.37) * period, self._check)
        while self._events:
            at, _, happen = heapq.heappop(self._events)
            happen(at)
        calls, arrivals = columns(Calls, self._calls), columns(Arrivals, self._arrivals)
        assert isinstance(calls, Calls)
        assert isinstance(arrivals, Arrivals)
        logs = tuple(tuple(machine.log) for machine in self._machines)
        met = tuple(tuple(machine.met) for machine in self._machines)
        return Truth(calls=calls, arrivals=arrivals, faults=world.faults, transitions=logs, met=met)

    def _moments(self, rate_rps: float, rates: Sequence[tuple[float, float]] = ()) -> list[float]:
        """Draw Poisson arrivals; those due after a change of the rate are drawn anew from it on."""
        found: list[float] = []
        since = 0.0
        for until, following in (*rates, (self._world.duration_s, 0.0)):
            now = since
            while rate_rps and (now := now + self._dice.expovariate(rate_rps)) <= until:
                found.append(now)
            since, rate_rps = until, following
        return found

    def _at(self, when: float, happen: Callable[[float], None]) -> None:
        heapq.heappush(self._events, (when, next(self._order), happen))

    def _fault(self, now: float) -> str:
        return next((each.kind for each in self._world.faults if each.began <= now < each.ended), "")

    def _check(self, now: float) -> None:
        """Ask the dependency for its health over the link; checks that fail or time out are not well."""
        well = self._fault(now) not in ("error", "hang")
        self._note_arrival(0, 0, now, now + 0.001, 200 if well else 500)
        for machine in self._machines:
            if self._design.closes_by_check and isinstance(machine, Breaker):
                machine.checked(now + 0.0015, well=well)

    def _arrive(self, number: int) -> Callable[[float], None]:
        def arrive(now: float) -> None:
            if self._dice.random() < self._world.aside_share:
                looks = (Outcome.STATUS, 503) if self._world.aside_looks_rejected else (Outcome.OK, 200)
                self._answer(number, now, now + 0.001, *looks)
                return
            if self._is_turned_away(number, now):
                self._answer(number, now, now + REJECT_S, Outcome.STATUS, 429)
                return
            replica = self._replica_of(number)
            if self._world.coalesces and replica in self._asking:
                self._joined.setdefault(self._asking[replica], []).append((number, now))
                return
            self._asking[replica] = number
            source = self._dice.randrange(self._world.peers) if self._world.peers > 1 else replica
            self._decide(
                _Call(number, now, replica, self._world.retries, 0 if self._world.one_peer else source), now
            )

        return arrive

    def _is_turned_away(self, number: int, now: float) -> bool:
        """Whether what stands before the machine keeps a call back; a place is taken if not."""
        world = self._world
        self._tokens = min(TOKENS, self._tokens + (now - self._filled_at) * world.limit_rps)
        self._filled_at = now
        if (world.limit_rps and self._tokens < 1) or (world.room and len(self._inside) >= world.room):
            return True
        self._tokens -= 1
        self._inside.add(number)
        return False

    def _replica_of(self, number: int) -> int:
        """Return to which replica the balancer leads a call."""
        replicas, routing = self._design.replicas, self._world.routing
        if self._world.keys > 1:
            self._keys[number] = self._dice.randrange(self._world.keys)
        if routing == "in turn":
            return number % replicas
        if routing == "by key":
            return self._keys.get(number, 0) % replicas
        lot = self._dice.randrange(replicas)
        if routing == "least busy":
            return min(range(replicas), key=lambda each: (self._busy[each], (each - lot) % replicas))
        return lot

    def _decide(self, call: _Call, now: float) -> None:
        if self._design.kind == "ejection":
            self._balance(call, now)
            return
        machine = self._machines[call.replica]
        admitted = machine.admits(now)
        if admitted is None:
            self._waiting[call.replica].append(call)
        elif admitted:
            call.generation = machine.generation
            self._forward(call, now)
        else:
            self._reject(call, now)

    def _reject(self, call: _Call, now: float) -> None:
        took = REJECT_S + (self._dice.expovariate(1 / self._world.reject_s) if self._world.reject_s else 0.0)
        if self._world.degraded_share and self._dice.random() < self._world.degraded_share:
            self._answer(call.number, call.begun, now + took, Outcome.OK, 200, degraded=True)
        else:
            self._answer(call.number, call.begun, now + took, Outcome.STATUS, 503)

    def _balance(self, call: _Call, now: float) -> None:
        """Send a call to one of several hosts; only the first one is behind the link."""
        machine = self._machines[call.replica]
        wanted = self._dice.randrange(self._design.hosts) == 0
        if wanted and machine.admits(now):
            if isinstance(machine, Breaker) and machine.state == "half_open":
                machine.checked(now, well=True)
            call.generation = machine.generation
            self._forward(call, now)
        else:
            took = self._dice.expovariate(1 / self._world.latency_s)
            self._answer(call.number, call.begun, now + took, Outcome.OK, 200)

    def _forward(self, call: _Call, now: float) -> None:
        world, machine = self._world, self._machines[call.replica]
        arrived = now + NETWORK_S
        asked = [self._asked(arrived)]
        if world.hedge_after_s and asked[0].ended > arrived + world.hedge_after_s:
            asked.append(self._asked(arrived + world.hedge_after_s))
        self._busy[call.replica] += 1
        last = min((each.ended for each in asked if each.good), default=asked[-1].ended)
        good = any(each.good for each in asked)
        for each in asked:  # whoever is no longer waited for has its connection closed
            status = each.status if each.ended <= last else 0
            self._note_arrival(call.source, call.number, each.at, min(each.ended, last), status)

        def finish(at: float) -> None:
            self._busy[call.replica] -= 1
            again = call.attempts_left and self._dice.random() < world.retry_share
            if not good and again:
                call.attempts_left -= 1
                self._forward(call, at)
                return
            machine.ended(Ended(at=at, good=good, took_s=at - now, generation=call.generation))
            self._answer(call.number, call.begun, at, *((Outcome.OK, 200) if good else (Outcome.STATUS, 502)))
            waiting = self._waiting[call.replica]
            while waiting and not machine.keeps_waiting:
                self._decide(waiting.popleft(), at)

        self._at(last + NETWORK_S, finish)

    def _asked(self, arrived: float) -> _Request:
        """Draw what becomes of a request that arrives then."""
        world = self._world
        latency, status = self._dice.expovariate(1 / world.latency_s), 200
        fault = self._fault(arrived)
        if fault == "error":
            latency, status = 0.001, 500
        elif fault == "slow":
            latency += world.slow_s
        elif fault == "hang":
            latency = max(latency, world.timeout_s + 1.0)
        in_time = latency < world.timeout_s
        ended = arrived + min(latency, world.timeout_s)
        return _Request(arrived, ended, status if in_time else 0, in_time and status == 200)

    def _answer(
        self,
        number: int,
        begun: float,
        ended: float,
        outcome: Outcome,
        status: int,
        *,
        degraded: bool = False,
    ) -> None:
        self._inside.discard(number)
        row = {"begun": begun, "ended": ended, "outcome": outcome, "status": status, "degraded": degraded}
        for name, value in (row | {"key": self._keys.get(number, 0), "id": number}).items():
            self._calls[name].append(value)
        self._asking = {replica: asking for replica, asking in self._asking.items() if asking != number}
        for other, since in self._joined.pop(number, ()):
            self._answer(other, since, ended, outcome, status, degraded=degraded)

    def _note_arrival(self, source: int, number: int, at: float, ended: float, status: int) -> None:
        number = number if self._world.passes_ids_on else 0
        row = {"at": at, "ended": ended, "status": status, "source": source, "id": number}
        for name, value in row.items():
            self._arrivals[name].append(value)
