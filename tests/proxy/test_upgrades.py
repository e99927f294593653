"""Connections that may become another protocol's: followed until they do, and never changed."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Proxy

ASKS = (
    b"GET /x HTTP/1.1\r\nhost: x\r\nconnection: Upgrade, HTTP2-Settings\r\n"
    b"http2-settings: AAEAAEAAAAIAAAAB\r\nupgrade: h2c\r\n\r\n"
)
"""What Java's HttpClient sends with every request unless it is told to stay with HTTP/1.1."""
IGNORED = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
GRANTED = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n"


def converse(connection: socket.socket, say: bytes, hears: bytes) -> None:
    """Say something and wait for exactly that answer."""
    connection.sendall(say)
    heard = b""
    while len(heard) < len(hears):
        part = connection.recv(4096)
        assert part, heard
        heard += part
    assert heard == hears


def requests_of(proxy: Proxy) -> list[tuple[str, int | None]]:
    """Return path and status of what was logged."""
    return [(a["path"], a["status"]) for a in proxy.client.arrivals() if a["kind"] == "request"]


def test_an_upgrade_that_is_only_asked_for_hides_no_request(
    proxy: Proxy, serve: Callable[..., int], until: Callable[..., Any]
) -> None:
    """Each request on the connection is logged, as if nobody had asked."""

    def answer(connection: socket.socket) -> None:
        while connection.recv(4096):
            connection.sendall(IGNORED)

    with socket.create_connection(proxy.link(serve(answer)), timeout=10) as client:
        converse(client, ASKS, IGNORED)
        converse(client, ASKS.replace(b"/x", b"/y"), IGNORED)
    until(lambda: requests_of(proxy) == [("/x", 200), ("/y", 200)])


def test_after_an_upgrade_that_is_granted_bytes_cross_unseen(
    proxy: Proxy, serve: Callable[..., int], until: Callable[..., Any]
) -> None:
    """The request that asked is logged with 101; what looks like one later on is no request."""

    def answer(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(GRANTED)
        while data := connection.recv(4096):
            connection.sendall(data)

    with socket.create_connection(proxy.link(serve(answer)), timeout=10) as client:
        converse(client, ASKS, GRANTED)
        frames = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nGET /no HTTP/1.1\r\n\r\n\x00\xff"
        converse(client, frames, frames)
    until(lambda: requests_of(proxy) == [("/x", 101)])
