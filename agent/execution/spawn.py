"""Processes forked from a server that has Chaos Toolkit imported already: 20 ms instead of 300."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agent.execution.engine import play
from agent.execution.watcher import watch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.context import ForkServerContext, ForkServerProcess
    from pathlib import Path

OUTPUT_MAX_BYTES = 1 << 20
READ_BYTES = 1 << 16


def fork_server() -> ForkServerContext:
    """Return the fork server, started at its first use with what every run imports."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["agent.execution.engine", "agent.execution.watcher", "agent.faults"])
    return context


@dataclass(slots=True)
class Output:
    """What a child prints: the first mebibyte goes to a file, the rest is counted and dropped."""

    source: Connection
    path: Path
    written: int = 0

    def drain(self) -> bool:
        """Take what is there; False when the child has closed it."""
        try:
            chunk = os.read(self.source.fileno(), READ_BYTES)
        except OSError:
            return False
        if chunk and self.written < OUTPUT_MAX_BYTES:
            with contextlib.suppress(OSError), self.path.open("ab") as file:
                file.write(chunk[: OUTPUT_MAX_BYTES - self.written])
        self.written += len(chunk)
        return bool(chunk)


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A running experiment and the parent's ends of its pipes."""

    process: ForkServerProcess
    messages: Connection
    output: Output
    lifeline: Connection

    def stop(self, *, grace_s: float = 1.0) -> None:
        """Ask the child to end (Chaos Toolkit rolls back), then end it and all it started."""
        pid = self.process.pid
        assert pid is not None
        if self.process.is_alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            self.process.join(grace_s)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)  # also what it left behind: it leads its own session
        self.process.join(5.0)

    def release(self) -> None:
        """Let the child, its traffic and its reaper end: the run is over."""
        for end in (self.lifeline, self.messages, self.output.source):
            with contextlib.suppress(OSError):
                end.close()


def start_child(
    definition: Mapping[str, Any], environ: Mapping[str, str], *, leashed: bool, folder: Path
) -> Child:
    """Start playing *definition*; its output goes to ``output.log`` in *folder*."""
    context = fork_server()
    messages, child_messages = context.Pipe(duplex=False)
    child_lifeline, lifeline = context.Pipe(duplex=False)
    output, child_output = context.Pipe(duplex=False)
    process = context.Process(
        target=play,
        args=(dict(definition), dict(environ)),
        kwargs={
            "messages": child_messages,
            "lifeline": child_lifeline,
            "output": child_output,
            "leashed": leashed,
        },
        daemon=True,
    )
    process.start()
    for end in (child_messages, child_lifeline, child_output):
        end.close()
    return Child(
        process=process,
        messages=messages,
        output=Output(output, folder / "output.log"),
        lifeline=lifeline,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Watcher:
    """A running watch and the parent's end of its pipe."""

    process: ForkServerProcess
    looks: Connection

    def look_now(self) -> None:
        """Have it look without waiting for its next turn."""
        with contextlib.suppress(OSError):
            self.looks.send(None)

    def stop(self) -> None:
        """End it at once: it holds nothing."""
        pid = self.process.pid
        assert pid is not None
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
        self.process.kill()
        self.process.join(5.0)
        self.looks.close()


def start_watch(
    definition: Mapping[str, Any],
    probes: Sequence[Mapping[str, Any]],
    environ: Mapping[str, str],
    *,
    every_s: float,
) -> Watcher:
    """Start looking at *probes*."""
    context = fork_server()
    looks, child_looks = context.Pipe()
    process = context.Process(
        target=watch,
        args=(dict(definition), list(probes), dict(environ)),
        kwargs={"every_s": every_s, "looks": child_looks},
        daemon=True,
    )
    process.start()
    child_looks.close()
    return Watcher(process=process, looks=looks)
