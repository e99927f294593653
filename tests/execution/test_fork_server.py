"""The fork server is there while runs are, and not while an agent only waits."""

from __future__ import annotations

import os

import psutil

from agent.execution.spawn import fork_server_in_use, start_watch


def _servers() -> list[psutil.Process]:
    return [each for each in psutil.Process().children() if "forkserver" in " ".join(each.cmdline())]


def _look_once() -> float:
    watcher = start_watch({}, [], os.environ, every_s=60.0)
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
