"""Simulated services whose truth is known, drawn at random, and how right the inference is about each."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agent.breakers.machines.kinds import Kind, Machine
from agent.breakers.machines.recognition import recognise
from agent.breakers.simulation.simulate import Design, Truth, World, simulate
from agent.breakers.streams import FaultWindow
from agent.breakers.view import View, view

if TYPE_CHECKING:
    from collections.abc import Sequence

TOLERANCE_S = 0.015
BASELINE_S = 8.0
TRIPS = ("consecutive", "count", "time", "slow")
HALF_OPENS = ("reject", "queue", "admit", "share")
OTHERS = (
    "none",
    "slow-call",
    "replicas",
    "gradual",
    "throttle",
    "ejection",
    "sliding",
    "bulkhead",
    "rate-limiter",
)
ODDITIES = ("", "", "", "late results count", "checks close it", "jittered", "growing")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A design in a world, and what the machine has to be called."""

    kind: Kind
    design: Design
    world: World
    oddity: str = ""

    @property
    def calls_an_open_time(self) -> float:
        """The rate times the open time."""
        return self.world.rate_rps * self.design.open_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What the inference made of a scenario."""

    scenario: Scenario
    machine: Machine
    expected: tuple[str, ...]
    found: tuple[str, ...]
    transitions: int
    misplaced: tuple[tuple[str, float, float], ...] = field(default=())

    @property
    def sequence_right(self) -> bool:
        """Whether every state is right."""
        return self.expected == self.found

    @property
    def kind_right(self) -> bool:
        """Whether the machine has its right name."""
        return self.machine.kind is self.scenario.kind


def breaker(
    seed: int, *, per_open: float | None = None, aside: Sequence[float] = (0.0, 0.1, 0.3)
) -> Scenario:
    """Draw a breaker with three states."""
    dice = random.Random(f"breaker {seed}")
    trip, oddity = dice.choice(TRIPS), dice.choice(ODDITIES)
    if trip == "slow" and oddity not in ("jittered", "growing"):
        oddity = ""  # what closes it while calls are slow leaves it closed for a few calls only
    open_s = dice.uniform(1.0, 4.0)
    per_open = per_open or 10 ** dice.uniform(1.0, 2.3)
    half_open = dice.choice(HALF_OPENS)
    design = Design(
        trip=trip,
        threshold=dice.randint(2, 10),
        ratio=dice.choice([0.3, 0.5, 0.8]),
        window={"count": 20.0, "slow": 20.0}.get(trip, dice.choice([2.0, 5.0])),
        open_s=open_s,
        half_open=half_open,
        budget=dice.choice([1, 1, 2, 3, 5, 10]),
        share=dice.choice([0.1, 0.3, 0.5]),
        successes=1 if half_open == "admit" else dice.choice([1, 1, 2, 3, 5]),
        late="counted" if oddity.startswith("late") else "ignored",
        closes_by_check=0.4 * open_s if oddity.startswith("checks") else 0.0,
        opens=oddity if oddity in ("jittered", "growing") else "constant",
    )
    rate = per_open / open_s
    latency = dice.choice([0.001, 0.01, 0.05, *(() if trip == "slow" else (0.3,))])
    world = world_of(dice, rate, open_s, latency, aside, slow=trip == "slow")
    only_slow = trip == "slow" and all(each.kind == "slow" for each in world.faults)
    return Scenario(
        kind=Kind.SLOW_CALL if only_slow else Kind.BREAKER, design=design, world=world, oddity=oddity
    )


def world_of(
    dice: random.Random,
    rate: float,
    open_s: float,
    latency: float,
    aside: Sequence[float],
    *,
    slow: bool,
    kinds: Sequence[str] = ("error", "hang"),
) -> World:
    """Draw a world whose faults last as the protocol lets them: two trials and a bit, then a recovery."""
    timeout = max(1.0 if slow else dice.choice([0.3, 1.0]), 4 * latency)
    played = ("slow", *kinds) if slow else tuple(kinds)
    warm_s = timeout + 60 / rate
    windows, now = [], max(BASELINE_S, 100 / rate)
    for kind in played:
        lasts = warm_s + open_s * dice.uniform(3.0, 4.5)
        windows.append(FaultWindow(kind=kind, began=now, ended=now + lasts))
        now += lasts + warm_s + open_s * 2.5 + 2.0
    return World(
        rate_rps=rate,
        duration_s=now,
        latency_s=latency,
        timeout_s=timeout,
        aside_share=dice.choice(list(aside)),
        fault=windows[0].kind,
        fault_began=windows[0].began,
        fault_ended=windows[0].ended,
        later=tuple(windows[1:]),
        slow_s=min(0.5 * timeout, 0.25 + latency),
        passes_ids_on=dice.random() < 0.7,
        seed=dice.randrange(10**9),
    )


def other(kind: str, seed: int, *, per_open: float | None = None) -> Scenario:
    """Draw a machine of *kind* that is no breaker, or one with slow calls only."""
    dice = random.Random(f"{kind} {seed}")
    open_s = dice.uniform(1.0, 4.0)
    per_open = per_open or 10 ** dice.uniform(1.7, 2.3)
    rate = per_open / open_s
    latency = dice.choice([0.001, 0.01, 0.05])
    made = {
        "none": {},
        "replicas": {"replicas": dice.randint(2, 4), "budget": dice.choice([1, 1, 3])},
        "gradual": {"window": dice.uniform(0.6, 2.0) * open_s},
        "throttle": {"window": dice.uniform(0.5, 3.0), "ratio": dice.choice([0.8, 0.9, 0.95])},
        "sliding": {"window": open_s},
        "bulkhead": {"threshold": dice.randint(3, 8)},
        "rate-limiter": {
            "threshold": dice.randint(3, 12),
            "ratio": dice.choice([0.7, 0.9, 1.1]),
            "trip": dice.choice(["bucket", "window"]),
            "window": dice.choice([0.5, 1.0]),
        },
        "ejection": {"hosts": dice.randint(2, 4)},
        "slow-call": {"trip": "slow", "threshold": 10},
    }[kind]
    name = {"replicas": "breaker", "slow-call": "breaker"}.get(kind, kind)
    design = Design(**{"kind": name, "threshold": dice.randint(3, 8), "open_s": open_s} | made)  # type: ignore[arg-type]
    kinds = ("error", "hang") if kind != "slow-call" else ()
    world = world_of(dice, rate, open_s, latency, (0.0,), slow=kind == "slow-call", kinds=kinds)
    return Scenario(kind=Kind(kind), design=design, world=world)


def judge(scenario: Scenario) -> Judged:
    """Play *scenario*, infer, and compare."""
    truth = simulate(scenario.design, scenario.world)
    seen = view(truth.calls, truth.arrivals, truth.faults)
    real = observable(truth, seen)
    found = seen.course.transitions
    expected = ("closed", *(to for _, _, to in real))
    misplaced = ()
    if expected == seen.course.sequence:
        misplaced = tuple(
            (f"{step.was}>{step.to}", at - step.after, step.before - at)
            for step, (at, _, _) in zip(found, real, strict=True)
            if not step.after - TOLERANCE_S <= at <= step.before + TOLERANCE_S
        )
    return Judged(
        scenario=scenario,
        machine=recognise(seen),
        expected=expected,
        found=tuple(map(str, seen.course.sequence)),
        transitions=len(real),
        misplaced=misplaced,
    )


def met_by_calls(truth: Truth, replica: int = 0) -> list[tuple[float, str, str]]:
    """Return the transitions of one *replica* without those to a state, and back, that no call came to meet.

    A late result may open or close it for a few milliseconds: what nobody met left no trace.
    """
    found: list[tuple[float, str, str]] = []
    moves, met = truth.transitions[replica], truth.met[replica]
    for place, (at, was, to) in enumerate(moves):
        if found and not met[place] and found[-1][1] == to:
            found.pop()
        else:
            found.append((at, was, to))
    return found if not found or met[-1] else found[:-1]


def observable(truth: Truth, seen: View) -> list[tuple[float, str, str]]:
    """Return the transitions as they can be seen: closed only once a call has come out well.

    A machine that goes from open to closed by itself (an active check, a late success) lets calls through;
    from outside it tries, until the first of them has succeeded.
    """
    asked = seen.asked
    good = asked.forwarded & asked.good
    found: list[tuple[float, str, str]] = []
    steps = met_by_calls(truth)
    for place, (at, was, to) in enumerate(steps):
        if (was, to) != ("open", "closed"):
            found.append((at, was, to))
            continue
        until = steps[place + 1][0] if place + 1 < len(steps) else float("inf")
        later = asked.done[good & (asked.at > at) & (asked.done < until)]
        found.append((at, "open", "half_open"))
        if len(later):
            found.append((float(later.min()), "half_open", "closed"))
        elif place + 1 < len(steps):
            steps[place + 1] = (until, "half_open", "open")
    return found


def truth_of(scenario: Scenario) -> Truth:
    """Play *scenario*."""
    return simulate(scenario.design, scenario.world)
