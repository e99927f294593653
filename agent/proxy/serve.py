"""Brings the proxy up and takes it down: links, API, and the file that tells where the API is."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn

from agent.proxy.api import Links, address, application
from agent.proxy.arrivals import Arrivals

if TYPE_CHECKING:
    from collections.abc import Iterator

STATE = "proxy.json"
FLUSH_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the proxy is started with; *api* is ``host:port`` or ``unix:/path``."""

    home: Path
    api: str = "127.0.0.1:0"
    links: tuple[tuple[str, str, str], ...] = ()
    lifeline_fd: int | None = None


async def serve(options: Options) -> None:
    """Carry bytes until SIGTERM, SIGINT, SIGHUP, or the end of the lifeline."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    if options.lifeline_fd is not None:
        loop.add_reader(options.lifeline_fd, stop.set)  # nobody writes: readable means ended
    arrivals = Arrivals(options.home / "proxy")
    links = Links(arrivals)
    for name, listen, upstream in options.links:
        await links.put(name, listen, upstream)
    listener, where = _bind(options.api)
    token = None if where.startswith("unix:") else secrets.token_urlsafe(24)
    config = uvicorn.Config(application(links, token), log_level="warning", access_log=False, lifespan="off")
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started and not serving.done():  # noqa: ASYNC110  # see the next line
        await asyncio.sleep(0.005)  # uvicorn has no event for it
    _announce(options.home / STATE, where, token)
    flushing = asyncio.create_task(_flush(arrivals))
    await stop.wait()
    flushing.cancel()
    with contextlib.suppress(FileNotFoundError):
        (options.home / STATE).unlink()
    for link in links.by_name.values():
        await link.close()
    arrivals.close()
    server.should_exit = True
    await serving


class _Server(uvicorn.Server):
    """Leaves the signals to us, so that the state file is taken away before the end."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _bind(api: str) -> tuple[socket.socket, str]:
    if path := api.removeprefix("unix:") if api.startswith("unix:") else "":
        with contextlib.suppress(FileNotFoundError):
            Path(path).unlink()
        listener = socket.socket(socket.AF_UNIX)
        before = os.umask(0o177)
        try:
            listener.bind(path)
        finally:
            os.umask(before)
        return listener, api
    host, port = address(api)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    return listener, f"{host}:{listener.getsockname()[1]}"


def _announce(path: Path, where: str, token: str | None) -> None:
    """Write the state file whole, readable by its owner only, then say on stdout that we are ready."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.touch(mode=0o600)
    draft.write_text(json.dumps({"api": where, "token": token, "pid": os.getpid()}), encoding="utf-8")
    draft.replace(path)
    sys.stdout.write(json.dumps({"api": where}) + "\n")
    sys.stdout.flush()


async def _flush(arrivals: Arrivals) -> None:
    while True:
        await asyncio.sleep(FLUSH_S)
        await asyncio.to_thread(arrivals.write, arrivals.take_unwritten())  # a slow disk holds up no link
