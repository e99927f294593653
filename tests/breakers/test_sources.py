"""Replicas behind one entry: the states of each, where its arrivals tell them from the others'."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.breakers.analysis import analyse, to_json
from agent.breakers.blur import blurred
from agent.breakers.courses.states import Course, State, Stretch, Transition
from agent.breakers.machines.kinds import Kind
from agent.breakers.replicas import routing
from agent.breakers.replicas.consensus import UNKNOWN, agreed
from agent.breakers.simulation.simulate import Design, World, simulate
from agent.breakers.streams import Calls, FaultWindow
from bench._replicas import drawn, judge

NAMES = ("10.0.0.1", "10.0.0.2", "10.0.0.3")
DESIGN = Design(threshold=5, open_s=1.5, replicas=3)
WORLD = World(rate_rps=60.0, duration_s=25.0, fault_began=8.0, fault_ended=14.0)


@pytest.mark.parametrize(("balancer", "count"), [("random", 2), ("random", 4), ("in turn", 3), ("by key", 3)])
def test_of_replicas_drawn_at_random_no_state_is_wrong(balancer: str, count: int) -> None:
    """Most sequences are whole and right; what cannot be told is left out, and brackets hold."""
    each = [
        judge(*drawn(seed, count=count, balancer=balancer, per_source=20.0, ids=seed > 1, step=step))
        for seed, step in ((1, 1.4), (2, 1.0))
    ]
    assert sum(one.wrong for one in each) == 0
    assert sum(one.misplaced for one in each) == 0
    assert sum(one.right for one in each) >= 0.7 * sum(one.right + one.partly for one in each) > 0


def test_each_source_has_its_states_its_openings_and_its_properties() -> None:
    """The threshold and the open time lie within what is told of each replica."""
    truth = simulate(DESIGN, WORLD)
    told = to_json(
        analyse(truth.calls, {"link": truth.arrivals}, truth.faults, peers=NAMES), wall_ahead_s=100.0
    )
    (stream,) = told["streams"]
    assert stream["machine"]["kind"] == "replicas"
    assert stream["sequence"] == []
    assert [each["source"] for each in stream["sources"]] == list(NAMES)
    for each in stream["sources"]:
        first, *later = each["openings"]
        assert first["failures"] == (5.0, 5.0)
        assert first["after_at"] == first["after"] + 100.0
        assert all(low <= 1.5 <= high for low, high in (one["open_s"] for one in (first, *later)))
        assert all(one["trials"] == 1 for one in later[:-1])
        open_s = each["properties"]["time_to_half_open_s"]
        assert open_s["low"] <= 1.5 <= open_s["high"]
        assert each["answer"].startswith("it opens after 5 failures within")
        assert each["source"] in told["answer"]


def test_each_has_an_open_time_of_its_own() -> None:
    """Of replicas that are set differently each one's time is told."""
    design = replace(DESIGN, open_step=1.7)
    truth = simulate(design, replace(WORLD, duration_s=40.0, fault_ended=24.0))
    (stream,) = analyse(truth.calls, {"link": truth.arrivals}, truth.faults, peers=NAMES).judged
    for number, each in enumerate(stream.sources):
        open_s = each.properties["time_to_half_open_s"]
        assert (open_s.low or 0.0) <= 1.5 * 1.7**number <= (open_s.high or 0.0)


def test_one_state_for_all_is_no_replicas() -> None:
    """A breaker whose state several peers share has the states that it has, and they none."""
    truth = simulate(replace(DESIGN, replicas=1), replace(WORLD, peers=3))
    (stream,) = analyse(truth.calls, {"link": truth.arrivals}, truth.faults).judged
    assert stream.view.machine.kind is Kind.BREAKER
    assert (stream.sources, stream.sources_why) == ((), "")
    assert stream.view.course.sequence == truth.sequence()


def test_replicas_whose_fault_was_short_are_told_by_their_peers() -> None:
    """Two trials of each are enough, where each has an address of its own."""
    kinds = []
    for seed in range(4):
        world = replace(WORLD, fault_ended=11.5, seed=seed)
        truth = simulate(replace(DESIGN, replicas=2 + seed % 3), world)
        (stream,) = analyse(truth.calls, {"link": truth.arrivals}, truth.faults).judged
        kinds.append(stream.view.machine.kind)
    assert kinds == [Kind.REPLICAS] * 4


def test_behind_one_address_no_states_are_told_and_it_is_said_why() -> None:
    """Nobody knows which replica let a call through."""
    truth = simulate(DESIGN, replace(WORLD, one_peer=True, fault_ended=20.0, duration_s=35.0))
    (stream,) = analyse(truth.calls, {"link": truth.arrivals}, truth.faults).judged
    assert stream.view.machine.kind is Kind.REPLICAS
    assert stream.sources == ()
    assert "one address" in stream.sources_why
    assert stream.sources_why in stream.answer


def test_a_replica_that_calls_are_led_past_has_no_states() -> None:
    """A balancer that takes it out for a while hides what it does meanwhile."""
    truth = simulate(DESIGN, replace(WORLD, duration_s=30.0))
    away = (truth.arrivals.source == 2) & (truth.arrivals.at > 20.0) & (truth.arrivals.at < 26.0)
    other = np.where(away, 1, truth.arrivals.source)
    later = FaultWindow(kind="error", began=28.0, ended=28.2)
    failed = (truth.arrivals.at > 20.0) & (truth.arrivals.at < 28.2)
    arrivals = replace(
        truth.arrivals, source=other, status=np.where(failed & (other == 0), 500, truth.arrivals.status)
    )
    (stream,) = analyse(truth.calls, {"link": arrivals}, (*truth.faults, later), peers=NAMES).judged
    by_name = {each.name: each for each in stream.sources}
    assert by_name["10.0.0.3"].sequence == ()
    assert "past it" in by_name["10.0.0.3"].source.why
    assert "past it" in stream.answer


def test_where_a_replica_came_later_no_states_are_told() -> None:
    """It takes calls from the others, and nobody knows how many of its own were kept back."""
    truth = simulate(DESIGN, WORLD)
    later = (truth.arrivals.source == 2) & (truth.arrivals.at < 8.5)
    arrivals = replace(truth.arrivals, source=np.where(later, 0, truth.arrivals.source))
    (stream,) = analyse(truth.calls, {"link": arrivals}, truth.faults, peers=NAMES).judged
    assert stream.sources == ()
    assert stream.view.machine.kind is not Kind.REPLICAS or "came later" in stream.answer


def test_brackets_of_sources_widen_with_another_clock() -> None:
    """By the bound of its own at each end; how long it was open by twice as much."""
    truth = simulate(DESIGN, WORLD)
    sharp = to_json(analyse(truth.calls, {"": truth.arrivals}, truth.faults), wall_ahead_s=0.0)
    wide = blurred(sharp, 0.05, {"0": 0.01, "1": 0.01, "2": 0.01})
    for one, other in zip(sharp["streams"][0]["sources"], wide["streams"][0]["sources"], strict=True):
        step, wider = one["transitions"][0], other["transitions"][0]
        assert (wider["after"], wider["before"]) == (step["after"] - 0.01, step["before"] + 0.01)
        (low, high), (least, most) = one["openings"][0]["open_s"], other["openings"][0]["open_s"]
        assert (least, most) == (pytest.approx(low - 0.02), pytest.approx(high + 0.02))


def _calls(n: int, keys: int = 1) -> Calls:
    zeros = np.zeros(n, "i8")
    begun = np.arange(n, dtype="f8")
    return Calls(
        begun=begun,
        ended=begun + 0.1,
        outcome=zeros,
        status=zeros + 200,
        degraded=np.zeros(n, bool),
        key=np.arange(n) * 7 % keys,
        id=np.arange(1, n + 1, dtype="u8"),
    )


@given(count=st.integers(2, 5), shift=st.integers(0, 4), seed=st.integers(0, 99))
def test_whose_turn_it_was_is_known_of_calls_that_did_not_arrive(count: int, shift: int, seed: int) -> None:
    """Turns go on while calls are kept back, and nearly every missing one is foretold."""
    n, calm = 300, 150
    order = np.random.default_rng(seed).permutation(count)
    truth = order[(np.arange(n) + shift) % count]
    seen = np.where((np.arange(n) >= calm) & (np.arange(n) % 3 > 0), -1, truth)
    found = routing.learn(_calls(n), seen, np.arange(n) < calm, count)
    assert found.kind == "in turn"
    assert (found.chances.argmax(axis=1) == truth).all()


@given(count=st.integers(2, 5), seed=st.integers(0, 99))
def test_lots_are_lots(count: int, seed: int) -> None:
    """Where nothing foretells who comes next, every call has the shares of all."""
    truth = np.random.default_rng(seed).integers(0, count, 300)
    found = routing.learn(_calls(300), truth, np.ones(300, bool), count)
    assert found.kind == "by lot"
    assert np.allclose(found.chances, found.chances[0])
    assert found.chances[0] == pytest.approx(np.bincount(truth) / 300, abs=0.02)


@given(count=st.integers(2, 5), seed=st.integers(0, 99))
def test_keys_that_stick_are_learnt(count: int, seed: int) -> None:
    """A call for a key goes where that key's calls went."""
    place = np.random.default_rng(seed).permutation(np.arange(10) % count)
    calls = _calls(300, keys=10)
    truth = place[calls.key]
    found = routing.learn(calls, np.where(np.arange(300) % 3, truth, -1), np.arange(300) < 200, count)
    assert found.kind in ("by key", "in turn")
    assert (found.chances.argmax(axis=1) == truth).all()


def _course(*steps: tuple[State, float, float]) -> Course:
    states = [State.CLOSED, *(to for to, _, _ in steps)]
    return Course(
        stretches=tuple(Stretch(state=state, first=0, end=0) for state in states),
        transitions=tuple(
            Transition(was=was, to=to, after=after, before=before)
            for was, (to, after, before) in zip(states, steps, strict=False)
        ),
    )


def test_what_courses_differ_about_is_left_out_and_the_rest_is_told() -> None:
    """Between two moments at which all are closed: one opening for some, two for others."""
    later = ((State.OPEN, 20.0, 20.5), (State.HALF_OPEN, 22.0, 22.5), (State.CLOSED, 23.0, 23.5))
    once = ((State.OPEN, 1.0, 1.2), (State.HALF_OPEN, 8.0, 8.1), (State.CLOSED, 9.0, 9.1))
    twice = (*once[:1], (State.HALF_OPEN, 4.0, 4.1), (State.OPEN, 4.2, 4.3), *once[1:])
    wider = tuple((to, after - 0.1, before + 0.1) for to, after, before in later)
    found = agreed([_course(*once, *later), _course(*twice, *wider)])
    assert found.sequence == ("closed", UNKNOWN, "closed", "open", "half_open", "closed")
    assert (found.steps[2].after, found.steps[2].before) == (19.9, 20.6)
    assert found.untold == ((1.0, 9.1),)
    assert agreed([_course(*once)] * 3).sequence == ("closed", "open", "half_open", "closed")
