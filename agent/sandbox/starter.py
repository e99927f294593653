"""Brings a home's sandbox up and down from another process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agent import detached
from agent.clients.processes import Named, is_alive, send
from agent.sandbox import state
from agent.sandbox.supervisor import UP_WITHIN_S, NotUp

if TYPE_CHECKING:
    from pathlib import Path

GATEWAY_TIMEOUT_S = 0.2


@dataclass(slots=True)
class Sandbox:
    """A sandbox that this process started; it ends with this process unless it was detached."""

    state: dict[str, Any]
    lifeline: int | None

    def end(self) -> None:
        """Let it go; returns when nothing of it is left."""
        if self.lifeline is not None:
            os.close(self.lifeline)
            self.lifeline = None
        _await_end(self.state)


def up(home: Path, *, detach: bool = False, gateway_timeout_s: float = GATEWAY_TIMEOUT_S) -> Sandbox:
    """Start the sandbox of *home*, or return the one that runs.

    Raises:
        NotUp: A part of it did not come up; nothing is left of it.
    """
    if (running := state.read(home)) is not None:
        return Sandbox(running, None)
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    command = [sys.executable, "-m", "agent.sandbox", "--home", str(home)]
    command += ["--gateway-timeout-s", str(gateway_timeout_s)]
    theirs, ours = (None, None) if detach else os.pipe()
    if theirs is not None:
        command += ["--lifeline-fd", str(theirs)]
    log = home / "sandbox.log"
    with log.open("ab") as errors:
        kept = [] if theirs is None else [theirs]
        supervisor = detached.start(command, stdout=subprocess.PIPE, stderr=errors, pass_fds=kept)
    if theirs is not None:
        os.close(theirs)
    assert supervisor.stdout is not None
    ready = supervisor.stdout.readline()
    supervisor.stdout.close()
    running = state.read(home)
    if ready != b"ready\n" or running is None:
        raise NotUp(f"the sandbox did not come up; see {log}")
    return Sandbox(running, ours)


def down(home: Path) -> bool:
    """End the sandbox of *home*; False if none runs."""
    running = state.read(home)
    if running is None:
        return False
    send([_supervisor(running)], signal.SIGTERM)
    _await_end(running)
    return True


def _supervisor(running: dict[str, Any]) -> Named:
    who = running["supervisor"]
    return Named(name="sandbox", pid=who["pid"], create_time=who["created"])


def _await_end(running: dict[str, Any]) -> None:
    supervisor, deadline = _supervisor(running), time.monotonic() + UP_WITHIN_S
    while is_alive(supervisor) and time.monotonic() < deadline:
        time.sleep(0.02)
