"""Recordings in which the rate is raised in the middle, against their truth; and how far it is raised."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.breakers.analysis import analyse, to_json
from agent.breakers.exercise import raising
from agent.breakers.exercise.protocol import Pace
from agent.breakers.findings import find
from agent.breakers.machines.kinds import Kind
from agent.breakers.measures.estimate import Status
from agent.breakers.measures.properties import measure
from agent.breakers.reading import rates
from agent.breakers.reading.recording import HEADER, RECORD
from agent.breakers.simulation.simulate import Design, Truth, World, simulate
from agent.breakers.streams import FaultWindow, Outcome, Phase
from agent.breakers.view import View, view

TOLERANCE_S = 0.015
TOO_MUCH = "8 of 33 calls did not come out well, and 0 of 197 before"


@dataclass(frozen=True, slots=True)
class Raised:
    """A recording in which the rate was raised after the first fault, and what is seen of it."""

    truth: Truth
    seen: View
    phases: tuple[Phase, ...]

    @property
    def misplaced(self) -> list[tuple[float, float, float]]:
        """The transitions outside of their brackets; all of them must have been seen."""
        return [
            (step.after, at, step.before)
            for step, (at, _, _) in zip(self.seen.course.transitions, self.truth.transitions[0], strict=True)
            if not step.after - TOLERANCE_S <= at <= step.before + TOLERANCE_S
        ]

    @property
    def complaints(self) -> set[str]:
        """The findings, and the properties that fail."""
        properties = measure(self.seen.plain)
        failed = {name for name, each in properties.items() if each.status is Status.FAIL}
        return failed | {each.bug for each in find(self.seen, properties)}


def raised(design: Design, world: World, *, factor: float = 1.0, attempt: float = 0.0) -> Raised:
    """Play an error, raise the rate *factor* times, and play an error and a hang once more.

    With *attempt* the rate is first raised so many times for four seconds, and that is taken back.
    """

    def fault(kind: str, began: float) -> FaultWindow:
        return FaultWindow(kind=kind, began=began, ended=began + 3.3 * design.open_s + world.timeout_s + 1.0)

    recovery_s = 2.5 * design.open_s + world.timeout_s + 2.0
    first = fault("error", 10.0)
    now = first.ended + recovery_s
    phases = [Phase(kind=rates.BASELINE, began=0.0, ended=10.0, rate_rps=world.rate_rps)]
    steps = []
    if attempt:
        steps += [(now, attempt * world.rate_rps), (now + 4.0, world.rate_rps)]
        phases.append(
            Phase(
                kind=rates.RAISE,
                began=now,
                ended=now + 8.0,
                rate_rps=attempt * world.rate_rps,
                taken_back=TOO_MUCH,
            )
        )
        now += 8.0
    if factor > 1:
        steps.append((now, factor * world.rate_rps))
        phases.append(
            Phase(kind=rates.BASELINE, began=now, ended=now + 8.0, rate_rps=factor * world.rate_rps)
        )
        now += 8.0
    again = fault("error", now)
    hang = fault("hang", again.ended + recovery_s)
    played = replace(
        world,
        fault_began=first.began,
        fault_ended=first.ended,
        later=(again, hang),
        rates=tuple(steps),
        duration_s=hang.ended + recovery_s,
    )
    truth = simulate(design, played)
    return Raised(truth, view(truth.calls, truth.arrivals, truth.faults, phases), tuple(phases))


designs = st.builds(
    Design,
    trip=st.sampled_from(["consecutive", "count"]),
    threshold=st.integers(3, 8),
    window=st.just(10.0),
    open_s=st.floats(0.4, 2.5),
)
worlds = st.builds(
    World,
    latency_s=st.floats(0.002, 0.03),
    timeout_s=st.floats(0.2, 1.0),
    aside_share=st.sampled_from([0.0, 0.1, 0.3]),
    passes_ids_on=st.booleans(),
    seed=st.integers(0, 10_000),
)


@settings(deadline=None, max_examples=10)
@given(design=designs, world=worlds, per_open=st.floats(50, 80), factor=st.floats(1.5, 4.0))
def test_a_rate_that_is_raised_in_the_middle_makes_no_state_and_no_finding(
    design: Design, world: World, per_open: float, factor: float
) -> None:
    """Every state, before it was raised and after, and nothing to complain of in a breaker that is right."""
    seen = raised(design, replace(world, rate_rps=per_open / design.open_s), factor=factor)
    assert seen.seen.course.sequence == seen.truth.sequence()
    assert seen.misplaced == []
    assert seen.complaints == set()
    assert seen.seen.machine.kind is Kind.BREAKER


@settings(deadline=None, max_examples=10)
@given(design=designs, world=worlds, per_open=st.floats(50, 80), kept=st.sampled_from([1.0, 1.4]))
def test_what_a_limiter_did_at_a_rate_that_was_taken_back_is_no_state_of_the_breaker(
    design: Design, world: World, per_open: float, kept: float
) -> None:
    """It is told in the answer, and nothing else is made of it, whether a lower step was kept or not."""
    seen = limited(design, replace(world, rate_rps=per_open / design.open_s), kept)
    assert seen.seen.course.sequence == seen.truth.sequence()
    assert seen.complaints == set()
    assert seen.seen.machine.kind is Kind.BREAKER
    said = raising.said(seen.seen)
    assert TOO_MUCH in said[0]
    assert len(said) == (2 if kept > 1 else 1)


def limited(design: Design, world: World, kept: float = 1.0) -> Raised:
    """A limiter at three times the rate, which is first raised six times, and then by as much as is kept."""
    world = replace(world, limit_rps=3.0 * world.rate_rps, aside_share=0.0)
    return raised(design, world, factor=kept, attempt=6.0)


@pytest.mark.parametrize("seed", range(3))
def test_a_limiter_that_only_the_higher_rate_meets_is_named(seed: int) -> None:
    """It is told from a breaker that opens, though nobody was kept back at the rate before."""
    seen = limited(Design(open_s=1.0 + seed), World(rate_rps=60.0, timeout_s=0.5, seed=seed))
    (phase,) = (each for each in seen.phases if each.taken_back)
    assert raising.machine_at(seen.seen, phase).kind is Kind.RATE_LIMITER
    assert "a rate limiter" in raising.said(seen.seen)[0]


@pytest.mark.parametrize("seed", range(3))
def test_a_bulkhead_that_only_the_higher_rate_fills_is_no_opening(seed: int) -> None:
    """Under a hang more are under way than it has room for: it is told with how many it lets in."""
    world = World(rate_rps=30.0, timeout_s=0.8, room=30, seed=seed)
    seen = raised(Design(open_s=2.0, threshold=15), world, factor=3.0)
    assert seen.seen.course.sequence == seen.truth.sequence()
    assert seen.complaints == set()
    assert seen.seen.limit == 30
    assert seen.seen.machine.kind is Kind.BREAKER


def test_what_was_played_at_too_low_a_rate_is_not_judged() -> None:
    """Ten calls an open time, raised to sixty: times and counts are those of the latter."""
    design = Design(open_s=0.5)
    seen = raised(design, World(rate_rps=20.0, timeout_s=0.3, seed=3), factor=6.0)
    found = measure(seen.seen.plain)
    wait = found["time_to_half_open_s"]
    assert wait.low is not None
    assert wait.high is not None
    assert wait.low - 0.01 <= design.open_s <= wait.high + 0.01
    assert wait.high - wait.low < 0.06
    assert found["time_to_close_s"].n == 2
    assert {fault.began for fault in seen.seen.plain.faults} == {each.began for each in seen.truth.faults[1:]}
    assert len(seen.seen.faults) == 3


def test_the_answer_tells_both_rates_and_shows_all_calls() -> None:
    """In its sentence and as data; the raster has each call, at whichever rate, in its own lane."""
    seen = raised(
        Design(open_s=0.5), World(rate_rps=40.0, timeout_s=0.3, limit_rps=90.0), factor=2.0, attempt=4.0
    )
    truth = seen.truth
    told = to_json(
        analyse(truth.calls, {"a": truth.arrivals}, truth.faults, phases=seen.phases), wall_ahead_s=0.0
    )
    assert told["rate"]["first_rps"] == 40.0
    assert told["rate"]["kept_rps"] == 80.0
    assert "At 160 calls a second, with nothing wrong, 8 of 33" in told["answer"]
    assert "It was called 80 times a second instead of 40" in told["answer"]
    lanes = ("let_through_well", "let_through_failed", "kept_back", "aside")
    every = told["raster_every"]
    assert sum(len(told["raster"][lane]) * every.get(lane, 1) for lane in lanes) == pytest.approx(
        len(truth.calls), abs=2 * len(lanes)
    )
    assert [each["seen"] for each in told["phases"]] == [True, False, True]


def test_a_recording_at_one_rate_is_seen_as_ever() -> None:
    """Phases of one baseline cut nothing off."""
    truth = simulate(Design(), World())
    seen = view(
        truth.calls,
        truth.arrivals,
        truth.faults,
        [Phase(kind="baseline", began=0.0, ended=12.0, rate_rps=30.0)],
    )
    assert seen.settled is seen
    assert seen.plain is seen
    assert raising.said(seen) == ()


@given(rate=st.floats(1, 200), factor=st.floats(1.25, 40))
def test_a_rate_is_raised_by_no_more_than_twice_at_a_time(rate: float, factor: float) -> None:
    """And ends where it should."""
    steps = raising.steps(rate, rate * factor)
    assert steps[-1] == rate * factor
    assert all(two <= raising.STEP * one + 1 for one, two in pairwise((rate, *steps)))
    assert list(steps) == sorted(steps)


@pytest.mark.parametrize(
    ("open_s", "wanted"),
    [
        pytest.param(0.5, 101.0, id="fifty calls an open time"),
        pytest.param(0.2, 160.0, id="and no more than was allowed"),
        pytest.param(1.4, 40.0, id="for a little more it stays"),
        pytest.param(5.0, 40.0, id="and where the open time is long"),
    ],
)
def test_the_rate_follows_the_open_time(open_s: float, wanted: float) -> None:
    """As far as it is known from calls at forty a second."""
    truth = simulate(
        Design(open_s=open_s), World(rate_rps=40.0, timeout_s=0.3, fault_ended=13.0 + 3 * open_s, seed=5)
    )
    seen = view(truth.calls, truth.arrivals, truth.faults)
    found = raising.wanted_rps(seen, rate_rps=40.0, most_rps=160.0)
    assert found == pytest.approx(wanted, rel=0.15)


def test_where_it_never_opened_the_rate_stays() -> None:
    """Nothing says how far it would have to go."""
    truth = simulate(Design(kind="none"), World(rate_rps=40.0))
    seen = view(truth.calls, truth.arrivals, truth.faults)
    assert raising.wanted_rps(seen, rate_rps=40.0, most_rps=160.0) == 40.0


def samples(rate_rps: float, *, since: float = 0.0, until: float = 10.0, **fields: float) -> bytes:
    """Return a file of calls by the clock, all alike but for what *fields* say of every tenth."""
    at = np.arange(since, until, 1 / rate_rps)
    rows = np.zeros(len(at), RECORD)
    rows["intended_at"], rows["latency_s"], rows["status"] = at, 0.01, 200
    for name, value in fields.items():
        rows[name][::10] = value
    head = np.zeros(1, HEADER)
    head["size"] = RECORD.itemsize
    return bytes(head.tobytes() + rows.tobytes())


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        pytest.param({}, "", id="as before"),
        pytest.param({"outcome": Outcome.STATUS, "status": 429}, "did not come out well", id="kept back"),
        pytest.param({"degraded": 1}, "did not come out well", id="a fallback"),
        pytest.param({"latency_s": 0.2}, "up to 200 ms (p95)", id="slower"),
        pytest.param({"lateness_s": 0.05}, "this machine is too busy", id="late by itself"),
        pytest.param({"outcome": Outcome.SHED}, "could not even be sent", id="shed"),
    ],
)
def test_calls_that_come_out_worse_are_told_in_one_sentence(fields: dict[str, float], says: str) -> None:
    """Whatever became of every tenth call at forty a second; at twenty all was well."""
    before = raising.calm_of(samples(20.0), 0.0, 10.0)
    found = raising.worse(before, samples(40.0, **fields), rate_rps=40.0, since=0.0, now=10.0)
    assert (says in found) if says else found == ""


def test_answers_that_do_not_come_are_missed() -> None:
    """Calls under way are in no sample yet: whoever only looks at those would see nothing."""
    before = raising.calm_of(samples(20.0), 0.0, 10.0)
    found = raising.worse(before, samples(40.0, until=1.0), rate_rps=40.0, since=0.0, now=4.0)
    assert "have an answer where about" in found


def test_a_first_moment_at_a_higher_rate_says_nothing() -> None:
    """No call is due yet."""
    before = raising.calm_of(samples(20.0), 0.0, 10.0)
    assert raising.worse(before, samples(20.0), rate_rps=40.0, since=10.0, now=10.2) == ""


@given(st.floats(0.01, 100))
def test_a_breaker_that_stays_open_briefly_is_seen_to_try_more_often(open_s: float) -> None:
    """Never less than was asked for, and no longer for that than two seconds."""
    pace = Pace(trials=2)
    more = pace.trials_in(open_s) - pace.trials
    assert 0 <= more <= 3
    assert more == 0 or pace.trials_in(open_s) * open_s <= 2.0 + 1e-9
    assert pace.trials_in(None) == 2
