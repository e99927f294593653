"""A link of the fault proxy beside toxiproxy: what it costs without a fault, and how exact a delay is.

Nothing is pinned: each may use every core, as in use; they take turns, so that a noisy machine hits both.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import statistics
import threading
import time
from typing import TYPE_CHECKING, Any

from bench._ends import far_end, percentile
from bench._proxies import Side, our_proxy, toxiproxy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROUNDS = 5
EXCHANGES = 3000
CONNECTIONS = 32
SECONDS = 1.5
DELAYS_MS = (20, 100, 500)
HELD_EXCHANGES = {20: 20, 100: 8, 500: 2}
MESSAGE = b"x" * 64
REQUEST = b"GET /rank/7 HTTP/1.1\r\nhost: bench\r\nx-request-id: 00112233445566778899aabbccddeeff\r\n\r\n"
BULK = b"y" * (1 << 16)
HTTP = "HTTP requests/s (ours with the arrival log)"
HTTP_NOTE = "following a request, its answer and its log entry takes 4 us of Python; toxiproxy does not look"


def main(_: Sequence[str]) -> list[dict[str, Any]]:
    """Return the rows of the table."""
    with contextlib.ExitStack() as stack:
        ends = {kind: stack.enter_context(far_end(kind)) for kind in ("echo", "answers", "sink")}
        ours, theirs = stack.enter_context(our_proxy(ends)), stack.enter_context(toxiproxy(ends))
        sides = [Side(ends, lambda _: contextlib.nullcontext()), ours, *([theirs] if theirs else [])]
        return [*_latencies(sides), *_rates(sides), *_delays(sides[1:])]


# what is measured


def _latencies(sides: Sequence[Side]) -> list[dict[str, Any]]:
    """Return what a link adds to a round trip, median of the rounds' percentiles."""
    rows = []
    for share, label in ((0.5, "p50"), (0.99, "p99")):
        took: list[list[float]] = [[] for _ in sides]
        for _ in range(ROUNDS):
            for side, found in zip(sides, took, strict=True):
                found.append(percentile(_round_trips(side.ports["echo"], EXCHANGES), share) * 1e6)
        direct, *proxies = (statistics.median(found) for found in took)
        goal = 0.8 if label == "p50" else 1.0
        rows.append(
            _row(f"link without a fault: added {label}, µs", *(p - direct for p in proxies), goal=goal)
        )
    return rows


def _rates(sides: Sequence[Side]) -> list[dict[str, Any]]:
    trials: list[tuple[str, str, Callable[[int], float], float]] = [
        ("TCP exchanges/s", "echo", lambda port: _rate(port, MESSAGE), 1.0),
        ("TCP MB/s", "sink", lambda port: _bulk(port) / 1e6, 1.2),
        (HTTP, "answers", lambda port: _rate(port, REQUEST), 1.0),
    ]
    rows = []
    for label, end, measure, goal in trials:
        found: list[list[float]] = [[] for _ in sides[1:]]
        for _ in range(ROUNDS):
            for side, figures in zip(sides[1:], found, strict=True):
                figures.append(measure(side.ports[end]))
        medians = [statistics.median(each) for each in found]
        row = _row(f"link without a fault: {label}", *medians, goal=goal, more_is_better=True)
        rows.append({**row, "note": HTTP_NOTE} if label == HTTP else row)
    return rows


def _delays(sides: Sequence[Side]) -> list[dict[str, Any]]:
    """Return by how much a delayed round trip misses the delay that was asked for."""
    rows = []
    for asked_ms in DELAYS_MS:
        errors: list[list[float]] = [[] for _ in sides]
        for _ in range(ROUNDS):
            for side, found in zip(sides, errors, strict=True):
                with side.delay(asked_ms):
                    took = _held(side.ports["echo"], 20, HELD_EXCHANGES[asked_ms])
                found += [abs(each * 1000 - asked_ms) for each in took]
        for share, label, limit in ((0.5, "p50", 1.0), (0.99, "p99", 3.0)):
            figures = [percentile(each, share) for each in errors]
            row = _row(f"delay of {asked_ms} ms: error {label}, ms", *figures, goal=1.0)
            row["goal"] = f"<= {limit:g} ms, not worse"
            row["met"] = figures[0] <= limit and (len(figures) < 2 or figures[0] <= figures[1])
            rows.append(row)
    return rows


def _row(
    figure: str, ours: float, theirs: float | None = None, *, goal: float, more_is_better: bool = False
) -> dict[str, Any]:
    ratio = ours / theirs if theirs else None
    met = ratio is not None and (ratio >= goal if more_is_better else ratio <= goal)
    return {
        "figure": figure,
        "ours": f"{ours:.4g}",
        "peer": "no toxiproxy here" if theirs is None else f"{theirs:.4g}",
        "ratio": None if ratio is None else round(ratio, 2),
        "goal": f"{'>=' if more_is_better else '<='} {goal:g} times",
        "met": met,
    }


# the client's side


def _connected(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=30)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _round_trips(port: int, count: int) -> list[float]:
    took = []
    with _connected(port) as connection:
        for _ in range(count):
            began = time.perf_counter()
            connection.sendall(MESSAGE)
            connection.recv(4096)
            took.append(time.perf_counter() - began)
    return took


def _rate(port: int, message: bytes) -> float:
    """Return exchanges a second over several connections, each waiting for its answer."""
    selector = selectors.DefaultSelector()
    connections = [_connected(port) for _ in range(CONNECTIONS)]
    for connection in connections:
        selector.register(connection, selectors.EVENT_READ, connection)
        connection.sendall(message)
    done, began = 0, time.perf_counter()
    while (now := time.perf_counter()) - began < SECONDS:
        for key, _ in selector.select(1.0):
            key.data.recv(4096)
            key.data.sendall(message)
            done += 1
    for connection in connections:
        connection.close()
    return done / (now - began)


def _bulk(port: int) -> float:
    """Return the bytes a second of one connection that sends as fast as it may."""
    sent, began = 0, time.perf_counter()
    with _connected(port) as connection:
        while time.perf_counter() - began < SECONDS:
            connection.sendall(BULK)
            sent += len(BULK)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(1):
            pass
        return sent / (time.perf_counter() - began)


def _held(port: int, connections: int, count: int) -> list[float]:
    """Return round trips of several connections at once, out of step as real clients are."""
    took: list[float] = []

    def one(number: int) -> None:
        time.sleep(number * 0.007)
        took.extend(_round_trips(port, count))

    threads = [threading.Thread(target=one, args=(number,)) for number in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return took
