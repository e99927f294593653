"""Results that come in late: what becomes of simulated breakers then, and that chance is not blamed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from agent.breakers.findings import find
from agent.breakers.measures import late
from agent.breakers.measures.late import Late
from agent.breakers.measures.properties import measure
from agent.breakers.simulation.simulate import Design, World, simulate
from agent.breakers.streams import FaultWindow
from agent.breakers.view import view

if TYPE_CHECKING:
    from agent.breakers.simulation.simulate import Truth
    from agent.breakers.view import View

SEEDS = range(3)
ROUNDS, EVERY_S, SOME_S, FAIL_S = 3, 8.0, 0.1, 1.5
BREAKERS = {
    "in a row": Design(open_s=2.0),
    "share": Design(trip="count", threshold=8, window=8, open_s=2.0),
    "jittered": Design(opens="jittered", open_s=2.0),
    "growing": Design(opens="growing", open_s=1.5),
    "half-open admits all": Design(half_open="admit", open_s=2.0),
}


def with_successes_on_their_way(design: Design, seed: int) -> Truth:
    """Return a recording in which everything fails at once while a few calls are to succeed late."""
    faults: list[FaultWindow] = []
    for turn in range(ROUNDS):
        began = 32.0 + turn * EVERY_S
        faults.append(FaultWindow(kind="slow", began=began, ended=began + SOME_S))
        faults.append(FaultWindow(kind="error", began=began + SOME_S, ended=began + FAIL_S))
    world = World(
        rate_rps=60,
        timeout_s=1.0,
        slow_s=0.5,
        latency_s=0.005,
        duration_s=60.0,
        later=tuple(faults),
        seed=seed,
    )
    return simulate(design, world)


def seen(truth: Truth) -> View:
    """Return what is inferred from a simulated recording."""
    return view(truth.calls, truth.arrivals, truth.faults)


def bugs(of: View) -> set[str]:
    """Return what is found in it."""
    return {each.bug for each in find(of, measure(of))}


@pytest.mark.parametrize("name", BREAKERS)
def test_late_successes_that_close_a_breaker_are_told_from_those_it_ignores(name: str) -> None:
    """However it opens, and for however long, as long as one can tell how long at least."""
    for seed in SEEDS:
        counted, ignored = (
            late.successes_while_open(
                seen(with_successes_on_their_way(replace(BREAKERS[name], late=each), seed))
            )
            for each in ("counted", "ignored")
        )
        assert late.is_decided(counted), seed
        assert not late.is_decided(ignored), seed
        assert sum(not each.moved for each in ignored) >= ROUNDS - 1, seed


def test_what_leaks_through_an_open_breaker_is_not_blamed_on_late_successes() -> None:
    """It lets calls in early with or without them."""
    for seed in SEEDS:
        watched = seen(with_successes_on_their_way(Design(trickle=0.03, open_s=2.0), seed))
        assert not late.is_decided(late.successes_while_open(watched)), seed


def test_it_is_found_where_late_successes_close_it_and_only_there() -> None:
    """The bug by its name."""
    counted, ignored = (
        seen(with_successes_on_their_way(replace(BREAKERS["share"], late=each), 1))
        for each in ("counted", "ignored")
    )
    assert bugs(counted) == {"late-success-closes"}
    assert bugs(ignored) == set()


def with_trials_that_hang(design: Design, seed: int) -> Truth:
    """Return a recording in which the dependency is well again while trials still hang, twice."""
    world = World(
        rate_rps=40,
        timeout_s=1.0,
        latency_s=0.005,
        duration_s=45.0,
        fault="hang",
        fault_ended=45.0,
        seed=seed,
    )
    world = replace(world, fault_ended=trial_after(12.0, design, world) + 0.4)
    again = FaultWindow(kind="hang", began=28.0, ended=45.0)
    tried = trial_after(28.0, design, replace(world, later=(again,)))
    return simulate(design, replace(world, later=(replace(again, ended=tried + 0.4),)))


def trial_after(since: float, design: Design, world: World) -> float:
    """Return when it first tries then."""
    moves = simulate(design, world).transitions[0]
    return next(at for at, _, to in moves if to == "half_open" and at > since)


def test_trials_that_fail_late_and_open_it_again_are_told_from_those_it_ignores() -> None:
    """It counts a share of the last results, in which they come between good ones."""
    design = replace(BREAKERS["share"], half_open="admit", ratio=0.3, open_s=3.0)
    for seed in SEEDS:
        counted, ignored = (
            seen(with_trials_that_hang(replace(design, late=each), seed)) for each in ("counted", "ignored")
        )
        told = late.failures_while_closed(counted)
        assert [each.moved for each in told] == [True, True], seed
        assert late.is_decided(told), seed
        assert [each.moved for each in late.failures_while_closed(ignored)] == [False, False], seed
        assert "relapses-on-late-failures" not in bugs(ignored), seed


def observation(*, moved: bool, chance: float) -> Late:
    """Return one observation."""
    return Late(moved=moved, chance=chance, since=0.0, until=1.0, rows=np.zeros(1, bool))


def test_one_observation_is_chance_and_several_are_not() -> None:
    """Nor are several where it ends by itself as often."""
    one = [observation(moved=True, chance=0.001)]
    assert not late.is_decided(one)
    assert late.is_decided(one * 2)
    assert not late.is_decided([observation(moved=True, chance=0.4)] * 2)


def test_what_speaks_against_it_weighs_as_well() -> None:
    """The more often it stayed as it was, the likelier it moved by chance."""
    for_it, against = observation(moved=True, chance=0.1), observation(moved=False, chance=0.1)
    weights = [late.nats([for_it, for_it, *[against] * n]) for n in range(8)]
    assert weights == sorted(weights, reverse=True)
    assert late.nats([]) == 0
