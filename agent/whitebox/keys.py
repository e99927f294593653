"""Reads keys of a Redis, and can do nothing else: the one command it has is GET."""

from __future__ import annotations

import socket
import ssl
import time
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import unquote, urlsplit

from agent.model import UsageError
from agent.whitebox.reader import Unreadable

if TYPE_CHECKING:
    from agent.whitebox.address import Address

PORT = 6379
VALUE_MAX = 1024 * 1024
LINE_MAX = 1024


class Keys:
    """A connection that is made anew when it breaks.

    Source:
        Redis serialization protocol specification, RESP2; ``redis://[user:password@]host[:port][/number]``,
        ``rediss://`` with TLS.
    """

    def __init__(self, address: Address) -> None:
        parts = urlsplit(address.url)
        if parts.scheme not in ("redis", "rediss") or not parts.hostname:
            raise UsageError(f"--whitebox {address.kind}: {address.shown} is no redis:// URL")
        self._host, self._port = parts.hostname, parts.port or PORT
        self._user, self._password = (
            unquote(parts.username or ""),
            address.secret("password_env") or unquote(parts.password or ""),
        )
        self._number = parts.path.strip("/")
        self._tls = parts.scheme == "rediss"
        self._timeout_s = address.timeout_s
        self._socket: socket.socket | None = None
        self._stream: BinaryIO | None = None

    def get(self, key: str) -> tuple[bytes | None, float, float]:
        """Return a key's value (None: no such key), and when it was asked for and read.

        Raises:
            Unreadable: No answer in time, or an error.
        """
        asked = time.monotonic()
        try:
            if self._stream is None:
                self._connect()
            value = self._ask("GET", key)
        except (OSError, ValueError) as error:
            self.close()
            raise Unreadable(f"{self._host}:{self._port}: {error}") from None
        return value, asked, time.monotonic()

    def _connect(self) -> None:
        plain = socket.create_connection((self._host, self._port), self._timeout_s)
        context = ssl.create_default_context() if self._tls else None
        self._socket = context.wrap_socket(plain, server_hostname=self._host) if context else plain
        self._stream = self._socket.makefile("rb")
        if self._password:
            self._ask("AUTH", *([self._user] if self._user else []), self._password)
        if self._number:
            self._ask("SELECT", self._number)

    def _ask(self, *words: str) -> bytes | None:
        assert self._socket is not None
        assert self._stream is not None
        parts = [word.encode() for word in words]
        self._socket.sendall(
            b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
        )
        line = self._stream.readline(LINE_MAX).rstrip(b"\r\n")
        if line.startswith(b"+"):
            return line[1:]
        if line.startswith(b"-"):
            raise ValueError(line[1:].decode(errors="replace"))
        if not line.startswith(b"$"):
            raise ValueError("no Redis answers there")
        length = int(line[1:])
        if length < 0:
            return None
        if length > VALUE_MAX:
            raise ValueError(f"the value has {length} bytes, and at most {VALUE_MAX} are read")
        value = self._stream.read(length + 2)
        if len(value) != length + 2:
            raise ValueError("the answer was cut off")
        return value[:-2]

    def close(self) -> None:
        """Close the connection."""
        for each in (self._stream, self._socket):
            if each is not None:
                each.close()
        self._stream = self._socket = None
