"""Named processes: who is hit, who is not, and how they come back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from agent.clients.processes import Named, created_at, is_alive, is_stopped, named, send
from agent.faults import heal, processes
from agent.model import NoTargets, RadiusExceeded
from agent.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SLEEPER = [sys.executable, "-c", "import sys; sys.stdin.read()"]


@pytest.fixture
def start(home: Path, until: Callable[..., Any]) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start a process with a name."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(name: str, owner: Path | None = home) -> subprocess.Popen[bytes]:
        environ = {**os.environ, "GAMEDAY_PROCESS": name}
        environ.pop("GAMEDAY_HOME")
        if owner:
            environ["GAMEDAY_HOME"] = str(owner)
        process = subprocess.Popen(SLEEPER, env=environ, stdin=subprocess.PIPE)
        started.append(process)
        # The kernel shows a new process's environment a moment after Popen returns.
        until(lambda: psutil.Process(process.pid).environ().get("GAMEDAY_PROCESS") == name)
        return process

    yield begin
    for process in started:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.communicate()


def test_a_name_selects_ours_and_nobodys_but_not_another_agents(
    home: Path, tmp_path: Path, start: Callable[..., Any], until: Callable[..., Any]
) -> None:
    """GAMEDAY_HOME in a process's environment says whose it is."""
    ours, free, _ = start("app/one"), start("app/two", None), start("app/three", tmp_path / "other")
    assert until(lambda: {p.pid for p in named("app/*", home=home)} == {ours.pid, free.pid})


def test_a_signal_never_reaches_another_process_with_the_same_pid(start: Callable[..., Any]) -> None:
    """The start time is checked: pids are reused."""
    process = start("app/one")
    created = created_at(process.pid)
    assert created is not None
    send([Named(name="app/one", pid=process.pid, create_time=created - 1)], signal.SIGKILL)
    assert is_alive(Named(name="app/one", pid=process.pid, create_time=created))


def test_pause_stops_and_heal_continues(home: Path, start: Callable[..., Any]) -> None:
    """SIGSTOP lands, is seen, and is gone again, with the dose in the ledger."""
    process = start("app/one")
    told = processes.pause(selector="app/*", quantity=1)
    victim = Named(name="app/one", pid=process.pid, create_time=created_at(process.pid) or 0)
    assert told["landed"] is True
    assert is_stopped(victim)
    assert heal() == {"healed": ["processes.pause"]}
    assert not is_stopped(victim)
    store = Store(home)
    (injection,) = store.injections()
    store.close()
    assert injection.gone
    assert injection.missed is None


def test_a_paused_process_goes_on_by_itself_at_the_hard_end(
    start: Callable[..., Any], until: Callable[..., Any]
) -> None:
    """The timer does it when nobody else is left to."""
    process = start("app/one")
    processes.pause(selector="app/one", quantity=1, max_duration_s=0.5)
    victim = Named(name="app/one", pid=process.pid, create_time=created_at(process.pid) or 0)
    until(lambda: not is_stopped(victim))
    heal()


def test_kill_with_restart_brings_exactly_one_back(home: Path, start: Callable[..., Any]) -> None:
    """Nobody supervises it, so the undo starts it again, once."""
    process = start("app/one")
    processes.kill(selector="app/one", quantity=1, restart=["sleep", "60"])
    assert process.wait(5) == -signal.SIGKILL
    assert heal() == {"healed": ["processes.kill"]}
    assert heal() == {"healed": []}
    back = named("app/one", home=home)
    assert len(back) == 1
    send(back, signal.SIGKILL)


def test_more_victims_than_the_radius_are_refused_and_live(start: Callable[..., Any]) -> None:
    """One is allowed by default."""
    both = [start("app/one"), start("app/two")]
    with pytest.raises(RadiusExceeded):
        processes.kill(selector="app/*", quantity=2)
    assert all(process.poll() is None for process in both)


def test_nothing_that_matches_is_a_refusal() -> None:
    """And nothing was touched."""
    with pytest.raises(NoTargets, match="nobody/here"):
        processes.kill(selector="nobody/here", quantity=1)
