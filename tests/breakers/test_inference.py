"""The inference against simulated breakers whose truth is known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.breakers.analysis import analyse
from agent.breakers.courses.states import State
from agent.breakers.simulation.simulate import Design, Truth, World, simulate
from agent.breakers.view import View, view
from bench._scenarios import breaker, judge

TOLERANCE_S = 0.015

designs = st.builds(
    Design,
    trip=st.sampled_from(["consecutive", "count", "time"]),
    threshold=st.integers(3, 8),
    window=st.sampled_from([5.0, 10.0]),
    open_s=st.floats(1.5, 4.0),
    half_open=st.sampled_from(["reject", "queue", "admit"]),
)
worlds = st.builds(
    World,
    rate_rps=st.floats(35, 80),
    latency_s=st.floats(0.002, 0.03),
    timeout_s=st.floats(0.3, 1.0),
    aside_share=st.sampled_from([0.0, 0.1, 0.3]),
    fault=st.sampled_from(["error", "hang"]),
    seed=st.integers(0, 10_000),
)


def seen(truth: Truth) -> View:
    """Infer from what was simulated."""
    return view(truth.calls, truth.arrivals, [truth.fault])


def misplaced(truth: Truth, found: View) -> list[tuple[float, float, float]]:
    """Return the transitions that are outside of their brackets."""
    pairs = zip(found.course.transitions, truth.transitions[0], strict=True)
    return [
        (step.after, at, step.before)
        for step, (at, _, _) in pairs
        if not step.after - TOLERANCE_S <= at <= step.before + TOLERANCE_S
    ]


@settings(deadline=None, max_examples=40)
@given(design=designs, world=worlds)
def test_the_sequence_is_right_and_each_transition_lies_in_its_bracket(design: Design, world: World) -> None:
    """Whatever the threshold, the half-open family, the cache and the fault, at 50 calls an open time.

    Caches that answer as a rejection does leave a chance of error; the grid below counts it.
    """
    truth = simulate(design, world)
    found = seen(truth)
    assert found.course.sequence == truth.sequence()
    assert misplaced(truth, found) == []


def test_over_a_grid_of_breakers_hardly_any_sequence_is_wrong() -> None:
    """At least 99 % of sequences and of transitions, with caches that look like rejections too."""
    wrong = transitions = outside = runs = 0
    grid = itertools.product(
        ["consecutive", "count", "time"],
        ["reject", "queue", "admit"],
        [0.0, 0.3],
        ["error", "hang"],
        range(3),
    )
    for trip, half_open, aside, fault, seed in grid:
        design = Design(trip=trip, half_open=half_open, window=8.0)
        truth = simulate(design, World(aside_share=aside, fault=fault, seed=seed))
        found = seen(truth)
        runs += 1
        wrong += (right := found.course.sequence == truth.sequence()) is False
        transitions += len(truth.transitions[0])
        outside += len(misplaced(truth, found)) if right else 0
    assert wrong <= 0.01 * runs
    assert outside <= 0.01 * transitions


def test_of_breakers_drawn_at_random_hardly_any_sequence_is_wrong() -> None:
    """The first of those in docs/accuracy.md: 99 % of the sequences, and of the transitions, are right."""
    drawn = [breaker(seed, per_open=(50, 100, 200)[seed % 3], aside=(0.0, 0.3)) for seed in range(60)]
    judged = [judge(each) for each in drawn]
    right = [each for each in judged if each.sequence_right]
    assert len(right) >= 0.99 * len(judged) - 1
    assert sum(len(each.misplaced) for each in right) <= 0.01 * sum(each.transitions for each in right)


def test_one_call_kept_back_right_after_a_failure_is_an_opening() -> None:
    """A late success closes it again at once; the answer to the one call looks like nothing else does."""
    design = Design(trip="count", threshold=4, ratio=0.3, late="counted", open_s=1.6)
    met = told = 0
    for seed in range(20):
        world = World(
            rate_rps=124.0, latency_s=0.1, timeout_s=0.4, duration_s=18.0, fault_ended=15.0, seed=seed
        )
        truth = simulate(design, world)
        openings = [step for step in seen(truth).course.transitions if step.to is State.OPEN]
        for (at, _, to), calls in zip(truth.transitions[0], truth.met[0][1:], strict=True):
            if to == "open" and calls == 1:
                met += 1
                told += any(each.after - TOLERANCE_S <= at <= each.before + TOLERANCE_S for each in openings)
    assert met >= 5
    assert told >= 0.8 * met


@pytest.mark.parametrize("half_open", ["reject", "queue"])
@pytest.mark.parametrize("successes", [2, 5])
def test_a_closing_that_needs_several_good_trials_lies_in_its_bracket(half_open: str, successes: int) -> None:
    """Whoever is let in meanwhile is no more than the trials that it has room for."""
    design = Design(half_open=half_open, budget=2, successes=successes)
    truth = simulate(design, World(latency_s=0.2, timeout_s=1.0, rate_rps=40.0, fault_ended=26.0, seed=4))
    found = seen(truth)
    assert found.course.sequence == truth.sequence()
    assert misplaced(truth, found) == []


def test_a_recording_without_a_fault_is_one_closed_stretch() -> None:
    """Even with a third of the calls answered from a cache that looks like a rejection."""
    world = World(
        aside_share=0.33, aside_looks_rejected=True, fault_began=1e9, fault_ended=1e9, duration_s=200
    )
    truth = simulate(Design(), world)
    assert view(truth.calls, truth.arrivals, []).course.sequence == (State.CLOSED,)


def test_a_breaker_that_is_open_from_the_start_is_seen_so() -> None:
    """There is no transition into the first state."""
    truth = simulate(Design(), World(fault_began=0.0, fault_ended=10.0))
    late = truth.calls.begun > 1.0
    arrivals = truth.arrivals.where(truth.arrivals.at > 1.0)
    found = view(truth.calls.where(late), arrivals, [truth.fault])
    assert found.course.sequence[0] is State.OPEN


@pytest.mark.parametrize("empty", ["calls", "arrivals", "both"])
def test_nothing_recorded_is_no_error(empty: str) -> None:
    """An empty stream gives a course of one stretch, whatever the other one holds."""
    truth = simulate(Design(), World(duration_s=5.0))
    nothing = np.zeros(0, "i8")
    calls = truth.calls.where(nothing) if empty in ("calls", "both") else truth.calls
    arrivals = truth.arrivals.where(nothing) if empty in ("arrivals", "both") else truth.arrivals
    found = view(calls, arrivals, [])
    assert len(found.course.stretches) == 1
    assert found.course.transitions == ()


@pytest.mark.parametrize("half_open", ["reject", "admit"])
def test_without_ids_hardly_any_call_is_mistaken(half_open: str) -> None:
    """The matching by time finds who was let through for more than 99 % of the calls."""
    truth = simulate(Design(half_open=half_open), World(passes_ids_on=False, rate_rps=60))
    known = simulate(Design(half_open=half_open), World(passes_ids_on=True, rate_rps=60))
    blind, sighted = seen(truth), seen(known)
    assert not blind.mapping.by_id
    assert sighted.mapping.by_id
    through = [set(each.decisions.call[each.decisions.forwarded].tolist()) for each in (blind, sighted)]
    assert len(through[0] ^ through[1]) < 0.01 * len(known.calls)


def test_a_rate_too_low_for_sharp_states_is_said() -> None:
    """With the rate that would do: fifty calls an open time."""
    few, many = (
        simulate(Design(open_s=2.0), World(rate_rps=rate, fault_ended=24.0, seed=2)) for rate in (15.0, 60.0)
    )
    noted = [analyse(each.calls, {"a": each.arrivals}, each.faults).notes for each in (few, many)]
    assert any("calls a second its states" in note for note in noted[0])
    assert noted[1] == ()
