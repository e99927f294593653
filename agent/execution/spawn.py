"""Processes forked from a server that has Chaos Toolkit imported already: 20 ms instead of 300."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from dataclasses import dataclass, field
from multiprocessing import forkserver
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.context import ForkServerContext, ForkServerProcess
    from pathlib import Path

OUTPUT_MAX_BYTES = 1 << 20
READ_BYTES = 1 << 16
LINE_MAX_BYTES = 1 << 16
"""What is kept back of a line without end; a secret is shorter."""


def fork_server() -> ForkServerContext:
    """Return the fork server, started at its first use with what every run imports."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["agent.execution.engine", "agent.execution.watcher", "agent.faults"])
    return context


@dataclass(slots=True)
class _Users:
    """How many runs there are that may need the fork server."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    count: int = 0


_users = _Users()


@contextlib.contextmanager
def fork_server_in_use() -> Iterator[None]:
    """Say that a run may need the fork server; when the last one is over, it is ended.

    For a process that mostly waits: the server is 27 MB, and a third of a second to start anew.
    """
    with _users.lock:
        _users.count += 1
    try:
        yield
    finally:
        with _users.lock:
            _users.count -= 1
            if not _users.count:
                _end_fork_server()


def _end_fork_server() -> None:
    """End it, and not only ask it to: what a run left behind holds its pipe, and it would wait for that."""
    # multiprocessing has no public way; where these are gone, the server stays, which only costs memory.
    server = forkserver._forkserver  # noqa: SLF001
    pid, stop = getattr(server, "_forkserver_pid", None), getattr(server, "_stop", None)
    if pid is not None and stop is not None:
        os.kill(pid, signal.SIGKILL)  # our own child, not waited for yet: the number is still its
        stop()


@dataclass(slots=True)
class Output:
    """What a child prints: the first mebibyte goes to a file, secrets blacked out; the rest is dropped."""

    source: Connection
    path: Path
    conceal: Callable[[str], str]
    taken: int = 0
    _rest: bytes = b""

    def drain(self) -> bool:
        """Take what is there; False when the child has closed it."""
        try:
            chunk = os.read(self.source.fileno(), READ_BYTES)
        except OSError:
            return False
        if self.taken < OUTPUT_MAX_BYTES:
            self._keep(chunk)
        self.taken += len(chunk)
        return bool(chunk)

    def close(self) -> None:
        """Take what is still there, without waiting for more."""
        with contextlib.suppress(OSError):
            while self.source.poll() and self.drain():
                pass
            self._keep(b"")
            self.source.close()

    def _keep(self, chunk: bytes) -> None:
        """Write whole lines, since a secret that is cut in two is not found; an empty chunk is the end."""
        text = self._rest + chunk
        end = len(text) if not chunk else text.rfind(b"\n") + 1 or max(0, len(text) - LINE_MAX_BYTES)
        self._rest = text[end:]
        if end:
            with contextlib.suppress(OSError), self.path.open("a", encoding="utf-8") as file:
                file.write(self.conceal(text[:end].decode(errors="replace")))


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
        self.output.close()
        for end in (self.lifeline, self.messages):
            with contextlib.suppress(OSError):
                end.close()


def start_child(
    definition: Mapping[str, Any],
    environ: Mapping[str, str],
    *,
    leashed: bool,
    folder: Path,
    conceal: Callable[[str], str],
) -> Child:
    """Start playing *definition*; its output goes to ``output.log`` in *folder*, through *conceal*."""
    context = fork_server()
    messages, child_messages = context.Pipe(duplex=False)
    child_lifeline, lifeline = context.Pipe(duplex=False)
    output, child_output = context.Pipe(duplex=False)
    process = context.Process(
        target=_play,
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
        output=Output(output, folder / "output.log", conceal),
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


def _play(*order: Any, **pipes: Any) -> None:
    """Become the child; the engine is imported there only, where the fork server has it already."""
    from agent.execution.engine import play  # noqa: PLC0415

    play(*order, **pipes)


def _watch(*order: Any, **pipes: Any) -> None:
    """Become the watch; see :func:`_play`."""
    from agent.execution.watcher import watch  # noqa: PLC0415

    watch(*order, **pipes)


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
        target=_watch,
        args=(dict(definition), list(probes), dict(environ)),
        kwargs={"every_s": every_s, "looks": child_looks},
        daemon=True,
    )
    process.start()
    child_looks.close()
    return Watcher(process=process, looks=looks)
