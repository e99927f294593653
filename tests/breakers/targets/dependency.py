"""The healthy dependency: ``GET /item?key=K`` says a little JSON, fast, on connections that stay open.

``python dependency.py --listen HOST:PORT``.  A key that begins with ``missing`` is a 404; ``GET /health`` is
a 200.  One answer in eight takes ``--tail-ms``, all others ``--latency-ms``.  It never fails: faults are put
in front of it.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
from collections.abc import Iterator  # noqa: TC003  # beside the others, as the targets have it
from typing import override
from urllib.parse import parse_qs, urlsplit

import httptools
from child import Address, end_with_starter, parser

REASONS = {200: "OK", 404: "Not Found"}


def answer(target: str) -> bytes:
    """Return the whole response to ``GET`` *target*."""
    url = urlsplit(target)
    key = parse_qs(url.query).get("key", [""])[0]
    found = url.path == "/health" or (url.path == "/item" and not key.startswith("missing"))
    status = 200 if found else 404
    body = json.dumps({"key": key, "value": len(key)} if found else {"error": "not found"}).encode()
    head = f"HTTP/1.1 {status} {REASONS[status]}\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


class Connection(asyncio.Protocol):
    """One connection: each request is answered after its latency; on one connection they do not overlap."""

    def __init__(self, latencies_s: Iterator[float]) -> None:
        self._latencies_s = latencies_s
        self._parser = httptools.HttpRequestParser(self)
        self._target = b""

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    @override
    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.close()

    def on_url(self, url: bytes) -> None:
        """Collect the request's target, which may come in pieces."""
        self._target += url

    def on_message_complete(self) -> None:
        """Answer what has come in whole."""
        whole, self._target = answer(self._target.decode("latin-1")), b""
        if latency_s := next(self._latencies_s):
            asyncio.get_running_loop().call_later(latency_s, self._send, whole)
        else:
            self._send(whole)

    def _send(self, whole: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(whole)


async def serve(listen: Address, latency_s: float, tail_s: float) -> None:
    """Serve until SIGTERM."""
    latencies_s = itertools.cycle([latency_s] * 7 + [tail_s])
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    server = await loop.create_server(lambda: Connection(latencies_s), listen.host, listen.port, backlog=1024)
    await ended.wait()
    server.close()


def main() -> None:
    """Read the options and serve."""
    command = parser("dependency")
    command.add_argument("--latency-ms", type=float, default=0.0)
    command.add_argument("--tail-ms", type=float, help="as --latency-ms if left out")
    options = command.parse_args()
    tail_ms = options.latency_ms if options.tail_ms is None else options.tail_ms
    end_with_starter()
    asyncio.run(serve(options.listen, options.latency_ms / 1000, tail_ms / 1000))


if __name__ == "__main__":
    main()
