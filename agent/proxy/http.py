"""Sees HTTP/1.1 requests in a byte stream without changing a byte.

Source: RFC 9112 sections 3 (request line), 6.3 (message body length) and 7.1 (chunked coding).
What is no HTTP, or stops being it (an upgrade that is granted, CONNECT, HEAD's bodiless answers), is
carried unseen.  An upgrade that is only asked for changes nothing: Java's client does so by default.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import httptools

if TYPE_CHECKING:
    from collections.abc import Callable

HEAD_MAX_BYTES = 64 * 1024
SWITCHED = 101
_START = re.compile(rb"(?:GET|POST|PUT|PATCH|DELETE|OPTIONS) ")
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[^\r]*chunked", re.IGNORECASE)
_ID = re.compile(rb"\r\n(?:x-request-id|traceparent):[ \t]*([^\r]*)", re.IGNORECASE)
_METHODS = (b"GET ", b"POST ", b"PUT ", b"PATCH ", b"DELETE ", b"OPTIONS ")
_BODILESS = (b"GET ", b"DELETE ", b"OPTIONS ")
_FRAMING = re.compile(rb"\r\n(?:content-length|transfer-encoding):", re.IGNORECASE)
_CHUNK_SIZE = re.compile(rb"([0-9a-fA-F]{1,15})[ \t]*(?:;[^\r\n]*)?")


class Head(NamedTuple):
    """The head of one request; its parts are cut out only where somebody asks."""

    raw: bytes

    def parts(self) -> tuple[str, str, str]:
        """Return the method, the target with its query, and the propagated id ("" without one)."""
        method, path, _ = self.raw.split(b" ", 2)
        found = _ID.search(self.raw)
        return method.decode(), path.decode("latin-1"), found[1].decode("latin-1").strip() if found else ""

    @property
    def path(self) -> str:
        """The request's target, query and all."""
        return self.parts()[1]

    @property
    def has_body(self) -> bool:
        """Whether a body follows."""
        return bool(_LENGTH.search(self.raw) or _CHUNKED.search(self.raw))


class Piece(NamedTuple):
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
        if not (self._buffer or self._body_left or self._chunks) and _is_one_bodiless_request(data):
            return [Piece(data, Head(data))]  # which most chunks are
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

    def give_up(self) -> bytes:
        """Follow no further, for another protocol begins; return what was kept back."""
        self.opaque = True
        return self.rest()

    def _could_be_head(self, data: bytes) -> bool:
        if len(data) > HEAD_MAX_BYTES:
            return False
        return bool(_START.match(data)) or any(method.startswith(data[:8]) for method in _METHODS)

    def _head(self, raw: bytes) -> Piece:
        parts = raw[: raw.index(b"\r\n")].split(b" ")
        if len(parts) != 3 or not _START.match(raw):
            self.opaque = True
            return Piece(raw)
        if _CHUNKED.search(raw):
            self._chunks = _Chunks()
        elif length := _LENGTH.search(raw):
            self._body_left = int(length[1])
        return Piece(raw, Head(raw))

    def _body(self, data: bytes) -> int:
        """Return how many bytes of *data* belong to the present body."""
        if self._chunks is None:
            size = min(self._body_left, len(data))
            self._body_left -= size
            return size
        try:
            size, done = self._chunks.feed(data)
        except ValueError:
            self.opaque = True
            return len(data)
        if done:
            self._chunks = None
        return size


class _Chunks:
    """Follows a chunked body to the end of its trailers."""

    def __init__(self) -> None:
        self._left = 0
        self._line = b""
        self._in_trailers = False

    def feed(self, data: bytes) -> tuple[int, bool]:
        """Return how many bytes of *data* are the body's, and whether it ended.

        Raises:
            ValueError: This is no chunked body.
        """
        at = 0
        while at < len(data):
            if self._left:
                step = min(self._left, len(data) - at)
                self._left -= step
                at += step
                continue
            end = data.find(b"\n", at) + 1 or len(data)
            self._line += data[at:end]
            at = end
            if len(self._line) > HEAD_MAX_BYTES:
                raise ValueError("a line of a chunked body has no end")
            if self._line.endswith(b"\n") and self._ends():
                return at, True
        return at, False

    def _ends(self) -> bool:
        line, self._line = self._line, b""
        if not line.endswith(b"\r\n"):
            raise ValueError("a line of a chunked body ends without CR LF")
        if self._in_trailers:
            return line == b"\r\n"
        size = _CHUNK_SIZE.fullmatch(line[:-2])
        if size is None:
            raise ValueError(f"no chunk size: {line[:40]!r}")
        length = int(size[1], 16)
        self._left, self._in_trailers = (length + 2 if length else 0), not length
        return False


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
        """Report a response, interim ones left out; after 101 the next bytes are another protocol's."""
        status = self._parser.get_status_code()
        if status >= 200 or status == SWITCHED:
            self._complete(status)


def _is_one_bodiless_request(data: bytes) -> bool:
    return (
        data.startswith(_BODILESS)
        and data.find(b"\r\n\r\n") == len(data) - 4
        and data.count(b" ", 0, data.index(b"\r")) == 2
        and _FRAMING.search(data) is None
    )
