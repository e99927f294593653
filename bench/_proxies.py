"""Our proxy and toxiproxy behind the same few calls.

toxiproxy is found as ``TOXIPROXY``, on PATH, or in Go's bin folder
(``go install github.com/Shopify/toxiproxy/v2/cmd/server@v2.5.0`` and ``mv server toxiproxy-server``).
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.proxy.client import ProxyClient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass(frozen=True, slots=True)
class Side:
    """One proxy with a link to each end, and ways to delay or cut the one to the echo."""

    ports: dict[str, int]
    delay: Callable[[float], contextlib.AbstractContextManager[None]]
    cut: Callable[[], None] = lambda: None
    is_cut: Callable[[], bool] = lambda: False


@contextlib.contextmanager
def our_proxy(ends: dict[str, int], home: str | None = None) -> Iterator[Side]:
    """Start ours, in *home* or in a folder of its own."""
    with contextlib.nullcontext(home) if home else tempfile.TemporaryDirectory() as folder:
        links = [f"--link={kind}=127.0.0.1:0->127.0.0.1:{port}" for kind, port in ends.items()]
        command = [sys.executable, "-m", "agent.proxy", "--home", folder, *links]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            state = json.loads((Path(folder) / "proxy.json").read_text())
            client = ProxyClient(api=state["api"], token=state["token"])
            ports = {link["name"]: int(link["listen"].rpartition(":")[2]) for link in client.links()}

            @contextlib.contextmanager
            def delay(latency_ms: float) -> Iterator[None]:
                fields = {"kind": "delay", "latency_ms": latency_ms, "direction": "downstream"}
                client.put_toxic("echo", "bench", **fields, lease_s=60, max_duration_s=60)
                yield
                client.delete_toxic("echo", "bench")

            try:
                yield Side(ports, delay, is_cut=lambda: bool(_toxics(client)))
            finally:
                process.terminate()


@contextlib.contextmanager
def toxiproxy(ends: dict[str, int]) -> Iterator[Side | None]:
    """Start toxiproxy; None where there is none."""
    program = os.environ.get("TOXIPROXY") or shutil.which(
        "toxiproxy-server", path=f"{os.environ['PATH']}:{Path.home()}/go/bin"
    )
    if program is None:
        yield None
        return
    port = _free_port()
    quiet = subprocess.DEVNULL
    with subprocess.Popen([program, "-port", str(port)], stdout=quiet, stderr=quiet) as process:
        try:
            ports = {}
            for kind, upstream in ends.items():
                body = {"name": kind, "listen": "127.0.0.1:0", "upstream": f"127.0.0.1:{upstream}"}
                ports[kind] = int(_post(port, "/proxies", body)["listen"].rpartition(":")[2])

            @contextlib.contextmanager
            def delay(latency_ms: float) -> Iterator[None]:
                toxic = {"name": "bench", "type": "latency", "attributes": {"latency": int(latency_ms)}}
                _post(port, "/proxies/echo/toxics", toxic)
                yield
                _post(port, "/proxies/echo/toxics/bench", None)

            def cut() -> None:
                toxic = {"name": "cut", "type": "timeout", "attributes": {"timeout": 0}}
                _post(port, "/proxies/echo/toxics", toxic)

            def is_cut() -> bool:
                with urllib.request.urlopen(
                    f"http://127.0.0.1:{port}/proxies/echo/toxics", timeout=5
                ) as answer:
                    return bool(json.loads(answer.read()))

            yield Side(ports, delay, cut, is_cut)
        finally:
            process.kill()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _post(port: int, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
    """Post *body*, or delete when there is none; wait for the server's start."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data)  # our own server
    request.method = "DELETE" if body is None else "POST"
    for _ in range(100):
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
                return dict(json.loads(answer.read() or b"{}"))
        except (ConnectionRefusedError, urllib.error.URLError):
            time.sleep(0.05)
    raise RuntimeError("toxiproxy did not start")


def _toxics(client: ProxyClient) -> list[Any]:
    return [toxic for link in client.links() for toxic in link["toxics"]]
