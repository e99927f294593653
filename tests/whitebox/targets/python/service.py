"""One breaker of a Python library with its state in Redis; its calls fail or succeed as they are told.

``python service.py KIND HOST:PORT REDIS_HOST:PORT``, with KIND one of pybreaker, aiobreaker, purgatory.
``GET /drive?good=true&holdMs=0`` is 200, 502 when the call fails, 503 when it is kept back.  With purgatory,
``GET /told`` is the state that its hooks have told last.
"""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import redis

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

THRESHOLD, OPEN_S = 5, 1
type Drive = Callable[[bool, float], Awaitable[int]]
told = {"state": "closed"}


async def work(good: bool, hold_s: float) -> None:
    """Fail or succeed."""
    await asyncio.sleep(hold_s)
    if not good:
        raise RuntimeError("told to fail")


def with_pybreaker(client: redis.Redis) -> Drive:
    """Guard coroutines in a thread: pybreaker's own support of asyncio is Tornado's."""
    import pybreaker

    storage = pybreaker.CircuitRedisStorage(pybreaker.STATE_CLOSED, client, namespace="orders")
    breaker = pybreaker.CircuitBreaker(fail_max=THRESHOLD, reset_timeout=OPEN_S, state_storage=storage)

    def call(good: bool, hold_s: float) -> int:
        try:
            breaker.call(lambda: asyncio.run(work(good, hold_s)))
        except pybreaker.CircuitBreakerError:
            return 503
        except RuntimeError:
            return 502
        return 200

    async def drive(good: bool, hold_s: float) -> int:
        return await asyncio.to_thread(call, good, hold_s)

    return drive


def with_aiobreaker(client: redis.Redis) -> Drive:
    """Guard coroutines."""
    import aiobreaker
    from aiobreaker.storage.redis import CircuitRedisStorage

    storage = CircuitRedisStorage(aiobreaker.CircuitBreakerState.CLOSED, client, namespace="orders")
    breaker = aiobreaker.CircuitBreaker(
        fail_max=THRESHOLD, timeout_duration=timedelta(seconds=OPEN_S), state_storage=storage
    )

    async def drive(good: bool, hold_s: float) -> int:
        try:
            await breaker.call_async(work, good, hold_s)
        except aiobreaker.CircuitBreakerError:
            return 503
        except RuntimeError:
            return 502
        return 200

    return drive


def with_purgatory(at: str) -> Drive:
    """Guard a block."""
    from purgatory import AsyncCircuitBreakerFactory
    from purgatory.domain.model import OpenedState
    from purgatory.service._async.unit_of_work import AsyncRedisUnitOfWork

    factory = AsyncCircuitBreakerFactory(
        default_threshold=THRESHOLD, default_ttl=OPEN_S, uow=AsyncRedisUnitOfWork(f"redis://{at}")
    )

    def hook(_: str, event: str, payload: object) -> None:
        if event == "state_changed":
            told["state"] = str(payload.state)

    factory.add_listener(hook)
    ready = False

    async def drive(good: bool, hold_s: float) -> int:
        nonlocal ready
        if not ready:
            await factory.initialize()
            ready = True
        try:
            async with await factory.get_breaker("orders"):
                await work(good, hold_s)
        except OpenedState:
            return 503
        except RuntimeError:
            return 502
        return 200

    return drive


async def serve(kind: str, listen: str, at: str) -> None:
    """Answer until the process is ended."""
    host, _, port = at.partition(":")
    client = redis.Redis(host=host, port=int(port))
    makers = {"pybreaker": with_pybreaker, "aiobreaker": with_aiobreaker}
    drive = with_purgatory(at) if kind == "purgatory" else makers[kind](client)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = (await reader.readline()).decode().split()
        while (await reader.readline()).strip():
            pass
        url = urlsplit(line[1])
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        if url.path == "/told":
            status, body = 200, f'{{"state": "{told["state"]}"}}'
        else:
            status = await drive(query.get("good") == "true", float(query.get("holdMs", "0")) / 1000)
            body = str(status)
        head = f"HTTP/1.1 {status} Said\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        writer.write((head + body).encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, *listen.split(":"))
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(*sys.argv[1:4]))
