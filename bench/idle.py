"""What it costs to be there: runs that do nothing, ``--help``, and a scheduler that waits."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from agent.catalog.read import read
from agent.compose import open_agent
from agent.settings import Settings
from agent.stop import StopRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

RUNS = 30
PEER_RUNS = 8
HELP_RUNS = 9
EXPERIMENTS = 100


def main(_: Sequence[str]) -> list[dict[str, Any]]:
    """Return the rows of the table."""
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = _runs_a_minute(Path(folder))
        help_s = statistics.median(_timed(["agent", "--help"]) for _ in range(HELP_RUNS))
        peer_s = statistics.median(_timed(["chaostoolkit", "--help"]) for _ in range(HELP_RUNS))
        memory_mb = _idle_memory_mb(Path(folder))
    return [
        {
            "figure": "a run that does nothing, under serve: runs a minute",
            "ours": f"{ours:.0f}",
            "peer": f"{theirs:.0f}",
            "ratio": round(ours / theirs, 2),
            "goal": ">= 5 times",
            "met": ours >= 5 * theirs,
        },
        {
            "figure": "--help, s",
            "ours": f"{help_s:.3f}",
            "peer": f"{peer_s:.3f}",
            "ratio": round(help_s / peer_s, 2),
            "goal": "<= 0.25",
            "met": help_s <= 0.25,
        },
        {
            "figure": f"idle serve with {EXPERIMENTS} experiments, resident MB",
            "ours": f"{memory_mb:.0f}",
            "peer": "-",
            "ratio": None,
            "goal": "<= 90",
            "met": memory_mb <= 90,
        },
    ]


def _runs_a_minute(folder: Path) -> tuple[float, float]:
    """Return ours, through the call that the scheduler makes, and ``chaos run``'s; the same file."""
    file = _experiment(folder, "nothing")
    agent = open_agent(Settings(home=folder / "home"))
    stop = StopRequest()
    experiment = read(file)  # serve reads a file when it changes, not for each run
    ours = _rate(lambda: agent.run(experiment, stop=stop), RUNS)
    command = ["chaostoolkit", "--no-version-check", "run", str(file)]
    theirs = _rate(lambda: _timed(command, cwd=folder), PEER_RUNS)
    return ours, theirs


def _rate(run: Callable[[], object], count: int) -> float:
    run()
    began = time.perf_counter()
    for _ in range(count):
        run()
    return 60 * count / (time.perf_counter() - began)


def _timed(command: Sequence[str], cwd: Path | None = None) -> float:
    began = time.perf_counter()
    quiet = subprocess.DEVNULL
    subprocess.run([sys.executable, "-m", *command], check=True, cwd=cwd, stdout=quiet, stderr=quiet)
    return time.perf_counter() - began


def _idle_memory_mb(folder: Path) -> float:
    """Return what ``serve`` and its children hold, shared pages counted for each of them."""
    experiments = folder / "experiments"
    experiments.mkdir()
    for number in range(EXPERIMENTS):
        _experiment(experiments, f"number-{number}", schedule={"cron": "0 0 1 jan *", "timezone": "UTC"})
    environ = {**os.environ, "GAMEDAY_HOME": str(folder / "home"), "GAMEDAY_LOG_LEVEL": "info"}
    command = [sys.executable, "-m", "agent", "serve", "--experiments", str(experiments)]
    with subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if '"serving"' in line or "serving " in line:
                break
        time.sleep(3)  # one look for changed files
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        held = sum(each.memory_info().rss for each in family)
        process.terminate()
        process.stderr.read()
    return held / 1e6


def _experiment(folder: Path, name: str, **gameday: Any) -> Path:
    system = {"type": "python", "module": "platform", "func": "system"}
    heal, is_now = {"type": "python", "module": "agent.faults", "func": "heal"}, platform.system()
    definition = {
        "version": "1.0.0",
        "title": name,
        "description": "Does nothing.",
        "extensions": [{"name": "gameday", "timeout_s": 30, **gameday}],
        "runtime": {"rollbacks": {"strategy": "always"}},
        "steady-state-hypothesis": {
            "title": "The system is what it is",
            "probes": [{"name": "system", "type": "probe", "tolerance": is_now, "provider": system}],
        },
        "method": [{"name": "nothing", "type": "action", "provider": system}],
        "rollbacks": [{"name": "heal", "type": "action", "provider": heal}],
    }
    path = folder / f"{name}.json"
    path.write_text(json.dumps(definition))
    return path
