"""How soon a fault is gone: after the steady state is lost, and after SIGKILL or SIGSTOP."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from bench._ends import far_end
from bench._proxies import our_proxy, toxiproxy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

FAULTS = Path(__file__).parent / "_faults"
ROUNDS = 10
PEER_ROUNDS = 2
LEASE_ROUNDS = 4
BLOCK_S = 8.0
NEVER_S = 12.0
"""A peer whose fault is still in after this long is told as "never"."""


def main(_: Sequence[str]) -> list[dict[str, Any]]:
    """Return the rows of the table."""
    ours = [_lost(Path(folder)) for folder in _folders(ROUNDS)]
    theirs = [_lost_under_chaos(Path(folder)) for folder in _folders(PEER_ROUNDS)]
    rows = [_row("steady state lost -> fault gone, p95 s", ours, theirs, 0.5)]
    rows += [
        _row(f"{who} killed with SIGKILL -> fault gone, p95 s", _deaths(who, signal.SIGKILL), None, 0.2)
        for who in ("child", "parent", "both")
    ]
    rows.append(
        _row("child stopped with SIGSTOP -> gone, p95 s", _deaths("child", signal.SIGSTOP), None, 3.0)
    )
    rows.append(_row("everything killed but the proxy -> link fault gone, p95 s", _leases(), None, 5.0))
    rows[-1]["peer"] = _without_lease()
    return rows


def _row(figure: str, ours: list[float], theirs: list[float] | None, goal: float) -> dict[str, Any]:
    mine = _p95(ours)
    peer = "never" if theirs is None else f"{_p95(theirs):.3f}"
    ratio = "-" if theirs is None else f"{mine / _p95(theirs):.3f}"
    return {
        "figure": figure,
        "ours": f"{mine:.3f}",
        "peer": peer,
        "ratio": ratio,
        "goal": f"<= {goal}",
        "met": mine <= goal,
    }


def _p95(values: list[float]) -> float:
    return sorted(values)[min(len(values) - 1, int(0.95 * len(values)))]


def _folders(count: int) -> list[str]:
    return [tempfile.mkdtemp(prefix="gameday-bench-") for _ in range(count)]


def _experiment(
    folder: Path, *, probe: str, plain: bool = False, first: dict[str, Any] | None = None
) -> Path:
    path = {"path": str(folder / "broken")}
    act = {"func": "break_plainly" if plain else "break_file", "arguments": path}
    heal = {"module": "breakable", "func": "mend", "arguments": path}
    if not plain:
        heal = {"module": "agent.faults", "func": "heal"}
    breaking = {
        "name": "break",
        "type": "action",
        "provider": {"type": "python", "module": "breakable", **act},
    }
    steps = [
        first or breaking,
        {
            "name": "block",
            "type": "action",
            "provider": {
                "type": "python",
                "module": "breakable",
                "func": "block",
                "arguments": {"s": BLOCK_S},
            },
        },
    ]
    look = {"type": "python", "module": "breakable", "func": probe}
    if probe == "is_whole":
        look["arguments"] = path  # type: ignore[assignment]
    definition = {
        "version": "1.0.0",
        "title": "bench",
        "description": "bench",
        "extensions": [
            {"name": "gameday", "timeout_s": 60, "watch": {"every_s": 0.2, "abort_after_s": 0.05}},
        ],
        "runtime": {"rollbacks": {"strategy": "always"}},
        "steady-state-hypothesis": {
            "title": "whole",
            "probes": [{"name": "whole", "type": "probe", "tolerance": True, "provider": look}],
        },
        "method": steps,
        "rollbacks": [{"name": "heal", "type": "action", "provider": {"type": "python", **heal}}],
    }
    file = folder / "experiment.json"
    file.write_text(json.dumps(definition))
    return file


def _start(folder: Path, *command: str) -> subprocess.Popen[bytes]:
    environ = {**os.environ, "PYTHONPATH": str(FAULTS), "GAMEDAY_HOME": str(folder / "home")}
    return subprocess.Popen(
        [sys.executable, "-m", *command],
        env=environ,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _until(holds: Callable[[], object], within_s: float = 30.0) -> float:
    """Return when *holds* came true, or the end of the wait."""
    deadline = time.monotonic() + within_s
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.0005)
    return time.monotonic()


def _lost(folder: Path) -> float:
    broken = folder / "broken"
    with _start(folder, "agent", "run", str(_experiment(folder, probe="is_whole"))):
        began = _until(broken.exists)
        return _until(lambda: not broken.exists()) - began


def _lost_under_chaos(folder: Path) -> float:
    broken = folder / "broken"
    file = str(_experiment(folder, probe="is_whole", plain=True))
    strategy = ["--hypothesis-strategy", "continuously", "--fail-fast", "--hypothesis-frequency", "0.2"]
    with _start(folder, "chaostoolkit", "--no-version-check", "run", *strategy, file):
        began = _until(broken.exists)
        return _until(lambda: not broken.exists()) - began


def _deaths(who: str, number: signal.Signals) -> list[float]:
    return [_death(Path(folder), who, number) for folder in _folders(ROUNDS)]


def _death(folder: Path, who: str, number: signal.Signals) -> float:
    broken = folder / "broken"
    parent = _start(folder, "agent", "run", str(_experiment(folder, probe="is_fine")))
    _until(broken.exists)
    _, child = _reaper(folder)
    time.sleep(0.3)  # let the run go on for a while: the fault has landed and is held
    began = time.monotonic()
    if who in ("child", "both"):
        os.killpg(child, number)
    if who in ("parent", "both"):
        os.killpg(parent.pid, number)
    gone = _until(lambda: not broken.exists(), NEVER_S) - began
    parent.kill()
    parent.wait()
    return gone


def _leases() -> list[float]:
    return [_lease(folder) for folder in _folders(LEASE_ROUNDS)]


def _lease(folder: str) -> float:
    """Return how long a cut outlives everybody who could lift it, the proxy's lease excepted."""
    home = Path(folder) / "home"
    home.mkdir()
    act = {"type": "python", "module": "agent.faults.links", "func": "partition"}
    cut = {"name": "cut", "type": "action", "provider": act | {"arguments": {"link": "echo"}}}
    with far_end("echo") as port, our_proxy({"echo": port}, str(home)) as side:
        file = _experiment(Path(folder), probe="is_fine", first=cut)
        with _start(Path(folder), "agent", "run", str(file)) as parent:
            _until(side.is_cut)
            time.sleep(1.0)  # its lease has been renewed
            reaper, child = _reaper(Path(folder))
            began = time.monotonic()
            reaper.kill()
            os.killpg(child, signal.SIGKILL)
            os.killpg(parent.pid, signal.SIGKILL)
            return _until(lambda: not side.is_cut(), NEVER_S) - began


def _without_lease() -> str:
    """Return when toxiproxy lifts a cut by itself."""
    with far_end("echo") as port, toxiproxy({"echo": port}) as side:
        if side is None:
            return "no toxiproxy here"
        side.cut()
        began = time.monotonic()
        ended = _until(lambda: not side.is_cut(), NEVER_S) - began
        return "never" if side.is_cut() else f"{ended:.3f}"


def _reaper(folder: Path) -> tuple[psutil.Process, int]:
    """Return the reaper of the run in *folder* and the pid of the process that plays, which it names."""
    home = str(folder / "home")
    while True:
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                words = process.cmdline()
                if "agent.safety.reaper" in words and home in words:
                    return process, int(words[words.index("--pid") + 1])
