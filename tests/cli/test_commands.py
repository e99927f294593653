"""The command line as users and pipelines see it: one object on stdout, a sentence, an exit code."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING, Any

import psutil
import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Stage

KEYS = {
    "run",
    "experiment",
    "title",
    "verdict",
    "reason",
    "recovered",
    "aborted",
    "leashed",
    "started_at",
    "ended_at",
    "injections",
    "report",
}
INJECTION_KEYS = {"fault", "victims", "landed", "gone", "dose", "intended_at", "applied_at", "healed_at"}


def test_a_run_prints_one_object_and_leaves_a_report(stage: Stage) -> None:
    """And everything else about the run can be asked for afterwards, by its id."""
    code, told, errors = stage.gameday("run", str(stage.experiment(hold_s=1)), "--json")
    assert (code, told["verdict"]) == (0, "HELD"), errors
    assert set(told) == KEYS
    assert [set(injection) for injection in told["injections"]] == [INJECTION_KEYS]
    assert (told["injections"][0]["landed"], told["injections"][0]["gone"]) == (True, True)
    assert "HELD" in stage.home.joinpath("runs", told["run"], "report.html").read_text()
    assert stage.gameday("runs", "--json")[1] == [told]
    code, ledger, _ = stage.gameday("ledger", "--all", "--json")
    assert code == 0
    keys = ["run", "fault", "victims", "state", "intended_at", "max_duration_s", "error"]
    assert [list(row) for row in ledger] == [keys]
    assert (ledger[0]["run"], ledger[0]["state"]) == (told["run"], "healed")
    assert stage.gameday("ledger", "--json")[1] == []


def test_a_report_is_rendered_again_in_every_form(stage: Stage, tmp_path: Path) -> None:
    """For a browser, a chat, a program and a pipeline."""
    run = stage.gameday("run", str(stage.experiment(hold_s=1)), "--json")[1]["run"]
    marks = {"html": "<!doctype html>", "md": "HELD: The file", "json": '"verdict"', "junit": "<testsuite"}
    for form, mark in marks.items():
        out = tmp_path / f"report.{form}"
        code, _, errors = stage.gameday("report", run, "--format", form, "--out", str(out))
        assert code == 0, errors
        assert mark.lower() in out.read_text().lower()


def test_several_files_come_to_the_worst_of_their_exit_codes(stage: Stage) -> None:
    """And to one object with all of them, in order."""
    good = stage.experiment(hold_s=1).rename(stage.folder / "good.json")
    unsteady = stage.experiment(probe={"func": "is_whole", "arguments": {"path": str(good)}})
    code, told, errors = stage.gameday("run", str(good), str(unsteady), "--json")
    assert [run["verdict"] for run in told["runs"]] == ["HELD", "INCONCLUSIVE"], errors
    assert code == 3


def test_a_mistake_in_any_file_starts_none_of_them(stage: Stage) -> None:
    """Every mistake is told with its place, and nothing is broken."""
    good = stage.experiment().rename(stage.folder / "good.json")
    wrong = stage.experiment(gameday={"timeout": 3})
    code, told, errors = stage.gameday("run", str(good), str(wrong), "--json")
    assert (code, told) == (2, None)
    assert "timeout_s" in errors
    assert "Traceback" not in errors
    assert stage.gameday("runs", "--json")[1] == []


def test_on_the_leash_victims_are_named_and_nothing_is_touched(stage: Stage) -> None:
    """The run says itself that it was leashed; that is no pass."""
    code, told, errors = stage.gameday("run", str(stage.experiment()), "--leash", "--json")
    assert told["leashed"] is True, errors
    assert told["verdict"] != "HELD"
    assert code != 0
    assert stage.open_injections() == ()
    assert not stage.broken.exists()


def test_a_plan_names_victims_and_dead_men_and_records_nothing(stage: Stage) -> None:
    """It asks the fault itself, by the same functions."""
    victim = stage.start("http.server", "--bind", "127.0.0.1", "0", GAMEDAY_PROCESS="shop/web")
    arguments = {"selector": "shop/*", "max_duration_s": 9}
    act = {"type": "python", "module": "agent.faults.processes", "func": "pause", "arguments": arguments}
    path = stage.experiment(method=[{"name": "pause", "type": "action", "provider": act}])
    code, plan, _ = stage.gameday("plan", str(path), "--json")
    assert code == 0, plan
    (fault,) = plan["faults"]
    assert fault["victims"] == ["shop/web"]
    assert (fault["undo"]["func"], fault["max_duration_s"]) == ("agent.faults.processes:go_on", 9)
    assert "reaper" in fault["dead_men"]
    assert psutil.Process(victim.pid).status() != psutil.STATUS_STOPPED
    assert stage.gameday("runs", "--json")[1] == []


def test_check_runs_what_carries_the_tags_and_writes_junit(stage: Stage, tmp_path: Path) -> None:
    """The step after a deploy."""
    folder = tmp_path / "experiments"
    folder.mkdir()
    for name, tags in (("a", ["shop", "kill"]), ("b", ["shop"]), ("c", [])):
        definition = json.loads(stage.experiment(hold_s=1).read_text()) | {"tags": tags, "title": name}
        (folder / f"{name}.json").write_text(json.dumps(definition))
    junit = tmp_path / "result.xml"
    arguments = ["check", "--tag", "shop", "--experiments", str(folder), "--junit", str(junit), "--json"]
    code, told, errors = stage.gameday(*arguments)
    assert code == 0, errors
    assert sorted(run["title"] for run in told["runs"]) == ["a", "b"]
    suite = ET.parse(junit).getroot()  # noqa: S314  # our own file
    assert len(list(suite.iter("testcase"))) == 2
    assert list(suite.iter("failure")) == []


def test_check_without_a_match_is_a_mistake_not_a_pass(stage: Stage, tmp_path: Path) -> None:
    """A misspelt tag must not turn a pipeline green."""
    stage.experiment()
    junit = str(tmp_path / "result.xml")
    arguments = ["check", "--tag", "shpo", "--experiments", str(stage.folder), "--junit", junit]
    code, _, errors = stage.gameday(*arguments)
    assert code == 2
    assert "shpo" in errors


def test_the_time_limit_of_a_check_ends_the_run_healed(stage: Stage, tmp_path: Path) -> None:
    """What was not started counts as no pass."""
    folder = tmp_path / "experiments"
    folder.mkdir()
    definition = json.loads(stage.experiment(hold_s=25).read_text()) | {"tags": ["slow"]}
    for name in ("a", "b"):
        (folder / f"{name}.json").write_text(json.dumps(definition))
    junit = str(tmp_path / "result.xml")
    arguments = ["check", "--tag", "slow", "--experiments", str(folder), "--junit", junit, "--timeout", "3"]
    code, told, errors = stage.gameday(*arguments, "--json")
    assert (code, [run["verdict"] for run in told["runs"]]) == (3, ["INCONCLUSIVE"]), errors
    assert "1 experiments were not started" in errors
    assert not stage.broken.exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "nowhere.yaml"], "nowhere.yaml"),
        (["report", "no-such-run"], "no report of a run no-such-run"),
        (["run", "experiment.json", "--var", "x"], "write name=value"),
        (["sandbox", "status"], "no sandbox runs"),
    ],
)
def test_misuse_is_a_sentence_never_a_traceback(stage: Stage, arguments: list[str], says: str) -> None:
    """And an exit code that tells it from a verdict."""
    stage.experiment()
    code, told, errors = stage.gameday(*arguments)
    assert code in (2, 4)
    assert told is None
    assert says in errors
    assert "Traceback" not in errors


def test_an_unknown_setting_refuses_and_names_the_nearest(stage: Stage, monkeypatch: Any) -> None:
    """A misspelt variable would otherwise be a setting that silently does not hold."""
    monkeypatch.setenv("GAMEDAY_LEASE", "10")
    code, _, errors = stage.gameday("runs")
    assert code == 2
    assert "GAMEDAY_LEASE_S" in errors


def test_secrets_are_nowhere_in_what_is_filed_or_logged(stage: Stage, monkeypatch: Any) -> None:
    """Not in the record, the page, the store, the output, or on the terminal, whatever printed them."""
    monkeypatch.setenv("SHOP_TOKEN", "s3cr3t-t0ken")
    path = stage.experiment(method=[_leak("leak"), _break(stage)])
    definition = json.loads(path.read_text())
    definition["secrets"] = {"shop": {"token": {"type": "env", "key": "SHOP_TOKEN"}}}
    path.write_text(json.dumps(definition))
    process = stage.start("agent", "run", str(path), "--json")
    out, errors = process.communicate(timeout=60)
    run = json.loads(out)["run"]
    assert json.loads(out)["verdict"] in ("HELD", "INCONCLUSIVE"), errors
    assert "s3cr3t-t0ken" not in out + errors
    files = [path for path in stage.home.rglob("*") if path.is_file()]
    assert stage.home / "runs" / run / "record.json" in files
    assert "[redacted]" in (stage.home / "runs" / run / "output.log").read_text()
    assert [file for file in files if b"s3cr3t-t0ken" in file.read_bytes()] == []


def _leak(name: str) -> dict[str, Any]:
    provider = {"type": "python", "module": "breaking", "func": "leak", "secrets": ["shop"]}
    return {"name": name, "type": "action", "provider": provider}


def _break(stage: Stage) -> dict[str, Any]:
    act = {
        "type": "python",
        "module": "breaking",
        "func": "break_file",
        "arguments": {"path": str(stage.broken)},
    }
    return {"name": "break", "type": "action", "provider": act}
