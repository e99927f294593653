"""A link: listens, connects each client to the upstream, and fails as its toxics say."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from agent.proxy.pair import Pair

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.proxy.arrivals import Arrivals
    from agent.proxy.pair import Dial
    from agent.proxy.toxic import Toxic

DRAIN_POLL_S = 0.01


class Link:
    """One listening address and the upstream behind it."""

    def __init__(
        self,
        name: str,
        listen: tuple[str, int],
        upstream: tuple[str, int],
        log: Arrivals,
        *,
        dial: Dial | None = None,
    ) -> None:
        """*dial* finds another upstream for each client than *upstream*."""
        self.name = name
        self.upstream = upstream
        self.dial: Dial = dial or self._dial
        self.arrivals = log
        self.toxics: dict[str, Toxic] = {}
        self.pairs: set[Pair] = set()
        self._listen = listen
        self._server: asyncio.Server | None = None
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._loop = asyncio.get_running_loop()

    @property
    def listen(self) -> str:
        """The address clients connect to, as ``host:port``."""
        return f"{self._listen[0]}:{self._listen[1]}"

    @property
    def fails_requests(self) -> bool:
        """Whether some request may have to be answered here."""
        return bool(self.toxics) and any(toxic.kind == "fail_requests" for toxic in self.toxics.values())

    async def open(self) -> None:
        """Listen; port 0 is settled at the first call and kept.

        Raises:
            OSError: The address cannot be had.
        """
        host, port = self._listen
        self._server = await self._loop.create_server(lambda: Pair(self), host, port, backlog=1024)
        self._listen = (host, self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop listening and drop every connection."""
        for toxic in list(self.toxics):
            await self.remove(toxic)
        if self._server:
            self._server.close()
        for pair in list(self.pairs):
            pair.abort()

    async def drain(self, within_s: float) -> int:
        """End every connection and return how many there were; nothing is held back any more.

        Those that wait for an answer get it if it comes *within_s*, the others end at once; what is still
        there then is reset.
        """
        ended = len(self.pairs)
        if self._server:
            self._server.close()
        deadline = self._loop.time() + within_s
        while self.pairs and self._loop.time() < deadline:
            for pair in list(self.pairs):
                pair.end_if_idle()
            await asyncio.sleep(DRAIN_POLL_S)
        await self.close()
        return ended

    async def _dial(self, _: asyncio.Transport, protocol: Callable[[], asyncio.Protocol]) -> object:
        return await self._loop.create_connection(protocol, *self.upstream)

    async def add(self, toxic: Toxic) -> None:
        """Put *toxic* on this link, now and until its lease ends."""
        self.toxics[toxic.id] = toxic
        self._watch_lease(toxic)
        if toxic.kind == "refuse" and self._server:
            self._server.close()
            self._server = None
            if toxic.fields["connections"] == "reset":
                toxic.dose.n += len(self.pairs)
                for pair in list(self.pairs):
                    pair.abort()
        for pair in list(self.pairs):
            pair.expose(toxic)

    async def remove(self, toxic: str) -> Toxic | None:
        """Take *toxic* off; None if it is not there."""
        gone = self.toxics.pop(toxic, None)
        if gone is None:
            return None
        self._timers.pop(toxic).cancel()
        for pair in list(self.pairs):
            pair.refresh()
        if gone.kind == "refuse" and not any(t.kind == "refuse" for t in self.toxics.values()):
            await self.open()
        return gone

    def renew(self, toxic: Toxic, lease_s: float) -> None:
        """Extend the lease of *toxic*."""
        toxic.renew(lease_s, now=self._loop.time())
        self._timers.pop(toxic.id).cancel()
        self._watch_lease(toxic)

    def _watch_lease(self, toxic: Toxic) -> None:
        self._timers[toxic.id] = self._loop.call_at(toxic.ends_at, self._lapse, toxic.id)

    def _lapse(self, toxic: str) -> None:
        self._loop.create_task(self.remove(toxic))

    def open_requests(self) -> list[dict[str, Any]]:
        """Return the requests that have no answer yet, as the arrival log will have them."""
        return [entry for pair in self.pairs for entry in pair.open_requests()]

    def to_json(self) -> dict[str, Any]:
        """Return what the API shows."""
        host, port = self.upstream
        now = self._loop.time()
        return {
            "name": self.name,
            "listen": self.listen,
            "upstream": f"{host}:{port}",
            "connections": len(self.pairs),
            "toxics": [toxic.to_json(now) for toxic in self.toxics.values()],
        }
