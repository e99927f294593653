"""The fork server is there while runs are, and not while an agent only waits."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import psutil
import pytest

from agent.execution.spawn import fork_server_in_use, start_watch

if TYPE_CHECKING:
    from pathlib import Path

LEAVES_ONE_BEHIND = """
import os, time
if os.fork() == 0:
    os.setsid()
    with open("left.pid", "w") as file:
        file.write(str(os.getpid()))
    time.sleep(60)
    os._exit(0)
while not os.path.exists("left.pid") or not open("left.pid").read():
    time.sleep(0.01)
"""


def _servers() -> list[psutil.Process]:
    return [each for each in psutil.Process().children() if "forkserver" in " ".join(each.cmdline())]


def _look_once(*modules: str) -> float:
    probes = [
        {
            "type": "probe",
            "name": each,
            "tolerance": True,
            "provider": {"type": "python", "module": each, "func": "x"},
        }
        for each in modules
    ]
    watcher = start_watch({}, probes, os.environ, every_s=60.0)
    try:
        begun: float = watcher.looks.recv()
        return begun
    finally:
        watcher.stop()


def test_the_last_who_uses_the_fork_server_ends_it() -> None:
    """While another run goes on it stays."""
    with fork_server_in_use():
        with fork_server_in_use():
            assert _look_once()
        assert len(_servers()) == 1
    assert _servers() == []


def test_it_is_started_anew_for_the_next_run() -> None:
    """Whoever waited for it in between paid nothing."""
    for _ in range(2):
        with fork_server_in_use():
            assert _look_once()
            assert len(_servers()) == 1
        assert _servers() == []


@pytest.mark.timeout(30)
def test_what_a_run_left_behind_does_not_hold_up_the_agent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process of a session of its own has the server's pipe, which the server would wait for."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "leaves.py").write_text(LEAVES_ONE_BEHIND)
    with fork_server_in_use():
        assert _look_once("leaves")
    left = psutil.Process(int((tmp_path / "left.pid").read_text()))
    assert left.is_running()
    left.kill()
    assert _servers() == []
