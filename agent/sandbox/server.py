"""Serves one Starlette application until its lifeline ends, or a signal says so."""

from __future__ import annotations

import os
import socket
import threading
from typing import TYPE_CHECKING

import uvicorn

from agent.pipes import wait_for_end

if TYPE_CHECKING:
    from starlette.applications import Starlette


def listener(listen: str) -> socket.socket:
    """Return a socket that listens on *listen*, ``HOST:PORT``."""
    host, _, port = listen.rpartition(":")
    return socket.create_server((host, int(port)))


def serve(app: Starlette, listener: socket.socket, *, lifeline_fd: int | None) -> None:
    """Serve *app* on *listener*; the end of the pipe *lifeline_fd* ends the process at once.

    Where there is none, as in a container, SIGTERM ends it in an orderly way.
    """
    if lifeline_fd is not None:
        threading.Thread(target=_end_with, args=(lifeline_fd,), daemon=True).start()
    config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off")
    uvicorn.Server(config).run(sockets=[listener])


def _end_with(pipe: int) -> None:
    wait_for_end(pipe)
    os._exit(0)
