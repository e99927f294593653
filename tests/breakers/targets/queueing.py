"""A dependency with a capacity: one request at a time, the others wait in a queue, also those given up.

``python queueing.py --listen HOST:PORT --log FILE``.  What a client no longer waits for is worked on like
the rest, as by most servers; that is what makes a queue dangerous.  The length of the queue is written to
the log four times a second, as ``{"at": CLOCK_MONOTONIC, "queued": n}``.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, override

import httptools
from child import end_with_starter, parser

if TYPE_CHECKING:
    import argparse

LOG_EVERY_S = 0.25
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
FULL = b"HTTP/1.1 503 Full\r\ncontent-length: 0\r\n\r\n"


class Worker:
    """Works off the queue, each request in a fixed time or in one drawn from an exponential."""

    def __init__(self, *, capacity_rps: float, spread: str, queue_max: int, seed: int) -> None:
        self.queue: deque[Connection] = deque()
        self._takes_s, self._spread, self._max = 1 / capacity_rps, spread, queue_max
        self._dice = random.Random(seed)
        self._loop = asyncio.get_running_loop()
        self._free_at = 0.0

    def take(self, connection: Connection) -> None:
        """Queue a request, or turn it away at once when the queue is full."""
        if len(self.queue) >= self._max:
            connection.send(FULL)
            return
        self.queue.append(connection)
        if len(self.queue) == 1:
            self._free_at = self._loop.time()
            self._begin()

    def _begin(self) -> None:
        """Work on the first; by the clock, so that what the machine is late with is made up for."""
        takes_s = self._takes_s
        if self._spread == "exponential":
            takes_s = self._dice.expovariate(1 / takes_s)
        self._free_at += takes_s
        self._loop.call_at(self._free_at, self._end)

    def _end(self) -> None:
        self.queue.popleft().send(ANSWER)
        if self.queue:
            self._begin()


class Connection(asyncio.Protocol):
    """One connection, with one request at a time."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._parser = httptools.HttpRequestParser(self)

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

    def on_message_complete(self) -> None:
        """Queue what has come in whole."""
        self._worker.take(self)

    def send(self, whole: bytes) -> None:
        """Answer, if anybody is still there."""
        if not self._transport.is_closing():
            self._transport.write(whole)


async def serve(options: argparse.Namespace) -> None:
    """Serve until SIGTERM."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    worker = Worker(
        capacity_rps=options.capacity_rps,
        spread=options.spread,
        queue_max=options.queue_max,
        seed=options.seed,
    )
    listen = options.listen
    server = await loop.create_server(lambda: Connection(worker), listen.host, listen.port, backlog=4096)
    with options.log.open("a", buffering=1) as log:
        while not ended.is_set():
            log.write(json.dumps({"at": time.monotonic(), "queued": len(worker.queue)}) + "\n")
            with suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), LOG_EVERY_S)
    server.close()


def main() -> None:
    """Read the options and serve."""
    command = parser("queueing")
    command.add_argument("--log", required=True, type=Path, help="where the queue's length is written")
    command.add_argument("--capacity-rps", type=float, default=100.0)
    command.add_argument("--spread", choices=["fixed", "exponential"], default="fixed")
    command.add_argument("--queue-max", type=int, default=10_000)
    command.add_argument("--seed", type=int, default=0)
    options = command.parse_args()
    end_with_starter()
    asyncio.run(serve(options))


if __name__ == "__main__":
    main()
