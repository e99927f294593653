"""The gateway: routes a player to a shard, with a timeout, a breaker per shard, an honest fallback.

``python -m agent.sandbox.gateway``; where nobody hands it a socket and links, as in a container, it
listens by itself and finds its shards in ``GAMEDAY_SANDBOX_SHARDS``.

The breaker is the library ``circuitbreaker`` as it comes: it counts errors, and a slow answer is no
error; what the experiments find follows from that.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
from typing import TYPE_CHECKING

import httpx
from circuitbreaker import CircuitBreaker, CircuitBreakerError
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from agent.sandbox.players import shard_of
from agent.sandbox.server import listener, serve

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

FAILURES_TO_OPEN = 3
OPEN_S = 4
CONNECTIONS = httpx.Limits(max_connections=200, max_keepalive_connections=50)


class Shard:
    """A shard as the gateway sees it: an address behind a breaker."""

    def __init__(self, url: str, *, timeout_s: float) -> None:
        self._client = httpx.AsyncClient(base_url=url, limits=CONNECTIONS, timeout=timeout_s)
        self._timeout_s = timeout_s
        breaker = CircuitBreaker(failure_threshold=FAILURES_TO_OPEN, recovery_timeout=OPEN_S)
        self._guarded = breaker(self._ask)  # as a decorator: its call_async never looks at the state

    async def rank(self, player: str) -> int | None:
        """Return the rank of *player*.

        Raises:
            CircuitBreakerError: The breaker is open; the shard was not asked.
            TimeoutError: No answer in time.
            httpx.HTTPError: No answer, or a wrong one.
        """
        found: int | None = await self._guarded(player)
        return found

    async def _ask(self, player: str) -> int | None:
        async with asyncio.timeout(self._timeout_s):
            answer = await self._client.get(f"/rank/{player}")
        if answer.status_code != 404:
            answer.raise_for_status()
        found: int | None = answer.json()["rank"]
        return found


def application(shards: Mapping[str, Shard]) -> Starlette:
    """Return the gateway in front of *shards*."""

    async def get_rank(request: Request) -> JSONResponse:
        player = request.path_params["player"]
        name = shard_of(player)
        try:
            return JSONResponse({"player": player, "rank": await shards[name].rank(player), "shard": name})
        except CircuitBreakerError:
            return _degraded(player, name, "breaker-open")
        except TimeoutError:
            return _degraded(player, name, "timeout")
        except (httpx.HTTPError, ValueError, KeyError):
            return _degraded(player, name, "error")

    async def health(_: Request) -> JSONResponse:
        return JSONResponse({"ok": True})

    return Starlette(routes=[Route("/rank/{player}", get_rank), Route("/health", health)])


def _degraded(player: str, shard: str, why: str) -> JSONResponse:
    body = {"player": player, "rank": None, "shard": shard, "note": "rank unavailable"}
    return JSONResponse(body, headers={"x-degraded": why})


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser(prog="agent.sandbox.gateway")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--listen-fd", type=int, help="a socket that listens already")
    where.add_argument("--listen", help="HOST:PORT")
    shards = os.environ.get("GAMEDAY_SANDBOX_SHARDS")
    parser.add_argument("--shards", default=shards, required=not shards, help='{"shard-1": "http://…", …}')
    parser.add_argument("--timeout-s", required=True, type=float)
    parser.add_argument("--lifeline-fd", type=int, help="the gateway ends when this pipe ends")
    options = parser.parse_args()
    urls = json.loads(options.shards)
    app = application({name: Shard(url, timeout_s=options.timeout_s) for name, url in urls.items()})
    entry = listener(options.listen) if options.listen else socket.socket(fileno=options.listen_fd)
    serve(app, entry, lifeline_fd=options.lifeline_fd)


if __name__ == "__main__":
    main()
