"""The detectors against simulated breakers: nothing is found on a right one, whatever its kind and day."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from agent.breakers.bugs import DETECTORS
from agent.breakers.findings import find
from agent.breakers.measures.properties import measure
from agent.breakers.simulation.simulate import Design, World, simulate
from agent.breakers.view import view

if TYPE_CHECKING:
    from collections.abc import Iterator


def found(design: Design, world: World) -> set[str]:
    """Return the bugs that are seen in a simulated recording."""
    truth = simulate(design, world)
    seen = view(truth.calls, truth.arrivals, [truth.fault])
    return {each.bug for each in find(seen, measure(seen))}


def right_designs() -> Iterator[Design]:
    """Breakers that reject while they try, and ignore what comes late."""
    for trip, threshold, window in (
        ("consecutive", 3, 0.0),
        ("consecutive", 8, 0.0),
        ("count", 5, 20.0),
        ("count", 10, 50.0),
        ("time", 5, 3.0),
        ("time", 10, 10.0),
    ):
        for budget, successes in ((1, 1), (3, 1), (3, 3)):
            yield Design(trip=trip, threshold=threshold, window=window, budget=budget, successes=successes)


def days() -> Iterator[World]:
    """Calm days and noisy ones: answers so late now and then that they time out, caches, no ids."""
    for fault, (latency_s, timeout_s) in itertools.product(
        ("error", "hang"), ((0.01, 1.0), (0.05, 0.4), (0.1, 0.5))
    ):
        for aside, ids in ((0.0, True), (0.2, True), (0.0, False)):
            yield World(
                rate_rps=40,
                latency_s=latency_s,
                timeout_s=timeout_s,
                fault=fault,
                aside_share=aside,
                passes_ids_on=ids,
            )


def test_nothing_is_found_on_a_right_breaker() -> None:
    """A hundred recordings of all kinds, some of noisy machines: not one finding."""
    false: Counter[str] = Counter()
    played = 0
    everything = list(itertools.product(right_designs(), days()))
    for seed, (design, world) in enumerate(everything[::3]):
        seeded = World(**{name: getattr(world, name) for name in world.__slots__} | {"seed": seed})
        false.update(found(design, seeded))
        played += 1
    assert played > 100
    assert not false, f"{dict(false)} in {played} recordings"


@pytest.mark.parametrize(
    ("design", "fault", "bug"),
    [
        (Design(half_open="admit"), "hang", "half-open-stampede"),
        (Design(half_open="queue"), "hang", "half-open-waiters"),
        (Design(late="counted"), "hang", "late-failure-rearms"),
        (Design(threshold=100_000), "error", "never-opens"),
    ],
)
def test_a_simulated_bug_is_found_and_nothing_else(design: Design, fault: str, bug: str) -> None:
    """Each in five recordings of different seeds."""
    for seed in range(5):
        assert found(design, World(rate_rps=40, fault=fault, fault_ended=26.0, seed=seed)) == {bug}


def test_where_it_is_in_doubt_who_was_let_through_no_state_is_blamed() -> None:
    """The same recording, with and without doubt about which request belongs to which call."""
    truth = simulate(Design(half_open="admit"), World(rate_rps=40, fault="hang", fault_ended=26.0))
    sure = view(truth.calls, truth.arrivals, [truth.fault])
    doubtful = replace(sure, mapping=replace(sure.mapping, doubtful_share=0.5))
    assert {each.bug for each in find(sure, measure(sure))} == {"half-open-stampede"}
    assert find(doubtful, measure(doubtful)) == ()


def test_each_detector_says_what_a_reader_needs() -> None:
    """A name of its own, a title, one sentence of advice, a severity that the report knows."""
    assert len({each.title for each in DETECTORS.values()}) == len(DETECTORS)
    for bug, each in DETECTORS.items():
        assert bug == each.bug == bug.lower()
        assert each.advice.endswith(".")
        assert not each.title.endswith(".")
        assert each.severity in ("high", "medium")
        assert each.look.__doc__
