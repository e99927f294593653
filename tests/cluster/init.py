"""What both kinds of first process in a PID namespace do: start, wait for, reap, and end with the pipe.

When a first process dies the kernel kills everything in its namespace, so nothing it started can be left.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

TICK_S = 0.02


class NotUp(Exception):
    """A part did not come up; the message names its log."""


@dataclass(slots=True)
class Init:
    """The first process of a namespace, and what it started."""

    logs: Path
    lifeline: bool = True
    """Whether the end of standard input is the end of everything here."""
    running: dict[int, str] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)
    """Parts that ended as they should: with success."""

    def start(
        self, name: str, words: Sequence[str], *, pass_fds: Sequence[int] = (), lifeline: bool = False
    ) -> int:
        """Start a part and return its pid; with *lifeline* it reads the pipe that this process reads."""
        with self.log(name).open("ab") as log:
            process = subprocess.Popen(
                words,
                stdin=None if lifeline else subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=pass_fds,
                cwd="/",
            )
        process.returncode = 0  # reaped below, with everybody else's children
        self.running[process.pid] = name
        return process.pid

    def log(self, name: str) -> Path:
        """Return the file that *name* writes to."""
        return self.logs / f"{name}.log"

    def until(self, holds: Callable[[], bool], *, part: str, within_s: float) -> None:
        """Wait for a part.

        Raises:
            NotUp: It died, or was not there in time.
        """
        deadline = time.monotonic() + within_s
        while not holds():
            if part in (dead := self.reap()):
                raise NotUp(f"{part} died; see {self.log(part)}")
            if dead:
                raise NotUp(f"{dead[0]} died while {part} was waited for; see {self.log(dead[0])}")
            if time.monotonic() > deadline:
                raise NotUp(f"{part} was not up after {within_s:g} s; see {self.log(part)}")
            if self.lifeline and _ended(sys.stdin.fileno(), TICK_S):
                raise NotUp("whoever started this is gone")
            time.sleep(0.0 if self.lifeline else TICK_S)

    def end(self, part: str, *, within_s: float) -> None:
        """Ask *part* to end, and wait until it has.

        Raises:
            NotUp: It did not, or not with success.
        """
        for pid in [pid for pid, name in self.running.items() if name == part]:
            os.kill(pid, signal.SIGTERM)
        self.until(lambda: part in self.done, part=part, within_s=within_s)

    def reap(self) -> list[str]:
        """Collect what ended, ours and orphans; return the names of parts that failed."""
        failed = []
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return failed
            if pid == 0:
                return failed
            name = self.running.pop(pid, None)
            if name is not None and status == 0:
                self.done.add(name)
            elif name is not None:
                failed.append(name)

    def serve(
        self, *, forgivable: Sequence[str] = (), again: Mapping[str, Callable[[], None]] | None = None
    ) -> str:
        """Reap until the pipe on standard input ends or a part dies; return why.

        Nothing comes of it when a *forgivable* part dies; one that is in *again* is started again by that.
        """
        again = again or {}
        woken, wake = os.pipe()
        os.set_blocking(wake, False)
        os.set_blocking(woken, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        poll = select.poll()
        poll.register(sys.stdin.fileno(), select.POLLIN | select.POLLHUP)
        poll.register(woken, select.POLLIN)
        while True:
            for name in self.reap():
                if name in again:
                    again[name]()
                elif name not in forgivable:
                    return f"{name} died; see {self.log(name)}"
            for descriptor, _ in poll.poll(1000):
                if descriptor == woken:
                    os.read(woken, 4096)
                elif not os.read(descriptor, 4096):
                    return ""


def _ended(pipe: int, within_s: float) -> bool:
    poll = select.poll()
    poll.register(pipe, select.POLLIN | select.POLLHUP)
    return bool(poll.poll(within_s * 1000)) and not os.read(pipe, 4096)


def command(*words: str, within_s: float = 10.0) -> None:
    """Run a short command that has to succeed.

    Raises:
        NotUp: It did not.
    """
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=within_s
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotUp(f"{' '.join(words)}: {error}") from error
    if done.returncode != 0:
        raise NotUp(f"{' '.join(words)}: {(done.stderr or done.stdout).strip()}")


def plug(inner: str, outer: str, *, into: int, bridge: str = "", address: str = "", alias: str = "") -> None:
    """Lay a wire from *inner*, here, to *outer* in the network namespace *into*, known there as *alias*.

    Raises:
        NotUp: It could not be laid, for example because *outer* is taken.
    """
    there = f"/proc/self/fd/{into}"
    os.set_inheritable(into, True)
    _passing(into, "ip", "link", "add", inner, "type", "veth", "peer", "name", outer, "netns", there)
    enter = ("nsenter", f"--net={there}", "ip")
    if bridge:
        _passing(into, *enter, "link", "set", outer, "master", bridge)
    if address:
        _passing(into, *enter, "address", "add", address, "dev", outer)
    if alias:
        _passing(into, *enter, "link", "set", outer, "alias", alias)
    _passing(into, *enter, "link", "set", outer, "up")


def _passing(descriptor: int, *words: str) -> None:
    done = subprocess.run(
        words,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=10.0,
        pass_fds=[descriptor],
    )
    if done.returncode != 0:
        raise NotUp(f"{' '.join(words)}: {done.stderr.strip()}")


def accepts(path: Path) -> bool:
    """Whether somebody listens on the Unix socket *path*."""
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(path))
        except OSError:
            return False
    return True


def set_sysctl(name: str, value: str) -> None:
    """Set a sysctl of this network namespace."""
    Path("/proc/sys", *name.split(".")).write_text(value)
