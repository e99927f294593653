"""Sees HTTP/1.1 requests in a byte stream without changing a byte.

Source: RFC 9112 sections 3 (request line), 6.3 (message body length) and 7.1 (chunked coding).
What is no HTTP, or stops being it (upgrade, CONNECT, HEAD's bodiless answers), is carried unseen.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httptools

if TYPE_CHECKING:
    from collections.abc import Callable

HEAD_MAX_BYTES = 64 * 1024
_START = re.compile(rb"(?:GET|POST|PUT|PATCH|DELETE|OPTIONS) ")
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[^\r]*chunked", re.IGNORECASE)
_UPGRADE = re.compile(rb"\r\nupgrade:", re.IGNORECASE)
_ID = re.compile(rb"\r\n(?:x-request-id|traceparent):[ \t]*([^\r]*)", re.IGNORECASE)
_METHODS = (b"GET ", b"POST ", b"PUT ", b"PATCH ", b"DELETE ", b"OPTIONS ")


@dataclass(frozen=True, slots=True)
class Head:
    """The head of one request."""

    method: str
    path: str
    id: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class Piece:
    """Some bytes of the stream in order; ``head`` is set where a request begins."""

    data: bytes
    head: Head | None = None


class Requests:
    """Cuts a client's stream into pieces, each request's head with its own first piece.

    ``opaque`` turns True for good once the stream cannot be followed.
    """

    def __init__(self) -> None:
        self.opaque = False
        self._buffer = b""
        self._body_left = 0
        self._chunks: _Chunks | None = None

    def feed(self, data: bytes) -> list[Piece]:
        """Return the pieces of *data*; an unfinished head is kept until its rest comes."""
        if self.opaque:
            return [Piece(data)]
        data, self._buffer = self._buffer + data, b""
        pieces: list[Piece] = []
        while data and not self.opaque:
            if self._body_left or self._chunks:
                size = self._body(data)
                pieces.append(Piece(data[:size]))
                data = data[size:]
            elif (end := data.find(b"\r\n\r\n")) >= 0:
                piece = self._head(data[: end + 4])
                pieces.append(piece)
                data = data[end + 4 :]
            elif self._could_be_head(data):
                self._buffer, data = data, b""
            else:
                self.opaque = True
        if data:
            pieces.append(Piece(data))
        return pieces

    def rest(self) -> bytes:
        """Return what is kept back, when no more will come."""
        data, self._buffer = self._buffer, b""
        return data

    def _could_be_head(self, data: bytes) -> bool:
        if len(data) > HEAD_MAX_BYTES:
            return False
        return bool(_START.match(data)) or any(method.startswith(data[:8]) for method in _METHODS)

    def _head(self, raw: bytes) -> Piece:
        parts = raw[: raw.index(b"\r\n")].split(b" ")
        if len(parts) != 3 or not _START.match(raw) or _UPGRADE.search(raw):
            self.opaque = True
            return Piece(raw)
        if _CHUNKED.search(raw):
            self._chunks = _Chunks()
        elif length := _LENGTH.search(raw):
            self._body_left = int(length[1])
        found = _ID.search(raw)
        return Piece(raw, Head(parts[0].decode(), parts[1].decode("latin-1"), _text(found), raw))

    def _body(self, data: bytes) -> int:
        """Return how many bytes of *data* belong to the present body."""
        if self._chunks is None:
            size = min(self._body_left, len(data))
            self._body_left -= size
            return size
        size, done = self._chunks.feed(data)
        if done:
            self._chunks = None
        return size


class _Chunks:
    """Follows a chunked body to its end."""

    def __init__(self) -> None:
        self._done = False
        self._seen = 0
        self._parser = httptools.HttpRequestParser(self)
        self._parser.feed_data(b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n")

    def on_message_complete(self) -> None:
        self._done = True

    def feed(self, data: bytes) -> tuple[int, bool]:
        """Return how many bytes of *data* are the body's, and whether it ended."""
        for size in range(1, len(data) + 1):
            try:
                self._parser.feed_data(data[size - 1 : size])
            except httptools.HttpParserError:
                return len(data), True
            if self._done:
                return size, True
        return len(data), False


class Responses:
    """Calls *complete* with the status of each whole response in an upstream's stream."""

    def __init__(self, complete: Callable[[int], None]) -> None:
        self._complete = complete
        self._parser = httptools.HttpResponseParser(self)
        self.opaque = False

    def feed(self, data: bytes) -> None:
        """Look at *data*."""
        if self.opaque:
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.opaque = True

    def on_message_complete(self) -> None:
        """Report a response, interim ones left out."""
        status = self._parser.get_status_code()
        if status >= 200:
            self._complete(status)


def _text(found: re.Match[bytes] | None) -> str:
    return found[1].decode("latin-1").strip() if found else ""
