"""Serves one Starlette application on loopback until its lifeline ends."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import uvicorn

from agent.pipes import wait_for_end

if TYPE_CHECKING:
    import socket

    from starlette.applications import Starlette


def serve(app: Starlette, listener: socket.socket, *, lifeline_fd: int) -> None:
    """Serve *app* on *listener*; the end of the pipe *lifeline_fd* ends the process at once."""
    threading.Thread(target=_end_with, args=(lifeline_fd,), daemon=True).start()
    config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off")
    uvicorn.Server(config).run(sockets=[listener])


def _end_with(pipe: int) -> None:
    wait_for_end(pipe)
    os._exit(0)
