"""HAProxy: a server's or backend's status, from the stats socket or the Prometheus exporter."""

from __future__ import annotations

import csv
import socket
import time
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from agent.breakers.boxes.whitebox import Sample, Traps
from agent.breakers.courses.states import State
from agent.whitebox.exposition import measured
from agent.whitebox.reader import Unreadable
from agent.whitebox.web import BODY_MAX, Web

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.whitebox.address import Address
    from agent.whitebox.reader import Reader

BACKEND = "BACKEND"
TRAPS = Traps(
    half_open=False,
    notes=(
        "there is no half-open: active checks bring a server back, calls do not",
        "lastchg counts whole seconds; that it was down between two looks is told by chkdown alone",
    ),
)


class _Row(NamedTuple):
    """What is read of one server; ``went_down`` is how often it ever did (-1: not told)."""

    status: str
    went_down: int
    lasts_s: int
    asked: float
    read: float


def reader(address: Address) -> Reader:
    """Read ``show stat`` at a socket (a path, or tcp://HOST:PORT), or a page of Prometheus text (http://).

    Options: ``backend``; ``server`` (else the backend as a whole: it is down when all of its servers are).
    """
    backend, server = address.required("backend", "backend"), address.text("server", BACKEND)
    source = _Exporter(address) if address.url.startswith("http") else _Socket(address)
    return _HAProxy(source, backend, server)


class _HAProxy:
    """Down is open; downs that came and went between two looks are made of the counter."""

    traps = TRAPS

    def __init__(self, source: _Socket | _Exporter, backend: str, server: str) -> None:
        self._source, self._backend, self._server = source, backend, server
        self._before: _Row | None = None

    def read(self) -> Sequence[Sample]:
        """Return the state, and what was missed."""
        row, before = self._source.row(self._backend, self._server), self._before
        self._before = row
        state = _state(row.status)
        details = {"status": row.status, "went_down": row.went_down}
        now = Sample(asked=row.asked, read=row.read, state=state, details=details)
        if before is None or state is None:
            return [now]
        was = _state(before.status)
        if state is State.CLOSED and was is State.CLOSED and row.went_down > before.went_down >= 0:
            return [replace(now, asked=before.asked, state=each, event=True) for each in (State.OPEN, state)]
        if state is not was and row.lasts_s >= 0:  # where looks are seldom, lastchg says when, to a second
            after = min(max(before.asked, row.asked - row.lasts_s - 1), row.read)
            return [replace(now, asked=after, event=True)]
        return [now]

    def close(self) -> None:
        """Let go of the source."""
        self._source.close()


def _state(status: str) -> State | None:
    """Say what a status means: ``DOWN 1/2`` is still down, ``UP 1/3`` still up; MAINT is no breaker's."""
    word = status.partition(" ")[0]
    return {"UP": State.CLOSED, "OPEN": State.CLOSED, "no": State.CLOSED, "DOWN": State.OPEN}.get(word)


class _Socket:
    """Asks ``show stat``, which changes nothing, over a new connection each time, as HAProxy wants it."""

    def __init__(self, address: Address) -> None:
        self._url, self._timeout_s = address.url, address.timeout_s

    def row(self, backend: str, server: str) -> _Row:
        """Return one line of the table."""
        asked = time.monotonic()
        try:
            text = self._ask(b"show stat\n", asked + self._timeout_s)
        except OSError as error:
            raise Unreadable(f"{self._url}: {error}") from None
        for each in csv.DictReader(text.removeprefix("# ").splitlines()):
            if (each.get("pxname"), each.get("svname")) == (backend, server):
                went_down, lasts_s = each.get("chkdown") or "-1", each.get("lastchg") or "-1"
                return _Row(each["status"], int(went_down), int(lasts_s), asked, time.monotonic())
        raise Unreadable(f"no server {server!r} in a backend {backend!r}")

    def _ask(self, command: bytes, deadline: float) -> str:
        with closing(self._connect()) as connection:
            connection.settimeout(self._timeout_s)
            connection.sendall(command)
            answer = bytearray()
            while part := connection.recv(65536):
                answer += part
                if len(answer) > BODY_MAX or time.monotonic() > deadline:
                    raise Unreadable("the answer is too long, or takes too long")
        return answer.decode(errors="replace")

    def _connect(self) -> socket.socket:
        if self._url.startswith("tcp://"):
            parts = urlsplit(self._url)
            return socket.create_connection((parts.hostname or "", parts.port or 0), self._timeout_s)
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(self._timeout_s)
        try:
            connection.connect(self._url)
        except OSError:
            connection.close()
            raise
        return connection

    def close(self) -> None:
        """Nothing is kept open."""


class _Exporter:
    """The built-in Prometheus exporter: a gauge for each status, 1 for the one that it is in."""

    def __init__(self, address: Address) -> None:
        self._web = Web(address)

    def row(self, backend: str, server: str) -> _Row:
        """Return what the gauges say."""
        page = self._web.get()
        if server == BACKEND:
            which, metric = {"proxy": backend}, "haproxy_backend"
        else:
            which, metric = {"proxy": backend, "server": server}, "haproxy_server"
        up = [line for line in measured(page.text, f"{metric}_status", which) if line.value == 1]
        if len(up) != 1:
            raise Unreadable(f"{len(up)} states of {backend}/{server} are up at once")
        downs = list(measured(page.text, f"{metric}_check_up_down_total", which))
        went_down = int(downs[0].value) if downs else -1
        return _Row(up[0].labels.get("state", ""), went_down, -1, page.asked, page.read)

    def close(self) -> None:
        """Close the connection."""
        self._web.close()
