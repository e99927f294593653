"""The open-loop driver: departures by the clock, latency counted from the intended departure.

It never waits for an answer before the next departure, so a slow target cannot slow it down
(coordinated omission is impossible); what it cannot send is recorded as shed, which is a failure.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from typing import IO, TYPE_CHECKING
from urllib.parse import urlsplit

from agent.traffic import tls
from agent.traffic.client import Connection
from agent.traffic.offers import Offer
from agent.traffic.pace import Pace
from agent.traffic.samples import RECORD, Outcome, header, key_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.traffic.plan import Plan

FLUSH_S = 0.03
LOOKAHEAD_S = 0.0005
POLL_S = 0.02
AHEAD_S = 0.03
"""A new offer holds from so much later on, when whoever sleeps until the next departure has seen it."""
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
        (self._host, self._port), self._tls = tls.place(plan.url), tls.context(plan.url)
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._netloc = parts.netloc
        self._requests = self._planned()
        self._mixed: tuple[float, tuple[bytes, int]] | None = None
        self._pace = Pace(plan.rate_rps, arrivals=plan.arrivals, seed=plan.seed)
        self._coming: deque[Offer] = deque()
        self._trace = random.Random(time.time_ns())
        self._dice = random.Random(plan.seed)
        self._loop = asyncio.get_running_loop()
        self._started_wall, self._started = time.time(), time.monotonic()
        self.sent = 0
        """Departures so far that were not shed."""
        self._in_force, self._sent_before = self.planned, 0

    def _planned(self) -> list[tuple[bytes, int]]:
        heads = {
            key: (self._head(self._target.replace("{key}", key), {}), key_of(key))
            for key in self._plan.keys or ("",)
        }
        return [heads[key] for key in self._plan.order()]

    def _head(self, target: str, more: Mapping[str, str]) -> bytes:
        fields = [("host", self._netloc), *self._plan.headers, *more.items()]
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields)
        return f"GET {target} HTTP/1.1\r\n{lines}".encode()

    def adopt(self, offer: Offer) -> None:
        """Send as *offer* says from its moment on, which is not before that of an earlier one."""
        self._pace.change(offer.at - self._started, offer.rate_rps)
        self._coming.append(offer)

    def sent_since(self, at: float) -> int:
        """Return how many left under the offer that began *at*; 0 before its first one."""
        return self.sent - self._sent_before if self._in_force.at == at else 0

    @property
    def planned(self) -> Offer:
        """What is offered from the start on."""
        return Offer(at=self._started, rate_rps=self._plan.rate_rps, timeout_s=self._plan.timeout_s)

    async def drive(self, stop: asyncio.Event) -> None:
        """Send until *stop* or the plan's end, then wait for what is in flight (bounded by its timeout)."""
        self._records += header(self._started_wall - self._started)
        flusher = asyncio.create_task(self._flush())
        number = 0
        while (at := await self._next(stop)) is not None:
            self._depart(number, due=self._started + at, intended_at=self._started_wall + at)
            self._pace.advance()
            number += 1
        deadline = time.monotonic() + self._plan.timeout_s
        while self._in_flight and not stop.is_set() and time.monotonic() < deadline:  # noqa: ASYNC110  # rare
            await asyncio.sleep(FLUSH_S)
        flusher.cancel()
        self._write()

    async def _next(self, stop: asyncio.Event) -> float | None:
        """Wait for the next departure and return when it is due; None when there is none any more."""
        while not stop.is_set():
            due = self._pace.due  # asked anew each time: an offer may have come meanwhile
            left = min(due, self._plan.max_duration_s) - (time.monotonic() - self._started)
            if left > LOOKAHEAD_S:
                await asyncio.sleep(min(left, POLL_S))
            elif due > self._plan.max_duration_s:
                return None
            else:
                if left < -FLUSH_S:
                    await asyncio.sleep(0)  # late: still let answers in between departures
                return due
        return None

    def _depart(self, number: int, *, due: float, intended_at: float) -> None:
        while self._coming and due >= self._coming[0].at:
            self._switch(self._coming.popleft())
        head, key = self._choose(number)
        trace = self._trace.getrandbits(128)
        exchange = _Exchange(self, due=due, intended_at=intended_at, key=key, trace=trace)
        if self._in_flight >= self._plan.in_flight_max:
            exchange.end(Outcome.SHED)
            return
        self._in_flight += 1
        ids = f"x-request-id: {trace:032x}\r\ntraceparent: 00-{trace:032x}-{trace >> 64 or 1:016x}-01\r\n\r\n"
        self.sent += 1
        exchange.begin(head + ids.encode(), self._in_force.timeout_s)

    def _switch(self, offer: Offer) -> None:
        self._in_force, self._sent_before = offer, self.sent
        self._mixed, mix = None, offer.mix
        if mix is not None:
            self._mixed = (mix.share, (self._head(mix.path or self._target, mix.headers), key_of(mix.key)))

    def _choose(self, number: int) -> tuple[bytes, int]:
        if self._mixed is not None and self._dice.random() < self._mixed[0]:
            return self._mixed[1]
        return self._requests[number % len(self._requests)]

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
                lambda: Connection(self._plan.degraded_header), self._host, self._port, ssl=self._tls
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
            self._driver.sent -= 1
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
