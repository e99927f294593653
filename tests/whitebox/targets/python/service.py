"""One breaker of a Python library with its state in Redis; its calls fail or succeed as they are told.

``python service.py KIND HOST:PORT REDIS_HOST:PORT [DEPENDENCY_HOST:PORT]``, with KIND one of pybreaker,
aiobreaker, purgatory.  ``GET /drive?good=true&holdMs=0`` is 200, 502 when the call fails, 503 when it is
kept back; ``GET /call`` asks the dependency, with a time limit of 0.4 s.  With purgatory, ``GET /told`` is
the state that its hooks have told last.
"""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import httpx
import redis

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    type Work = Callable[[], Awaitable[None]]
    type Guard = Callable[[Work], Awaitable[int]]

THRESHOLD, OPEN_S, PATIENCE_S = 5, 1, 0.4
told = {"state": "closed"}


def with_pybreaker(at: str) -> Guard:
    """Guard coroutines in a thread: pybreaker's own support of asyncio is Tornado's."""
    import pybreaker

    storage = pybreaker.CircuitRedisStorage(pybreaker.STATE_CLOSED, client(at), namespace="orders")
    breaker = pybreaker.CircuitBreaker(fail_max=THRESHOLD, reset_timeout=OPEN_S, state_storage=storage)

    def call(work: Work) -> int:
        try:
            breaker.call(lambda: asyncio.run(work()))
        except pybreaker.CircuitBreakerError:
            return 503
        except RuntimeError:
            return 502
        return 200

    async def guard(work: Work) -> int:
        return await asyncio.to_thread(call, work)

    return guard


def with_aiobreaker(at: str) -> Guard:
    """Guard coroutines."""
    import aiobreaker
    from aiobreaker.storage.redis import CircuitRedisStorage

    storage = CircuitRedisStorage(aiobreaker.CircuitBreakerState.CLOSED, client(at), namespace="orders")
    breaker = aiobreaker.CircuitBreaker(
        fail_max=THRESHOLD, timeout_duration=timedelta(seconds=OPEN_S), state_storage=storage
    )

    async def guard(work: Work) -> int:
        try:
            await breaker.call_async(work)
        except aiobreaker.CircuitBreakerError:
            return 503
        except RuntimeError:
            return 502
        return 200

    return guard


def with_purgatory(at: str) -> Guard:
    """Guard a block."""
    from purgatory import AsyncCircuitBreakerFactory
    from purgatory.domain.model import OpenedState
    from purgatory.service._async.unit_of_work import AsyncRedisUnitOfWork

    stored = AsyncRedisUnitOfWork(f"redis://{at}")
    factory = AsyncCircuitBreakerFactory(default_threshold=THRESHOLD, default_ttl=OPEN_S, uow=stored)

    def hook(_: str, event: str, payload: object) -> None:
        if event == "state_changed":
            told["state"] = str(payload.state)

    factory.add_listener(hook)

    async def guard(work: Work) -> int:
        try:
            async with await factory.get_breaker("orders"):
                await work()
        except OpenedState:
            return 503
        except RuntimeError:
            return 502
        return 200

    return guard


def client(at: str) -> redis.Redis:
    """Return a client of the Redis at HOST:PORT."""
    host, _, port = at.partition(":")
    return redis.Redis(host=host, port=int(port))


def as_told(query: dict[str, str]) -> Work:
    """Return work that takes and ends as *query* says."""

    async def work() -> None:
        await asyncio.sleep(float(query.get("holdMs", "0")) / 1000)
        if query.get("good") != "true":
            raise RuntimeError("told to fail")

    return work


def asking(http: httpx.AsyncClient, dependency: str, request_id: str) -> Work:
    """Return work that asks the dependency."""

    async def work() -> None:
        try:
            answer = await http.get(f"http://{dependency}/item", headers={"x-request-id": request_id})
            answer.raise_for_status()
        except httpx.HTTPError as error:
            raise RuntimeError("the dependency failed") from error

    return work


async def serve(kind: str, listen: str, at: str, dependency: str = "") -> None:
    """Answer until the process is ended."""
    makers = {"pybreaker": with_pybreaker, "aiobreaker": with_aiobreaker, "purgatory": with_purgatory}
    guard = makers[kind](at)
    http = httpx.AsyncClient(timeout=PATIENCE_S, limits=httpx.Limits(max_keepalive_connections=50))

    async def answer(target: str, request_id: str) -> tuple[int, str]:
        url = urlsplit(target)
        if url.path == "/told":
            return 200, json.dumps(told)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        work = asking(http, dependency, request_id) if url.path == "/call" else as_told(query)
        return await guard(work), ""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        ids = [line.split(":", 1)[1].strip() for line in head if line.lower().startswith("x-request-id:")]
        status, body = await answer(head[0].split()[1], ids[0] if ids else "")
        said = f"HTTP/1.1 {status} Said\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n{body}"
        writer.write(said.encode())
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(connected, *listen.split(":")) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(*sys.argv[1:]))
