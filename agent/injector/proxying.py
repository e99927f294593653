"""The fault proxy inside a pod: one link, whose upstream is wherever each client wanted to go."""

from __future__ import annotations

import asyncio
import socket
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop

from agent.injector.redirects import PROXY_MARK
from agent.injector.sockets import has_ipv6, original_destination
from agent.model import Unsupported, UsageError
from agent.proxy.arrivals import Arrivals
from agent.proxy.link import Link
from agent.proxy.pair import RESET
from agent.proxy.toxic import Dose, Toxic

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

ANSWERS_WITHIN_S = 3.0
DRAIN_S = 0.25
"""How long an answer that is under way may still take when the fault is healed."""
FORGET_WITHIN_S = 0.5
TOXIC = "in-pod"
EVERYBODY = {False: ("127.0.0.1", "::1"), True: ("0.0.0.0", "::")}  # noqa: S104  # what a peer opens arrives at the pod's address


class Proxy:
    """A link with a toxic from the beginning, or none, in a thread of its own; it ends with the process."""

    def __init__(self, toxic: dict[str, Any] | None, *, everywhere: bool) -> None:
        """*everywhere* listens on the pod's own addresses, too, where redirected peers arrive."""
        self._raw = toxic
        self._hosts = [EVERYBODY[everywhere][0], *([EVERYBODY[everywhere][1]] if has_ipv6() else [])]
        self._loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
        self._mine: set[int] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True, name="proxy")
        self._link: Link
        self._first = Dose()
        self._echo: tuple[str, int]
        self._arrivals = Arrivals(Path(tempfile.mkdtemp(prefix="gameday-")))
        self.port = 0

    def start(self) -> None:
        """Listen, with the toxic on the link already.

        Raises:
            UsageError: The toxic makes no sense.
            Unsupported: The proxy did not come up.
        """
        self._thread.start()
        self._call(self._start())

    async def _start(self) -> None:
        toxic = Toxic.parse(TOXIC, self._raw, now=self._loop.time()) if self._raw else None
        echo = await self._loop.create_server(_Echo, "127.0.0.1", 0)
        self._echo = echo.sockets[0].getsockname()[:2]
        self.port = _free_port(self._hosts)
        listen: Any = (self._hosts, self.port)
        self._link = Link("pod", listen, ("", 0), self._arrivals, dial=self._dial)
        await self._link.open()
        if toxic is not None:
            self._first = toxic.dose
            await self._link.add(toxic)

    async def _dial(self, client: asyncio.Transport, protocol: Callable[[], asyncio.Protocol]) -> object:
        """Connect to where *client* wanted to go, with the mark that is not redirected again."""
        raw: socket.socket = client.get_extra_info("socket")
        target = original_destination(raw)
        if client.get_extra_info("peername")[1] in self._mine:
            target = self._echo if target else None
        if target is None:
            raise ConnectionRefusedError("it was not redirected")
        family = socket.AF_INET6 if ":" in target[0] else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, PROXY_MARK)
            await self._loop.sock_connect(sock, target)
            return await self._loop.create_connection(protocol, sock=sock)
        except BaseException:
            sock.close()
            raise

    def own_round_trip_ms(self, address: str, port: int) -> float | None:
        """Return how long a byte of ours takes towards *address* and back; None if it went past the proxy.

        It goes to an echo in here, never to *address*, and counts as no dose.
        """
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.settimeout(ANSWERS_WITHIN_S)
            sock.bind(("", 0))
            self._mine.add(sock.getsockname()[1])
            try:
                sock.connect((address, port))
                began = time.monotonic()
                sock.sendall(b"\n")
                came = sock.recv(1)
            except OSError:
                return None
            took_ms = (time.monotonic() - began) * 1000
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self._call(self._forget())
        return took_ms if came == b"\n" else None

    async def _forget(self) -> None:
        """Wait until the connection of ours is gone, and count from here on."""
        deadline = self._loop.time() + FORGET_WITHIN_S
        while self._link.pairs and self._loop.time() < deadline:  # noqa: ASYNC110  # a link has no event for it
            await asyncio.sleep(0.005)
        if TOXIC in self._link.toxics:
            self._first = self._link.toxics[TOXIC].dose = Dose()

    def add(self, name: str, toxic: dict[str, Any]) -> None:
        """Put one more toxic on.

        Raises:
            UsageError: It makes no sense, or is on already.
        """

        async def add() -> None:
            if name in self._link.toxics:
                raise UsageError(f"toxic {name} is on already")
            await self._link.add(Toxic.parse(name, toxic, now=self._loop.time()))

        self._call(add())

    def take(self, name: str) -> dict[str, Any] | None:
        """Take a toxic off and return its dose and how long it ``lasted_s``; None if it is not there."""

        async def take() -> dict[str, Any] | None:
            gone = await self._link.remove(name)
            told = gone.to_json(self._loop.time()) if gone else None
            return told and {**told["dose"], "lasted_s": told["lasted_s"]}

        return self._call(take())

    def toxics(self) -> list[str]:
        """Return the names of the toxics that are on."""

        async def names() -> list[str]:
            return list(self._link.toxics)

        return self._call(names())

    def renew(self, lease_s: float) -> bool:
        """Give every toxic another *lease_s*; False if the one from the beginning is off already."""

        async def renew() -> bool:
            for toxic in list(self._link.toxics.values()):
                self._link.renew(toxic, lease_s)
            return not self._raw or TOXIC in self._link.toxics

        return self._call(renew())

    def arrivals(self, since: int, limit: int) -> tuple[list[dict[str, Any]], int]:
        """Return up to *limit* entries of the arrival log after *since*, and the number of the last one."""

        async def read() -> tuple[list[dict[str, Any]], int]:
            return self._arrivals.since(since, limit), self._arrivals.seq

        return self._call(read())

    def seen(self, since: int, limit: int) -> tuple[list[dict[str, Any]], int, list[dict[str, Any]]]:
        """Return up to *limit* entries after *since*, the last one's number, and requests without an answer.

        All of one moment: a request is in one of the two lists, never in both or in neither.
        """

        async def read() -> tuple[list[dict[str, Any]], int, list[dict[str, Any]]]:
            entries = self._arrivals.since(since, limit)
            return entries, entries[-1]["seq"] if entries else since, self._link.open_requests()

        return self._call(read())

    def end(self) -> tuple[dict[str, Any], int]:
        """Take toxics off, end every connection; return the first dose, and how many connections ended."""

        async def end() -> int:
            for name in list(self._link.toxics):
                await self._link.remove(name)
            return await self._link.drain(DRAIN_S)

        ended = self._call(end())
        return self._first.to_json(), ended

    def _call[T](self, work: Coroutine[Any, Any, T]) -> T:
        try:
            return asyncio.run_coroutine_threadsafe(work, self._loop).result(ANSWERS_WITHIN_S)
        except (TimeoutError, OSError) as error:
            raise Unsupported(f"the proxy in the pod did not do as it was told: {error!r}") from error


class _Echo(asyncio.Protocol):
    """Says what it hears."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(data)


def _free_port(hosts: list[str]) -> int:
    """Return a port that is free on all of *hosts*, as far as one can know."""
    with socket.socket(socket.AF_INET) as sock:
        sock.bind((hosts[0], 0))
        port: int = sock.getsockname()[1]
        return port
