"""A target that costs little: one canned answer for each request head, on uvloop; prints its port."""

from __future__ import annotations

import asyncio
from typing import cast

import uvloop

HEAD_END = b"\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nok"


class Answers(asyncio.Protocol):
    """Counts the ends of heads, since a GET has no body."""

    def __init__(self) -> None:
        self._torn = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Answer every head that is complete."""
        data = self._torn + data
        if heads := data.count(HEAD_END):
            self._transport.write(ANSWER * heads)
        self._torn = data[data.rfind(HEAD_END) + len(HEAD_END) :] if heads else data


async def serve() -> None:
    """Serve until killed."""
    server = await asyncio.get_running_loop().create_server(Answers, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve())
