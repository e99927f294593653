"""Far ends that cost little, on uvloop: ``answers`` (HTTP), ``echo``, ``sink``; each prints its port."""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import uvloop

HEAD_END = b"\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nok"


class _End(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)


class Answers(_End):
    """Answers each request head with one canned answer; counts the ends of heads, since a GET has no body."""

    def __init__(self) -> None:
        self._torn = b""

    def data_received(self, data: bytes) -> None:
        """Answer every head that is complete."""
        data = self._torn + data
        if heads := data.count(HEAD_END):
            self._transport.write(ANSWER * heads)
        self._torn = data[data.rfind(HEAD_END) + len(HEAD_END) :] if heads else data


class Echo(_End):
    """Sends back whatever comes."""

    def data_received(self, data: bytes) -> None:
        """Send it back."""
        self._transport.write(data)


class Sink(asyncio.BufferedProtocol):
    """Reads everything; the end of the connection is its only answer."""

    def __init__(self) -> None:
        self._place = bytearray(1 << 20)

    def get_buffer(self, _: int) -> bytearray:
        """Return the same place again and again."""
        return self._place

    def buffer_updated(self, _: int) -> None:
        """Forget it."""


async def serve(kind: type[asyncio.BaseProtocol]) -> None:
    """Serve until killed."""
    server = await asyncio.get_running_loop().create_server(kind, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve({"answers": Answers, "echo": Echo, "sink": Sink}[sys.argv[1]]))
