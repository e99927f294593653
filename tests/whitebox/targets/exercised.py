"""A service that shows the state of one of its breakers at ``/state``, which may be the wrong one.

``python exercised.py MODE --listen HOST:PORT --dependency HOST:PORT``; the breaker is that of
``tests/breakers/targets``, on PYTHONPATH.  What is shown is the one that guards ``/call`` (``right``), one
around it that never opens while a second one inside does (``hidden``), or one that guards a job in the
background whose own dependency is gone, while nothing guards ``/call`` (``phantom``).
"""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import uvicorn
from breaker import Breaker, Rules
from child import Truth, parser
from layers import Failed, Rejected, Reply
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request

PATIENCE_S, OPEN_S = 0.4, 1.0
JOB_EVERY_S = 0.05


class Service:
    """What is shown, and what guards calls."""

    def __init__(self, mode: str, dependency: str) -> None:
        truth = Truth(Path(os.devnull))
        self.shown = Breaker("shown", Rules(open_s=OPEN_S, threshold=10**9 if mode == "hidden" else 5), truth)
        inner = Breaker("inner", Rules(open_s=OPEN_S), truth)
        self.guards = {"right": [self.shown], "hidden": [inner, self.shown], "phantom": []}[mode]
        self.has_job = mode == "phantom"
        self.client = httpx.AsyncClient(base_url=f"http://{dependency}", timeout=PATIENCE_S)

    async def call(self, request: Request) -> Response:
        """Ask the dependency through the guards."""
        headers = {"x-request-id": request.headers.get("x-request-id", "")}

        async def ask() -> Reply:
            try:
                answer = await self.client.get("/item", headers=headers)
            except httpx.HTTPError as error:
                raise Failed(type(error).__name__) from error
            if answer.is_server_error:
                raise Failed(str(answer.status_code))
            return Reply(status=answer.status_code, body=answer.content)

        work = ask
        for guard in self.guards:
            work = lambda guard=guard, work=work: guard.call(work)  # noqa: E731
        try:
            reply = await work()
        except Rejected:
            return Response(status_code=503)
        except Failed:
            return Response(status_code=502)
        return Response(reply.body, reply.status)

    async def state(self, _: Request) -> Response:
        """Show a state."""
        return JSONResponse({"breakers": [{"name": "orders", "state": self.shown.state}]})

    async def job(self) -> None:
        """Ask somebody who is gone, through the breaker that is shown, again and again."""

        async def ask() -> Reply:
            raise Failed("nobody there")

        while True:
            with suppress(Failed, Rejected):
                await self.shown.call(ask)
            await asyncio.sleep(JOB_EVERY_S)


def main() -> None:
    """Serve until SIGTERM."""
    options = parser("exercised")
    options.add_argument("mode", choices=["right", "hidden", "phantom"])
    told = options.parse_args(sys.argv[1:])
    service = Service(told.mode, str(told.dependency))

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        job = asyncio.ensure_future(service.job()) if service.has_job else None
        async with service.client:
            yield
        if job:
            job.cancel()

    routes = [Route("/call", service.call), Route("/state", service.state)]
    uvicorn.run(
        Starlette(routes=routes, lifespan=lifespan),
        host=told.listen.host,
        port=told.listen.port,
        log_level="warning",
        access_log=False,
        timeout_keep_alive=60,
        timeout_graceful_shutdown=1,
    )


if __name__ == "__main__":
    main()
