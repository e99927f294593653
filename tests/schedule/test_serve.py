"""The scheduler as a process: files come and go, one that is broken stops no other, SIGTERM ends healed."""

from __future__ import annotations

import json
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator

    from conftest import Stage

STAGED = Path(__file__).parents[1] / "staged"
EVERY_MINUTE = {"cron": "* * * * *", "timezone": "UTC"}
NEVER = {"cron": "0 0 1 jan *", "timezone": "Europe/Berlin"}


class Log:
    """What a process logs to stderr, as it comes."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.events: list[dict[str, Any]] = []
        self._process = process
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            if line.startswith("{"):
                self.events.append(json.loads(line))

    def has(self, event: str, **values: str) -> bool:
        """Whether *event* was logged with *values* in it."""
        return any(
            each["event"] == event and all(part in str(each.get(key)) for key, part in values.items())
            for each in self.events
        )

    def end(self) -> None:
        """Wait for the end of the log."""
        self._thread.join(20)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of experiments."""
    folder = tmp_path / "experiments"
    folder.mkdir()
    return folder


@pytest.fixture
def serve(stage: Stage, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Start the scheduler on the folder; returns the process and its log."""
    monkeypatch.setenv("GAMEDAY_LOG_LEVEL", "info")
    logs: list[Log] = []

    def start(**environ: str) -> tuple[Any, Log]:
        process = stage.start("agent", "serve", "--experiments", str(folder), **environ)
        logs.append(Log(process))
        return process, logs[-1]

    yield start
    for started in stage.started:
        started.kill()
    for log in logs:
        log.end()


def schedule(stage: Stage, folder: Path, name: str, due: dict[str, str], **changes: Any) -> Path:
    """Put an experiment into the folder, whole at once."""
    written = stage.experiment(gameday={"schedule": due}, **changes)
    return written.replace(folder / f"{name}.json")


def test_files_are_picked_up_dropped_and_a_broken_one_stops_no_other(
    stage: Stage, folder: Path, serve: Callable[..., Any], until: Callable[..., Any]
) -> None:
    """Added, changed, broken, taken away: each is told, and the process stays."""
    schedule(stage, folder, "first", NEVER)
    process, log = serve()
    until(lambda: log.has("experiment_scheduled", file="first.json", timezone="Europe/Berlin"))
    until(lambda: log.has("serving"))
    (folder / "broken.json").write_text("{")
    second = schedule(stage, folder, "second", NEVER)
    until(lambda: log.has("experiment_refused", file="broken.json"))
    until(lambda: log.has("experiment_scheduled", file="second.json"))
    second.unlink()
    until(lambda: log.has("experiment_unscheduled", file="second.json"))
    schedule(stage, folder, "first", {**NEVER, "cron": "0 0 2 jan *"})
    until(lambda: log.has("experiment_scheduled", file="first.json", cron="0 0 2 jan *"))
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    log.end()
    assert log.has("stopped", why="SIGTERM")


def test_a_file_that_was_refused_is_read_again_by_itself(
    stage: Stage, folder: Path, serve: Callable[..., Any], until: Callable[..., Any]
) -> None:
    """What it imports comes later, without anybody touching the file; the refusal is told once."""
    late = stage.folder / "staged_late"
    late.mkdir()
    probe = {"module": "comes_late", "func": "is_fine"}
    schedule(stage, folder, "early", NEVER, probe=probe)
    process, log = serve(GAMEDAY_LOG_LEVEL="info", PYTHONPATH=f"{STAGED}:{late}")
    until(lambda: log.has("experiment_refused", file="early.json"))
    (late / "comes_late.py").write_text('"""Late."""\ndef is_fine() -> bool:\n    return True\n')
    until(lambda: log.has("experiment_scheduled", file="early.json"), within_s=100)
    assert sum(each["event"] == "experiment_refused" for each in log.events) == 1
    assert process.poll() is None


def test_a_configmap_that_changes_is_noticed_and_only_what_changed_is_taken_anew(
    stage: Stage, folder: Path, serve: Callable[..., Any], until: Callable[..., Any]
) -> None:
    """A kubelet writes all files of a ConfigMap anew into a hidden folder, and swaps one link to it."""

    def mount(generation: str, **due: str) -> None:
        hidden = folder / f"..{generation}"
        hidden.mkdir()
        for name, cron in due.items():
            schedule(stage, hidden, name, {**NEVER, "cron": cron})
        (folder / "..data_tmp").symlink_to(hidden.name)
        (folder / "..data_tmp").replace(folder / "..data")
        for name in due:
            if not (folder / f"{name}.json").is_symlink():
                (folder / f"{name}.json").symlink_to(f"..data/{name}.json")

    mount("one", same="0 0 1 jan *", other="0 0 1 jan *")
    _, log = serve()
    until(lambda: log.has("serving"))
    assert sum(each["event"] == "experiment_scheduled" for each in log.events) == 2
    mount("two", same="0 0 1 jan *", other="0 0 2 jan *", third="0 0 3 jan *")
    until(lambda: log.has("experiment_scheduled", file="third.json"))
    until(lambda: log.has("experiment_scheduled", file="other.json", cron="0 0 2 jan *"))
    assert sum(each["event"] == "experiment_scheduled" for each in log.events) == 4


def test_what_is_due_runs_and_sigterm_ends_it_healed_and_with_a_report(
    stage: Stage, folder: Path, serve: Callable[..., Any], until: Callable[..., Any]
) -> None:
    """The next full minute starts it; the signal comes while the fault is in."""
    schedule(stage, folder, "often", EVERY_MINUTE, hold_s=25)
    process, log = serve()
    until(lambda: [i for i in stage.open_injections() if i.landed], within_s=80)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    log.end()
    assert not stage.broken.exists()
    assert stage.open_injections() == ()
    (run,) = stage.gameday("runs", "--json")[1]
    assert (run["verdict"], run["recovered"]) == ("INCONCLUSIVE", True)
    assert log.has("run_ended", reason="SIGTERM")


def test_what_an_earlier_crash_left_is_healed_before_anything_else(
    stage: Stage, serve: Callable[..., Any], until: Callable[..., Any]
) -> None:
    """Everything of the run is dead, its reaper too; the scheduler's start mends."""
    stage.start("agent", "run", str(stage.experiment(hold_s=25)), "--json")
    until(lambda: [i for i in stage.open_injections() if i.landed])
    for process in stage.processes():
        process.kill()
    until(lambda: not stage.processes())
    assert stage.broken.exists()
    _, log = serve()
    until(lambda: log.has("serving"))
    assert not stage.broken.exists()
    assert log.has("run_recovered")
    (run,) = stage.gameday("runs", "--json")[1]
    assert (run["verdict"], run["recovered"]) == ("INCONCLUSIVE", True)
    filed = stage.gameday("report", run["run"], "--format", "json")[1]
    assert "its owner died" in filed["reason"]
    assert [each["state"] for each in filed["injections"]] == ["healed"]
    assert Path(run["report"]).is_file()
