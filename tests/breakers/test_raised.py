"""The rate of an exercise is raised for a breaker that stays open briefly, and goes back when it must."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from agent.traffic import commands, offers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from conftest import Stage

pytestmark = [pytest.mark.targets, pytest.mark.timeout(240)]

OPEN_S = 0.4
BRIEF = {"kinds": "error,hang", "open_s": OPEN_S, "timeout_s": 0.2, "rate_rps": 20.0}


@pytest.fixture
def raised(stage: Stage, targets: Any, until: Callable[..., Any]) -> Iterator[Path]:
    """The folder of a run that has just raised the rate of its calls."""
    dependency = targets.start("dependency", folder=stage.folder / "dependency")
    listen = f"127.0.0.1:{targets.free_port()}"
    service = targets.start("own", listen, folder=stage.folder / "target", open_s=OPEN_S, timeout_s=0.2)
    command = ["breaker", "test", "--entry", f"{service.url}/call?key=a", "--listen", listen]
    command += ["--upstream", dependency.address, "--rate", "20", "--faults", "error"]
    stage.start("agent", *command)
    folder: Path = until(lambda: next(iter((stage.home / "runs").glob("*")), None), within_s=20)
    until(lambda: any(each.rate_rps > 20.0 for each in offers.read(folder)), within_s=60)
    yield folder
    service.end()
    dependency.end()


def test_a_brief_open_time_has_the_rate_raised_and_is_told_more_sharply(
    exercise: Callable[..., Any],
) -> None:
    """Ten calls an open time before, fifty and more after: what is judged is what the latter showed."""
    came = exercise("own", **BRIEF, rate_max_rps=160.0)
    rate = came.answer["rate"]
    assert (rate["first_rps"], rate["at_most_rps"]) == (20.0, 160.0)
    assert 100.0 <= rate["kept_rps"] <= 160.0
    assert f"It was called {rate['kept_rps']:g} times a second instead of 20" in came.answer["answer"]
    assert came.bugs == set(), came.answer["answer"]
    wait = came.answer["properties"]["time_to_half_open_s"]
    assert wait["low"] - 0.02 <= OPEN_S <= wait["high"] + 0.02
    began = next(each["began"] for each in came.answer["phases"] if each["rate_rps"] == rate["kept_rps"])
    told = came.answer["streams"][0]["transitions"]
    before, after = ([each for each in told if (each["after"] > began) is later] for later in (False, True))
    assert _width(after) < _width(before) / 2
    real = [each for each in came.truth if each.at > began]
    assert [each["to"] for each in after] == [each.to for each in real]
    assert [
        (step, each)
        for step, each in zip(after, real, strict=True)
        if not step["after"] - 0.015 <= each.at <= step["before"] + 0.015
    ] == []


def _width(steps: Sequence[dict[str, float]]) -> float:
    """Return how wide the brackets of transitions are on the average."""
    return sum(each["before"] - each["after"] for each in steps) / len(steps)


def test_at_the_planned_rate_alone_it_is_said_how_much_sharper_it_could_be(
    exercise: Callable[..., Any],
) -> None:
    """Where nobody allowed more calls none are made, and each fault is played once."""
    came = exercise("own", **BRIEF)
    assert (came.answer["rate"]["kept_rps"], came.answer["rate"]["says"]) == (20.0, [])
    assert any("calls a second its states" in note for note in came.answer["notes"])
    assert [each["kind"] for each in came.answer["phases"]] == ["baseline", "error", "hang"]


def test_the_higher_rate_is_a_fault_through_the_door_and_over_in_the_end(
    exercise: Callable[..., Any],
) -> None:
    """Each step is in the ledger with its dose, gone; what was offered when is data beside the samples."""
    came = exercise("own", **BRIEF, rate_max_rps=80.0)
    surges = [each for each in came.told["injections"] if each["fault"] == "traffic.surge"]
    assert [each["dose"]["asked"]["rate_rps"] for each in surges] == [40.0, 80.0]
    assert all(each["landed"] and each["gone"] for each in surges)
    offered = [each.rate_rps for each in offers.read(came.folder)]
    assert offered == [20.0, 40.0, 80.0, 20.0]
    assert came.told["verdict"] == "HELD"


def test_a_rate_limiter_just_above_the_rate_has_it_taken_back_and_is_named(
    exercise: Callable[..., Any],
) -> None:
    """It is no breaker that opens, no flap and no relapse; the breaker behind it is seen as it is."""
    came = exercise("own", **BRIEF, rate_max_rps=80.0, limit_rps=27)
    assert came.answer["rate"]["kept_rps"] == 20.0
    (said,) = came.answer["rate"]["says"]
    assert said in came.answer["answer"]
    assert "did not come out well" in said
    assert "a rate limiter" in said
    (back,) = (each for each in came.answer["phases"] if each["taken_back"])
    assert (back["kind"], back["rate_rps"], back["seen"]) == ("raise", 40.0, False)
    assert came.bugs == set(), came.answer["answer"]
    assert came.answer["machine"]["kind"] == "breaker"
    failed = {name for name, each in came.answer["properties"].items() if each["status"] == "fail"}
    assert failed == set()
    assert offers.read(came.folder)[-1].rate_rps == 20.0


def test_when_the_agent_dies_at_a_raised_rate_the_load_is_over(
    stage: Stage, raised: Path, until: Callable[..., Any]
) -> None:
    """Parent and child are killed at once: nobody calls any more, and the book is closed."""
    assert commands.status(raised)["surge"]
    spared = {"agent.safety.reaper", "agent.traffic", "agent.proxy"}
    # All found before the first one is killed: a parent's death ends others, and a zombie has no words.
    for each in [each for each in stage.processes() if not spared.intersection(each.cmdline())]:
        each.kill()
    until(lambda: stage.open_injections() == ())
    with pytest.raises(commands.TrafficGone):
        commands.status(raised)
