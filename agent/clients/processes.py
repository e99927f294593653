"""Processes that carry a name in their environment; the only module that imports psutil.

A process is named by ``GAMEDAY_PROCESS=<group>/<name>``; its children inherit the name, so a named
thing is its whole tree.  One that carries another ``GAMEDAY_HOME`` belongs to another agent.
"""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterable

NAME = "GAMEDAY_PROCESS"
HOME = "GAMEDAY_HOME"
_DEAD = (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """One live process of a named tree; ``create_time`` (seconds since the epoch) tells reused pids apart."""

    name: str
    pid: int
    create_time: float


def named(selector: str, *, home: Path) -> tuple[Named, ...]:
    """Return the live processes whose name matches the glob *selector*, sorted by name and pid.

    Left out: other agents' processes, this process and its ancestors, and what may not be read.
    """
    ours = {os.getpid(), *(each.pid for each in psutil.Process().parents())}
    found = []
    for process in psutil.process_iter():
        if process.pid in ours:
            continue
        with contextlib.suppress(psutil.Error, OSError):
            name = _name(process, home)
            if name and fnmatchcase(name, selector) and process.status() not in _DEAD:
                found.append(Named(name=name, pid=process.pid, create_time=process.create_time()))
    return tuple(sorted(found, key=lambda each: (each.name, each.pid)))


def _name(process: psutil.Process, home: Path) -> str | None:
    environ = process.environ()
    name, owner = environ.get(NAME), environ.get(HOME)
    if name is None or (owner and Path(owner) != home):
        return None
    return name


def created_at(pid: int) -> float | None:
    """Return when the process *pid* began, seconds since the epoch; None if it is dead or a zombie."""
    try:
        process = psutil.Process(pid)
        return None if process.status() in _DEAD else process.create_time()
    except psutil.Error:
        return None


def is_alive(process: Named) -> bool:
    """Whether that very process still lives."""
    return created_at(process.pid) == process.create_time


def is_stopped(process: Named) -> bool:
    """Whether that very process is stopped by a signal."""
    try:
        return is_alive(process) and psutil.Process(process.pid).status() == psutil.STATUS_STOPPED
    except psutil.Error:
        return False


def send(processes: Iterable[Named], signum: signal.Signals) -> None:
    """Send *signum* to each of *processes* that still lives, and to no other process with its pid.

    Raises:
        PermissionError: One of them belongs to somebody else.  The ones before it got the signal.
    """
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            _send(process, signum)


def _send(process: Named, signum: signal.Signals) -> None:
    if not hasattr(os, "pidfd_open"):
        if is_alive(process):
            os.kill(process.pid, signum)
        return
    # The descriptor pins the process: checked after it was opened, the pid cannot be reused any more.
    pinned = os.pidfd_open(process.pid)
    try:
        if is_alive(process):
            signal.pidfd_send_signal(pinned, signum)
    finally:
        os.close(pinned)
