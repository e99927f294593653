"""What the functions of modules take, asked of a short-lived process that imports them."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

IMPORT_LIMIT_S = 20.0
"""How long one import may take; the slowest client library seen needed 1.7 s."""
FILE_LIMIT_S = 40.0
"""How long all imports of one experiment may take together."""
_ANSWER_BYTES_MAX = 8 << 20
_REMEMBERED_MAX = 1_000
_remembered: dict[tuple[str, tuple[str, ...]], Module] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """A module's functions (None: it does not tell what it takes), or why it cannot be imported."""

    name: str
    functions: Mapping[str, Mapping[str, Any] | None] = field(default_factory=dict)
    error: str = ""
    siblings: tuple[str, ...] = ()
    file: str = ""
    mtime_ns: int = 0

    @property
    def current(self) -> bool:
        """Whether the module's file is still the one that was imported."""
        try:
            return not self.file or os.stat(self.file).st_mtime_ns == self.mtime_ns  # noqa: PTH116 - hot path
        except OSError:
            return False


type Modules = Callable[[Collection[str]], Mapping[str, Module]]
"""From the names of modules to what is known about each."""


def modules(names: Collection[str]) -> dict[str, Module]:
    """Return what is known about the modules *names*; each is imported once and remembered."""
    path = tuple(sys.path)
    found = {name: _remembered[name, path] for name in names if (name, path) in _remembered}
    found = {name: module for name, module in found.items() if module.current}
    for module in ask([name for name in names if name not in found]):
        found[module.name] = module
        if not module.error and len(_remembered) < _REMEMBERED_MAX:
            _remembered[module.name, path] = module
    return found


def ask(
    names: Collection[str], *, import_limit_s: float = IMPORT_LIMIT_S, limit_s: float = FILE_LIMIT_S
) -> Iterator[Module]:
    """Import the modules *names* in a process of their own and yield what was found.

    A module that hangs, or ends the process, costs at most *import_limit_s*; the next one gets a
    process of its own.  After *limit_s* in all the rest is not looked at.
    """
    waiting, end = sorted(set(names)), time.monotonic() + limit_s
    while waiting:
        if time.monotonic() > end:
            yield from (Module(name=name, error="the modules before it took too long") for name in waiting)
            return
        for answer in _answers(waiting, import_limit_s):
            yield _module(answer)
            waiting.remove(answer["module"])
        if waiting:
            error = f"its import ended the process or took longer than {import_limit_s:g} s"
            yield Module(name=waiting.pop(0), error=error)


def _module(answer: dict[str, Any]) -> Module:
    return Module(
        name=answer["module"],
        functions=answer.get("functions", {}),
        error=answer.get("error", ""),
        siblings=tuple(answer.get("siblings", ())),
        file=answer.get("file", ""),
        mtime_ns=answer.get("mtime_ns", 0),
    )


def _answers(names: list[str], import_limit_s: float) -> Iterator[dict[str, Any]]:
    """Yield one answer after the other until the process is done, gone, or too slow."""
    request = json.dumps({"path": sys.path, "modules": names}).encode()
    process = subprocess.Popen(
        [sys.executable, "-m", "agent.catalog.importable"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        try:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(request)
                process.stdin.close()
            for line in _lines(process.stdout.fileno(), len(names), import_limit_s):
                yield json.loads(line)
        finally:
            _end(process)


def _lines(fd: int, count: int, limit_s: float) -> Iterator[bytes]:
    """Yield *count* lines from *fd*, each within *limit_s*; fewer if they stop coming."""
    buffer, size = b"", 0
    for _ in range(count):
        end = time.monotonic() + limit_s
        while b"\n" not in buffer:
            ready, _, _ = select.select([fd], [], [], max(0.0, end - time.monotonic()))
            chunk = os.read(fd, 65_536) if ready else b""
            size += len(chunk)
            if not chunk or size > _ANSWER_BYTES_MAX:
                return
            buffer += chunk
        line, _, buffer = buffer.partition(b"\n")
        yield line


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process and everything it started that stayed in its group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
