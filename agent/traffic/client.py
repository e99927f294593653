"""One HTTP/1.1 connection that carries one request at a time, as an asyncio protocol.

Source: RFC 9112 (message framing, left to httptools) and W3C Trace Context (``traceparent``).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import httptools

if TYPE_CHECKING:
    from collections.abc import Callable

type Answered = Callable[[int, bool, bool], None]
"""Called once per request with status (0 if the connection broke), degraded, and whether it can be reused."""


class Connection(asyncio.Protocol):
    """Sends a request, calls back when its answer is complete."""

    def __init__(self, degraded_header: str) -> None:
        self._degraded_header = degraded_header.lower().encode()
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._answered: Answered | None = None
        self._degraded = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        transport = cast("asyncio.Transport", transport)  # uvloop's is one by shape only
        self._transport = transport

    def connection_lost(self, _: Exception | None) -> None:
        """Tell whoever waits that no answer will come."""
        self._transport = None
        self._tell(0, reusable=False)

    def data_received(self, data: bytes) -> None:
        """Feed the parser; what is no HTTP breaks the connection."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.abort()

    def send(self, request: bytes, answered: Answered) -> None:
        """Send *request*; *answered* is called exactly once, unless :meth:`abort` comes first."""
        self._answered, self._degraded = answered, False
        if self._transport is None or self._transport.is_closing():
            self._tell(0, reusable=False)
        else:
            self._transport.write(request)

    def abort(self) -> None:
        """Drop the connection; the answer, if one is due, is reported as broken."""
        if self._transport is not None:
            self._transport.abort()

    def forget(self) -> None:
        """Drop the connection without a word to whoever waits."""
        self._answered = None
        self.abort()

    @property
    def is_open(self) -> bool:
        """Whether another request can be sent."""
        return self._transport is not None and not self._transport.is_closing()

    # httptools' callbacks

    def on_header(self, name: bytes, _: bytes) -> None:
        """Note the header of an honest fallback."""
        if name.lower() == self._degraded_header:
            self._degraded = True

    def on_message_complete(self) -> None:
        """Tell the answer, unless it was an interim one."""
        status = self._parser.get_status_code()
        if status >= 200:
            self._tell(status, reusable=self._parser.should_keep_alive())

    def _tell(self, status: int, *, reusable: bool) -> None:
        answered, self._answered = self._answered, None
        if answered is not None:
            answered(status, self._degraded, reusable)
        if not reusable and self._transport is not None:
            self._transport.close()
