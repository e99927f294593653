"""Keeps a foreign server as the only child of a target's process, and ends it when that is asked to end."""

from __future__ import annotations

import asyncio
import ctypes
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from child import end_with_starter

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Awaitable, Callable, Sequence

PR_SET_PDEATHSIG = 1


async def keep(command: Sequence[str], watch: Callable[[Process], Awaitable[None]], *, piped: bool) -> int:
    """Run *command* and *watch* it until it ends, SIGTERM comes, or the starter is gone.

    Args:
        command: The server's command line; it stays in the foreground.
        watch: Follows what the server writes; cancelled when the server has ended.
        piped: Whether the server's output is *watch*'s to read; if not, it is ours.

    Returns:
        0 when it was asked to end, else the exit code of the server.
    """
    pipe = asyncio.subprocess.PIPE if piped else None
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=pipe,
        stderr=pipe,
        preexec_fn=_die_with_parent,  # no thread runs yet
    )
    loop = asyncio.get_running_loop()
    asked = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, asked.set)
    end_with_starter(lambda: loop.call_soon_threadsafe(asked.set))
    tasks = [asyncio.ensure_future(each) for each in (watch(process), process.wait(), asked.wait())]
    await asyncio.wait(tasks[1:], return_when=asyncio.FIRST_COMPLETED)
    with suppress(ProcessLookupError):
        process.terminate()
    code = await process.wait()
    tasks[0].cancel()
    await asyncio.wait(tasks[:1])
    return 0 if asked.is_set() else code


def _die_with_parent() -> None:
    """Have the kernel end this process with its parent, were that one killed; elsewhere the pipe must do."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
