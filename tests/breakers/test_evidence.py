"""What a finding points at: enough to be checked by eye, and no more."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from agent.breakers.analysis import analyse, to_json
from agent.breakers.evidence import ARRIVALS_MAX, CALLS_MAX, LANE_MAX
from agent.breakers.simulation.simulate import Design, World, simulate

if TYPE_CHECKING:
    from collections.abc import Iterator

AHEAD_S = 1_795_000_000.0
LANES = {"let_through_well", "let_through_failed", "kept_back", "aside", "answered_well", "answered_badly"}


@pytest.fixture(scope="module")
def answer() -> dict[str, Any]:
    """The answer about a breaker that lets everybody in when it tries again."""
    truth = simulate(Design(half_open="admit"), World(fault="hang", rate_rps=60.0))
    streams = analyse(truth.calls, {"dependency": truth.arrivals}, [truth.fault])
    return to_json(streams, wall_ahead_s=AHEAD_S)


@pytest.fixture(scope="module")
def stampede(answer: dict[str, Any]) -> dict[str, Any]:
    """The finding."""
    (found,) = [each for each in answer["findings"] if each["bug"] == "half-open-stampede"]
    return found  # type: ignore[no-any-return]


def test_the_calls_in_question_lie_in_the_window(stampede: dict[str, Any]) -> None:
    """From the first one sent to the last one ended, with something around."""
    since, until = stampede["evidence_window"]["from_at"], stampede["evidence_window"]["to_at"]
    calls = stampede["evidence_calls"]
    assert [each["call"] for each in calls] == list(stampede["calls"])
    assert since < min(each["begun_at"] for each in calls)
    assert max(each["ended_at"] for each in calls) < until
    assert {each["answer"] for each in calls} == {"status 502"}
    assert all(each["requests"] == len(each["arrived_at"]) == 1 for each in calls)


def test_everything_in_the_window_is_there_and_nothing_else(stampede: dict[str, Any]) -> None:
    """The crowd of trials can be counted, and so can those that were kept back before."""
    since, until = stampede["evidence_window"]["from_at"], stampede["evidence_window"]["to_at"]
    raster = stampede["evidence_raster"]
    assert set(raster) == LANES
    assert all(since <= at <= until for lane in raster.values() for at in lane)
    assert all(lane == sorted(lane) for lane in raster.values())
    arrived = {at for each in stampede["evidence_calls"] for at in each["arrived_at"]}
    assert len(arrived) == len(stampede["evidence_calls"])
    assert arrived <= {round(at, 4) for at in raster["let_through_failed"]}
    assert stampede["evidence_raster_every"] == {}
    span = stampede["evidence_span"]
    assert since < span["from_at"] < span["to_at"] < until


def test_at_a_thousand_calls_a_second_the_evidence_stays_small() -> None:
    """Lanes are thinned and say so; calls and their arrivals are bounded."""
    truth = simulate(Design(half_open="admit"), World(fault="hang", rate_rps=1000.0, latency_s=0.005))
    told = to_json(analyse(truth.calls, {"": truth.arrivals}, [truth.fault]), wall_ahead_s=AHEAD_S)
    assert told["raster_every"]
    assert told["findings"]
    for finding in told["findings"]:
        lanes = finding["evidence_raster"]
        assert all(len(lane) <= LANE_MAX for lane in lanes.values())
        assert all(each > 1 for each in finding["evidence_raster_every"].values())
        assert len(finding["evidence_calls"]) <= CALLS_MAX
        assert all(len(each["arrived_at"]) <= ARRIVALS_MAX for each in finding["evidence_calls"])
        assert len(json.dumps(finding)) < 60_000


def test_the_answer_is_plain_json(answer: dict[str, Any]) -> None:
    """No numpy number and no NaN is in it."""
    assert json.loads(json.dumps(answer, allow_nan=False))["schema"] == "gameday/breaker/1"
    assert not list(_odd(answer))


def _odd(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for each in value.values():
            yield from _odd(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _odd(each)
    elif value is not None and type(value) not in {bool, int, float, str} and not isinstance(value, str):
        yield value
