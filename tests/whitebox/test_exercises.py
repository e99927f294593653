"""Whole exercises with a source beside them: one that agrees, and one for each way to disagree."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Stage

pytestmark = [pytest.mark.whitebox, pytest.mark.timeout(600)]

CONFORMANCE = Path(__file__).parents[2] / "experiments" / "breakers" / "conformance.yaml"
STATE = "state#path=breakers[0].state&every_s=0.05"


def exercise(stage: Stage, entry: str, *sources: str, kinds: str = "error") -> dict[str, Any]:
    """Exercise a breaker as the experiment does, and return the answer."""
    variables = {
        "entry": entry,
        "rate_rps": 40,
        "kinds": kinds,
        "baseline_s": 4.0,
        "seed": 1,
        "whitebox": " ".join(sources),
    }
    arguments = [each for key, value in variables.items() for each in ("--var", f"{key}={value}")]
    code, told, errors = stage.gameday("run", str(CONFORMANCE), "--json", *arguments, timeout_s=200.0)
    assert code in (0, 1), errors
    folder = stage.home / "runs" / told["run"]
    read = json.loads((folder / "breaker.whitebox.json").read_text())
    assert len(read) == len(sources)
    assert all(each["samples"] for each in read)
    answer: dict[str, Any] = json.loads((folder / "breaker.json").read_text())
    return answer


def bugs(whitebox: dict[str, Any]) -> set[str]:
    """The classes of a source's disagreements."""
    return {each["bug"] for each in whitebox["disagreements"]}


def found(answer: dict[str, Any]) -> set[str]:
    """The findings by name."""
    return {each["bug"] for each in answer["findings"]}


def test_a_source_that_tells_the_truth_agrees(
    stage: Stage, exercised: Callable[[str], Any], link: str
) -> None:
    """As a user plays it: no finding, HELD, and both tell the same transitions."""
    assert link
    out = stage.folder / "out"
    target = exercised("right")
    source = f"json:{target.url}/{STATE}"
    command = ("breaker", "test", "--entry", f"{target.url}/call", "--link", "dependency", "--out", str(out))
    kinds = ("--faults", "error,hang", "--rate", "40", "--whitebox", source, "--json")
    code, told, errors = stage.gameday(*command, *kinds, timeout_s=200.0)
    assert (code, told["verdict"]) == (0, "HELD"), (told.get("reason"), errors)
    (whitebox,) = told["whitebox"]
    assert (whitebox["kind"], whitebox["link"], whitebox["errors"]) == ("json", "dependency", {})
    assert whitebox["disagreements"] == told["findings"] == []
    agreement = whitebox["agreement"]
    assert agreement["share"] > 0.97
    assert agreement["matched"] == agreement["transitions"] >= 6
    assert [each["state"] for each in whitebox["states"]][:2] == ["closed", "open"]
    assert whitebox["samples"] > 200
    assert (out / "breaker.whitebox.json").exists()


def test_a_breaker_that_is_not_watched_is_found(stage: Stage, exercised: Callable[[str], Any]) -> None:
    """Two around one call: the one that is shown never opens."""
    target = exercised("hidden")
    answer = exercise(stage, f"{target.url}/call", f"json:{target.url}/{STATE}")
    (whitebox,) = answer["whitebox"]
    assert bugs(whitebox) == found(answer) == {"hidden-breaker"}
    (finding,) = answer["findings"]
    assert finding["evidence_calls"]
    assert all(each["requests"] == 0 for each in finding["evidence_calls"])


def test_a_breaker_around_another_path_is_a_phantom(stage: Stage, exercised: Callable[[str], Any]) -> None:
    """It is open for a job in the background, while calls go past it."""
    target = exercised("phantom")
    answer = exercise(stage, f"{target.url}/call", f"json:{target.url}/{STATE}")
    assert bugs(answer["whitebox"][0]) == {"phantom-open"}
    assert found(answer) == {"phantom-open", "never-opens"}


def test_resilience4j_that_nobody_calls_any_more_is_stale(stage: Stage, bench: Any, link: str) -> None:
    """The service has replaced its breaker while that was open: it is lazy, so it says open for ever."""
    module = sys.modules[type(bench).__module__]
    port = module.starter.free_port()
    options = [f"--server.port={port}", f"--dependency={link}", "--replace-after-ms=500"]
    folder = module.built("resilience4j") / "target"
    bench.run([module.tool("java"), *module.SMALL, "-jar", "target.jar", *options], port=port, cwd=folder)
    url = f"http://127.0.0.1:{port}"
    old, new = (f"resilience4j:{url}/actuator#name={name}&every_s=0.05" for name in ("orders", "orders-2"))
    answer = exercise(stage, f"{url}/call", old, new)
    assert "stale-open" in found(answer)
    assert "stale-open" in bugs(answer["whitebox"][0])
    assert answer["whitebox"][0]["states"][-1]["state"] == "open"
    assert "stale-open" not in bugs(answer["whitebox"][1])


def test_purgatorys_hooks_are_late_and_its_reader_says_so(
    stage: Stage, library: Callable[..., Any], redis: str, link: str
) -> None:
    """Half-open is told when the trial has timed out: late where nothing is declared, else explained."""
    target = library("purgatory", link)
    hooks = f"json:{target.url}/told#path=state&every_s=0.05"
    key = f"purgatory:redis://{redis}/0#name=orders&every_s=0.05"
    answer = exercise(stage, f"{target.url}/call", hooks, key, kinds="hang")
    by_hooks, by_key = answer["whitebox"]
    assert "late-event" in bugs(by_hooks)
    assert "late-event" not in bugs(by_key)
    assert by_key["explained"]["late_half_open"] > 0


def test_a_source_that_is_not_there_ends_nothing(stage: Stage, exercised: Callable[[str], Any]) -> None:
    """The answer is the same, and says why there is nothing to compare."""
    target = exercised("right")
    answer = exercise(stage, f"{target.url}/call", "json:http://127.0.0.1:1/state")
    (whitebox,) = answer["whitebox"]
    assert whitebox["agreement"]["share"] is None
    assert any("Connection refused" in why for why in whitebox["errors"])
    assert found(answer) == set()
