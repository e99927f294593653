"""The open-loop driver: departures by the clock, latency counted from the intended departure.

It never waits for an answer before the next departure, so a slow target cannot slow it down
(coordinated omission is impossible); what it cannot send is recorded as shed, which is a failure.
"""

from __future__ import annotations

import asyncio
import random
import time
from typing import IO, TYPE_CHECKING
from urllib.parse import urlsplit

from agent.traffic.client import Connection
from agent.traffic.samples import RECORD, Outcome, header, key_of

if TYPE_CHECKING:
    from agent.traffic.plan import Plan

FLUSH_S = 0.03
LOOKAHEAD_S = 0.0005
ID_MASK = 2**64 - 1


class Driver:
    """Drives one :class:`Plan` and appends its samples to *file*."""

    def __init__(self, plan: Plan, file: IO[bytes]) -> None:
        self._plan = plan
        self._file = file
        self._records = bytearray()
        self._idle: list[Connection] = []
        self._connections = 0
        self._in_flight = 0
        parts = urlsplit(plan.url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        extra = "".join(f"{name}: {value}\r\n" for name, value in plan.headers)
        head = f"host: {parts.netloc}\r\n{extra}"
        keys = plan.keys or ("",)
        self._requests = [
            (f"GET {target.replace('{key}', key)} HTTP/1.1\r\n{head}".encode(), key_of(key)) for key in keys
        ]
        self._trace = random.Random(time.time_ns())
        self._loop = asyncio.get_running_loop()

    async def drive(self, stop: asyncio.Event) -> None:
        """Send until *stop* or the plan's end, then wait for what is in flight (bounded by its timeout)."""
        started_wall, started = time.time(), time.monotonic()
        self._records += header(started_wall - started)
        flusher = asyncio.create_task(self._flush())
        for number, at in enumerate(self._plan.departures()):
            if at > self._plan.max_duration_s or stop.is_set():
                break
            await self._until(started + at, stop)
            if stop.is_set():
                break
            self._depart(number, due=started + at, intended_at=started_wall + at)
        deadline = time.monotonic() + self._plan.timeout_s
        while self._in_flight and not stop.is_set() and time.monotonic() < deadline:  # noqa: ASYNC110  # rare
            await asyncio.sleep(FLUSH_S)
        flusher.cancel()
        self._write()

    async def _until(self, due: float, stop: asyncio.Event) -> None:
        while not stop.is_set() and (left := due - time.monotonic()) > LOOKAHEAD_S:  # noqa: ASYNC110  # the clock decides
            await asyncio.sleep(min(left, 0.2))
        if time.monotonic() - due > FLUSH_S:
            await asyncio.sleep(0)  # late: still let answers in between departures

    def _depart(self, number: int, *, due: float, intended_at: float) -> None:
        head, key = self._requests[number % len(self._requests)]
        trace = self._trace.getrandbits(128)
        exchange = _Exchange(self, due=due, intended_at=intended_at, key=key, trace=trace)
        if self._in_flight >= self._plan.in_flight_max:
            exchange.end(Outcome.SHED)
            return
        self._in_flight += 1
        ids = f"x-request-id: {trace:032x}\r\ntraceparent: 00-{trace:032x}-{trace >> 64 or 1:016x}-01\r\n\r\n"
        exchange.begin(head + ids.encode(), self._plan.timeout_s)

    # connections

    def take(self) -> Connection | None:
        """Return an idle connection, or None."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                return connection
            self._connections -= 1
        return None

    async def connect(self) -> Connection | None:
        """Return a new connection, or None when there are as many as allowed.

        Raises:
            OSError: Nobody accepts.
        """
        if self._connections >= self._plan.connections_max:
            return None
        self._connections += 1
        try:
            _, connection = await self._loop.create_connection(
                lambda: Connection(self._plan.degraded_header), self._host, self._port
            )
        except BaseException:
            self._connections -= 1
            raise
        return connection

    def give_back(self, connection: Connection, *, reusable: bool) -> None:
        """Keep *connection* for the next request, or let it go."""
        if reusable:
            self._idle.append(connection)
        else:
            self._connections -= 1

    # samples

    def record(self, sample: bytes, *, was_in_flight: bool) -> None:
        """Append one packed sample."""
        self._records += sample
        self._in_flight -= was_in_flight

    async def _flush(self) -> None:
        while True:
            self._write()
            await asyncio.sleep(FLUSH_S)

    def _write(self) -> None:
        if self._records:
            self._file.write(self._records)
            self._file.flush()
            self._records.clear()


class _Exchange:
    """One request on its way; ends exactly once."""

    __slots__ = (
        "_connection",
        "_driver",
        "_due",
        "_ended",
        "_id",
        "_intended_at",
        "_key",
        "_sent_at",
        "_task",
        "_timer",
    )

    def __init__(self, driver: Driver, *, due: float, intended_at: float, key: int, trace: int) -> None:
        self._driver = driver
        self._due, self._intended_at, self._key = due, intended_at, key
        self._id = trace & ID_MASK
        self._sent_at = time.monotonic()
        self._connection: Connection | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._ended = False

    def begin(self, request: bytes, timeout_s: float) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._due + timeout_s - self._sent_at, self._time_out)
        if connection := self._driver.take():
            self._send(connection, request)
        else:
            self._task = loop.create_task(self._connect_and_send(request))

    async def _connect_and_send(self, request: bytes) -> None:
        try:
            connection = await self._driver.connect()
        except ConnectionRefusedError:
            return self.end(Outcome.REFUSED)
        except OSError:
            return self.end(Outcome.BROKEN)
        if connection is None:
            return self.end(Outcome.SHED)
        if self._ended:  # timed out while connecting
            return self._driver.give_back(connection, reusable=connection.is_open)
        return self._send(connection, request)

    def _send(self, connection: Connection, request: bytes) -> None:
        self._connection = connection
        connection.send(request, self._answered)

    def _answered(self, status: int, degraded: bool, reusable: bool) -> None:  # noqa: FBT001
        assert self._connection is not None
        self._driver.give_back(self._connection, reusable=reusable)
        self._connection = None
        outcome = Outcome.BROKEN if status == 0 else Outcome.OK if status < 400 else Outcome.STATUS
        self.end(outcome, status=status, degraded=degraded)

    def _time_out(self) -> None:
        if self._connection is not None:
            self._connection.forget()
            self._driver.give_back(self._connection, reusable=False)
        self.end(Outcome.TIMEOUT)

    def end(self, outcome: Outcome, *, status: int = 0, degraded: bool = False) -> None:
        """Record how it ended; later ends count no more."""
        if self._ended:
            return
        self._ended = True
        if self._timer is not None:
            self._timer.cancel()
        latency_s = time.monotonic() - self._due
        lateness_s = self._sent_at - self._due
        sample = RECORD.pack(
            self._intended_at, latency_s, lateness_s, status, outcome, degraded, self._key, self._id
        )
        self._driver.record(sample, was_in_flight=self._timer is not None)
