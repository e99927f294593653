"""A bulkhead beside a breaker: known by what only it does, and taken out of the breaker's course."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from agent.breakers.evidence import lanes
from agent.breakers.findings import find
from agent.breakers.measures.properties import measure
from agent.breakers.notes import notes
from agent.breakers.reading.paths import Traffic, learn
from agent.breakers.simulation.simulate import Design, World, simulate
from agent.breakers.view import view

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Recorded

RECORDING = Path(__file__).parent / "recordings" / "opossum-bulkhead.json.gz"
SLACK_S = 0.015
LANES = ("let_through_well", "let_through_failed", "kept_back", "aside")
OTHERS = {
    "breaker": Design(),
    "ten trials": Design(budget=10, successes=10, trip="count"),
    "admits all": Design(half_open="admit"),
    "queues": Design(half_open="queue"),
    "share": Design(half_open="share"),
    "leaks": Design(trickle=0.05),
    "replicas": Design(replicas=3),
    "sliding": Design(kind="sliding", window=3.0),
    "gradual": Design(kind="gradual", window=4.0),
    "throttle": Design(kind="throttle", window=2.0, ratio=0.9),
    "rate-limiter": Design(kind="rate-limiter", ratio=0.9, threshold=10),
    "bulkhead": Design(kind="bulkhead", threshold=5),
}


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("fault", ["error", "hang", "slow"])
def test_no_other_machine_is_taken_for_a_bulkhead_beside_a_breaker(name: str, fault: str) -> None:
    """Nor is a bulkhead by itself: that is the whole machine, and no part of one."""
    truth = simulate(OTHERS[name], World(rate_rps=60, fault=fault, slow_s=0.5))
    assert view(truth.calls, truth.arrivals, truth.faults).limit is None


def test_a_breaker_with_a_bulkhead_is_seen_in_the_states_of_its_own_log(
    recorded: Callable[[Path], Recorded],
) -> None:
    """`opossum` with ten calls at a time: what its semaphore turns away is no opening."""
    seen = recorded(RECORDING)
    assert seen.view.limit == 10
    assert len(seen.view.turned_away) > 100
    assert list(seen.view.course.sequence) == ["closed", *(to for _, to in seen.truth)]
    misplaced = [
        (step, at)
        for step, (at, _) in zip(seen.view.course.transitions, seen.truth, strict=True)
        if not step.after - SLACK_S <= at <= step.before + SLACK_S
    ]
    assert not misplaced


def test_what_it_turned_away_is_drawn_as_kept_back(recorded: Callable[[Path], Recorded]) -> None:
    """It is no state of the breaker, and no answer from a cache either."""
    seen = recorded(RECORDING).view
    drawn = lanes(seen)
    assert np.isin(seen.turned_away, drawn["kept_back"]).all()
    assert not np.isin(seen.turned_away, drawn["aside"]).any()
    assert sum(len(drawn[lane]) for lane in LANES) == len(seen.decisions)


def test_a_reader_is_told_of_the_room(recorded: Callable[[Path], Recorded]) -> None:
    """One sentence with both figures."""
    seen = recorded(RECORDING).view
    traffic = Traffic.of(seen.calls, {"dependency": seen.arrivals})
    told = notes(traffic, learn(traffic, until=10.0), seen, {})
    assert [each for each in told if "no more than 10 calls in at a time" in each]


def test_its_full_semaphore_is_found_to_open_it(recorded: Callable[[Path], Recorded]) -> None:
    """And nothing else is wrong with it, though more are under way when it hangs than it lets in."""
    seen = recorded(RECORDING).view
    assert {each.bug for each in find(seen, measure(seen.plain))} == {"full-bulkhead-opens-it"}
