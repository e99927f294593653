"""A real proxy process, and servers to put behind it."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from agent.proxy.client import ProxyClient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Proxy:
    """A running proxy: its process, its home, and a client of its API."""

    process: subprocess.Popen[str]
    home: Path
    client: ProxyClient

    def link(self, upstream: int, name: str = "link") -> tuple[str, int]:
        """Open a link to *upstream* on loopback and return where it listens."""
        told = self.client.put_link(name, listen="127.0.0.1:0", upstream=f"127.0.0.1:{upstream}")
        host, _, port = told["listen"].rpartition(":")
        return host, int(port)

    def poison(self, kind: str, toxic: str = "t", link: str = "link", **fields: object) -> None:
        """Put a toxic on *link*, for half a minute unless *fields* say otherwise."""
        self.client.put_toxic(link, toxic, kind=kind, **{"lease_s": 30, "max_duration_s": 30, **fields})


@pytest.fixture
def proxy(home: Path) -> Iterator[Proxy]:
    """A proxy of the test's own."""
    home.mkdir()
    command = [sys.executable, "-m", "agent.proxy", "--home", str(home)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["api"]
        state = json.loads((home / "proxy.json").read_text())
        yield Proxy(process, home, ProxyClient(api=state["api"], token=state["token"]))
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        process.wait(10)


@pytest.fixture
def serve() -> Iterator[Callable[..., int]]:
    """Start a server on loopback that gives each connection to a function; returns its port."""
    listeners: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def start(talk: Callable[[socket.socket], None], port: int = 0) -> int:
        listener = socket.create_server(("127.0.0.1", port))
        listeners.append(listener)

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threads.append(threading.Thread(target=answer, args=(connection,)))
                threads[-1].start()

        def answer(connection: socket.socket) -> None:
            with connection, contextlib.suppress(OSError):
                connection.settimeout(20)
                talk(connection)

        threads.append(threading.Thread(target=accept))
        threads[-1].start()
        return int(listener.getsockname()[1])

    yield start
    for listener in listeners:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
    for thread in threads:
        thread.join(25)
