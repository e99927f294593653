"""A client and its connection to the upstream: what is said is carried, logged, and spoilt as toxics say."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol, cast

from agent.proxy import entries as entry
from agent.proxy.flow import Flow
from agent.proxy.http import SWITCHED, Head, Piece, Requests, Responses

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from agent.proxy.arrivals import Arrivals
    from agent.proxy.toxic import Toxic

type Dial = Callable[[asyncio.Transport, Callable[[], asyncio.Protocol]], Awaitable[object]]
"""Connects a protocol to where the client of a transport wants to go; raises OSError."""

CONNECT_WITHIN_S = 10.0
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER with a time of 0: close sends RST instead of FIN."""


class Lent(Protocol):
    """What a pair needs of its link."""

    name: str
    dial: Dial
    arrivals: Arrivals
    toxics: dict[str, Toxic]
    pairs: set[Pair]

    @property
    def fails_requests(self) -> bool:
        """Whether some request may have to be answered here."""


class Pair(asyncio.Protocol):
    """A client and its connection to the upstream; this is the client's side."""

    def __init__(self, link: Lent) -> None:
        self._link = link
        self._mine: list[Toxic] = []
        self._ids: list[str] = []
        self._peer = ""
        self._up, self._down = Flow("upstream", self._half_ended), Flow("downstream", self._half_ended)
        self._client: asyncio.Transport | None = None
        self._requests, self._responses = Requests(), Responses(self._complete)
        self._open: deque[tuple[Head, float, float]] = deque()
        self._waiting: deque[Piece] = deque()
        self._said_all = False
        self._loop = asyncio.get_running_loop()

    # the client's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connect to the upstream; what the client says meanwhile is kept."""
        transport = cast("asyncio.Transport", transport)  # uvloop's is one by shape only
        self._client = self._up.source = self._down.sink = transport
        self._link.pairs.add(self)
        peer = transport.get_extra_info("peername")
        self._peer = f"{peer[0]}:{peer[1]}" if peer else ""
        self._link.arrivals.add(entry.connection, self._link.name, self._peer, time.time(), time.monotonic())
        for toxic in list(self._link.toxics.values()):
            self.expose(toxic)
        self._loop.create_task(self._connect(transport))

    async def _connect(self, client: asyncio.Transport) -> None:
        try:
            async with asyncio.timeout(CONNECT_WITHIN_S):
                await self._link.dial(client, lambda: _Upstream(self))
        except (OSError, TimeoutError):
            self.abort()

    def data_received(self, data: bytes) -> None:
        """Carry what the client says."""
        if self._requests.opaque and not self._waiting:
            self._up.write(data)
            return
        pieces = self._requests.feed(data)
        if any(toxic.kind == "reset" for toxic in self._mine):
            self._reset_requested(pieces)
            return
        if self._waiting or self._link.fails_requests:
            self._waiting.extend(pieces)
            self._pass_on()
            return
        for piece, head in pieces:
            if head is not None:
                self._begin(head)
            self._up.write(piece)

    def eof_received(self) -> bool:
        """Carry the client's half-close; its other half stays open."""
        if rest := self._requests.rest():
            self._waiting.append(Piece(rest))
            self._pass_on()
        self._said_all = True
        self._end_if_all_is_passed_on()
        return True

    def pause_writing(self) -> None:
        """The client reads too slowly: stop the upstream."""
        self._down.sink_full(full=True)

    def resume_writing(self) -> None:
        """The client reads again."""
        self._down.sink_full(full=False)

    def connection_lost(self, error: Exception | None) -> None:
        """End the upstream's side too."""
        self._link.pairs.discard(self)
        while self._open:
            self._tell(*self._open.popleft(), status=None)
        self._up.close()
        self._down.close()
        self._close(self._up.sink, error)

    # the upstream's side

    def upstream_made(self, transport: asyncio.Transport) -> None:
        """Start carrying."""
        self._down.source = transport
        if self._client is None or self._client.is_closing():
            transport.abort()
        else:
            self._up.attach(transport)

    def upstream_data(self, data: bytes) -> None:
        """Carry what the upstream says."""
        if not self._responses.opaque and not self._requests.opaque:
            self._responses.feed(data)
        self._down.write(data)
        if self._waiting and not self._open:
            self._pass_on()

    def upstream_eof(self) -> None:
        """Carry the upstream's half-close."""
        self._down.write_eof()

    def upstream_full(self, *, full: bool) -> None:
        """Follow the upstream's pressure."""
        self._up.sink_full(full=full)

    def upstream_lost(self, error: Exception | None) -> None:
        """End the client's side too, after what is still on its way."""
        if error is None and not self._down.is_empty:
            return  # the held bytes, then the end, go to the client when they are due
        self._close(self._client, error)

    # requests

    def _pass_on(self) -> None:
        """Send pieces on in order; a request that must fail waits for the answers ahead of it."""
        while self._waiting:
            piece = self._waiting[0]
            failing = self._failing(piece.head) if piece.head else None
            if failing and self._open:
                return
            self._waiting.popleft()
            if failing and piece.head:
                self._fail(piece.head, failing)
                continue
            if piece.head:
                self._begin(piece.head)
            self._up.write(piece.data)
        self._end_if_all_is_passed_on()

    def _end_if_all_is_passed_on(self) -> None:
        """Carry the client's half-close, behind every request that still waits."""
        if self._said_all and not self._waiting:
            self._said_all = False
            self._up.write_eof()

    def _half_ended(self) -> None:
        """Let go of both sides once each has said all: no transport does that by itself."""
        if self._up.has_ended and self._down.has_ended:
            for transport in (self._client, self._up.sink):
                self._close(transport, None)

    def _failing(self, head: Head) -> Toxic | None:
        for toxic in self._link.toxics.values():
            if toxic.kind == "fail_requests" and toxic.matches(head.path, head.raw) and toxic.hits():
                return toxic
        return None

    def _fail(self, head: Head, toxic: Toxic) -> None:
        """Answer in the upstream's place; a body of the request is not carried, so the connection ends."""
        status = int(toxic.fields["status"])
        toxic.dose.n += 1
        ending = "connection: close\r\n" if head.has_body else ""
        answer = (
            f"HTTP/1.1 {status} Injected\r\ncontent-length: 0\r\nx-gameday-fault: {toxic.id}\r\n{ending}\r\n"
        )
        self._tell(head, time.time(), time.monotonic(), status=status, failed_by=toxic.id)
        self._down.write(answer.encode())
        if head.has_body:
            self._waiting.clear()
            self._down.write_eof()

    def _reset_requested(self, pieces: list[Piece]) -> None:
        """Note what was asked, and reset instead of carrying it."""
        for piece in pieces:
            if piece.head is not None:
                self._begin(piece.head)
        for toxic in self._mine:
            toxic.dose.n += toxic.kind == "reset"
        self.abort()

    def _begin(self, head: Head) -> None:
        self._open.append((head, time.time(), time.monotonic()))

    def open_requests(self) -> list[dict[str, Any]]:
        """Return what was asked here and not answered yet."""
        now, link = time.monotonic(), self._link.name
        return [
            entry.request(0, link, self._peer, head, at, since, now - since, None, None, self._ids)
            for head, at, since in self._open
        ]

    def _complete(self, status: int) -> None:
        if self._open:
            self._tell(*self._open.popleft(), status=status)
        if status == SWITCHED and (kept := self._requests.give_up()):
            self._up.write(kept)

    def _tell(
        self, head: Head, at: float, monotonic_at: float, *, status: int | None, failed_by: str | None = None
    ) -> None:
        """Log one request; the status is None when no answer came."""
        took_s, link = time.monotonic() - monotonic_at, self._link
        link.arrivals.add(
            entry.request,
            link.name,
            self._peer,
            head,
            at,
            monotonic_at,
            took_s,
            status,
            failed_by,
            self._ids,
        )

    # toxics

    def expose(self, toxic: Toxic) -> None:
        """Let *toxic* throw its dice for this connection."""
        if toxic.kind == "fail_requests" or not toxic.hits():
            return
        self._mine.append(toxic)
        if toxic.kind == "reset" and toxic.fields["on"] == "connect":
            toxic.dose.n += 1
            self._loop.call_soon(self.abort)
        elif toxic.kind == "partition":
            toxic.dose.n += 1
        self.refresh()

    def refresh(self) -> None:
        """Take over what has changed on the link."""
        self._mine = [toxic for toxic in self._mine if toxic.id in self._link.toxics]
        self._ids = [toxic.id for toxic in self._mine]
        for flow in (self._up, self._down):
            flow.set_toxics([toxic for toxic in self._mine if toxic.covers(flow.direction)])

    def end_if_idle(self) -> None:
        """End both sides in good order if nobody waits for anything here; of what is no HTTP nobody knows."""
        speaks_http = not (self._requests.opaque or self._responses.opaque)
        if speaks_http and not self._open and not self._waiting and self._up.is_empty and self._down.is_empty:
            for transport in (self._client, self._up.sink):
                self._close(transport, None)

    def abort(self) -> None:
        """End both sides with a reset."""
        for transport in (self._client, self._up.sink):
            self._close(transport, ConnectionResetError())

    def _close(self, transport: asyncio.Transport | None, error: Exception | None) -> None:
        if transport is None:
            return
        if error is None:
            transport.close()
            return
        raw: socket.socket | None = transport.get_extra_info("socket")
        if raw is not None and not transport.is_closing():
            with contextlib.suppress(OSError):
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        transport.abort()


class _Upstream(asyncio.Protocol):
    """The upstream's side of a :class:`Pair`."""

    def __init__(self, pair: Pair) -> None:
        self._pair = pair

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast("asyncio.Transport", transport)  # uvloop's is one by shape only
        self._pair.upstream_made(transport)

    def data_received(self, data: bytes) -> None:
        self._pair.upstream_data(data)

    def eof_received(self) -> bool:
        self._pair.upstream_eof()
        return True

    def pause_writing(self) -> None:
        self._pair.upstream_full(full=True)

    def resume_writing(self) -> None:
        self._pair.upstream_full(full=False)

    def connection_lost(self, error: Exception | None) -> None:
        self._pair.upstream_lost(error)
