"""A service in Python: ``GET /call?key=K`` asks the dependency through a breaker.

``python service.py --listen HOST:PORT --dependency HOST:PORT --log FILE``.  The breaker is a library
as it comes, our own, which is right or has one bug of the catalogue, or none at all.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import uvicorn
from breaker import Breaker, Rules
from bugs import CATALOGUE, NO_BUG, Bug, Choose, Make, one, per_key, replicas
from child import Truth, end_with_starter, parser
from layers import Ask, Failed, Full, Guard, Layers, Question, Rejected, Reply, TimedOut, limited
from libraries import LIBRARIES
from library import LibraryBreaker
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncIterator, Sequence

    from starlette.requests import Request

ORDERS: dict[str, Callable[[Layers], Ask]] = {
    "plain": lambda on: on.timely(on.checked(on.ask)),
    "retries": lambda on: on.retried(on.timely(on.checked(on.ask))),
    "breaker": lambda on: on.guarded(on.timely(on.checked(on.ask))),
    "breaker-around-retries": lambda on: on.guarded(on.retried(on.timely(on.checked(on.ask)))),
    "hedged": lambda on: on.guarded(on.timely(on.hedged(on.checked(on.ask)))),
    "coalesced": lambda on: on.coalesced(on.guarded(on.timely(on.checked(on.ask)))),
    "retries-around-breaker": lambda on: on.retried(on.guarded(on.timely(on.checked(on.ask)))),
}
"""How breaker, retries, hedging and coalescing are put around the call, the outermost first."""
RULES = ("threshold", "open_s", "budget", "successes", "half_open")
PASSED_ON = ("x-request-id", "traceparent")
LIMITS = httpx.Limits(max_connections=2000, max_keepalive_connections=200)


def application(ask: Ask, clients: AsyncExitStack, *, fallback: str, cancels: bool) -> Starlette:
    """Return the service; *cancels* says whether a caller that goes away takes its call along."""

    async def call(request: Request) -> Response:
        headers = {name: request.headers[name] for name in PASSED_ON if name in request.headers}
        question = Question(key=request.query_params.get("key", ""), headers=headers)
        return await _answer(ask, question, fallback)

    async def call_while_wanted(request: Request) -> Response:
        answering = asyncio.ensure_future(call(request))
        leaving = asyncio.ensure_future(_left(request))
        await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
        leaving.cancel()
        if not answering.done():
            answering.cancel()
            return Response(status_code=499)
        return answering.result()

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with clients:
            yield

    endpoint = call_while_wanted if cancels else call
    return Starlette(routes=[Route("/call", endpoint)], lifespan=lifespan)


async def _answer(ask: Ask, question: Question, fallback: str) -> Response:
    try:
        reply = await ask(question)
    except Rejected:
        return _without(question, fallback)
    except Full as error:
        return JSONResponse({"error": str(error)}, status_code=503)
    except TimedOut as error:
        return JSONResponse({"error": str(error)}, status_code=504)
    except Failed as error:
        return JSONResponse({"error": str(error)}, status_code=502)
    return _with(reply, fallback)


def _with(reply: Reply, fallback: str) -> Response:
    marks = {"x-degraded": "1"} if reply.degraded and fallback != "unmarked" else {}
    return Response(reply.body, reply.status, headers=marks, media_type="application/json")


def _without(question: Question, fallback: str) -> Response:
    if fallback == "none":
        return JSONResponse({"error": "the breaker is open"}, status_code=503)
    marks = {"x-degraded": "1"} if fallback == "marked" else {}
    return JSONResponse({"key": question.key, "value": None}, headers=marks)


async def _left(request: Request) -> None:
    """Return when the caller has gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def assemble(options: argparse.Namespace) -> tuple[Ask, AsyncExitStack]:
    """Return the way of asking that the command line describes, and the clients under it."""
    bug = CATALOGUE[options.bug] if options.bug else NO_BUG
    rules = Rules(**{**{name: getattr(options, name) for name in RULES}, **bug.rules})
    truth, clients = Truth(options.log), AsyncExitStack()

    def make(name: str) -> Guard:
        if options.breaker == "circuitbreaker":
            return LibraryBreaker(name, rules, truth)
        if options.breaker in LIBRARIES:
            return LIBRARIES[options.breaker](name, rules, truth)
        return bug.breaker(name, rules, truth, bug.clock)

    def asking(dependency: str, choose: Choose, address: str | None = None) -> Ask:
        transport = httpx.AsyncHTTPTransport(limits=LIMITS, local_address=address)
        client = httpx.AsyncClient(base_url=f"http://{dependency}", transport=transport, timeout=None)  # noqa: S113  # a layer has it
        clients.push_async_callback(client.aclose)
        layers = Layers(
            client=client,
            timeout_s=options.timeout_s * bug.timeout_factor,
            choose=choose,
            retries=options.retries,
        )
        if options.order:
            return ORDERS[options.order](layers)
        if options.breaker == "none":
            return layers.timely(layers.checked(layers.ask))
        return bug.layers(layers)

    if options.shard:
        return _to_shards(options.shard, asking, make, shared=options.shared), clients
    if options.path:
        return _by_replica(options.path, asking, make, shared=options.shared), clients
    ask = asking(options.dependency, _choosing(options, bug)(make), options.source)
    return (limited(ask, options.limit_rps) if options.limit_rps else ask), clients


type Asking = Callable[..., Ask]


def _to_shards(shards: Sequence[str], asking: Asking, make: Make, *, shared: bool) -> Ask:
    """Ask the shard of the question's key; each has a breaker of its own, or all share one."""
    for_all = one(make)
    asks = {
        key: asking(address, for_all if shared else one(lambda _, key=key: make(key)))  # type: ignore[misc]
        for key, _, address in (each.partition("=") for each in shards)
    }

    async def ask(question: Question) -> Reply:
        return await asks[question.key](question)

    return ask


def _by_replica(paths: Sequence[str], asking: Asking, make: Make, *, shared: bool) -> Ask:
    """Let one of several replicas ask, each over a path of its own; each has a breaker, or all share one.

    On one and the same path each has an address of its own, as pods have.
    """
    for_all = one(make)
    apart = len(set(paths)) == len(paths)
    asks = [
        asking(
            path,
            for_all if shared else one(lambda _, n=n: make(f"replica-{n}")),  # type: ignore[misc]
            None if apart else f"127.0.0.{2 + n}",
        )
        for n, path in enumerate(paths)
    ]

    async def ask(question: Question) -> Reply:
        return await random.choice(asks)(question)

    return ask


def _choosing(options: argparse.Namespace, bug: Bug) -> Callable[[Make], Choose]:
    if bug.choose:
        return bug.choose
    if options.per_key:
        return per_key
    return replicas(options.replicas) if options.replicas > 1 else one


def main() -> None:
    """Read the options and serve until SIGTERM."""
    command = parser("service")
    command.add_argument("--log", required=True, type=Path, help="where the state changes are written")
    command.add_argument("--breaker", choices=["own", "circuitbreaker", *LIBRARIES, "none"], default="own")
    command.add_argument(
        "--bug", choices=sorted(CATALOGUE), metavar="NAME", help="with a library, of its layers"
    )
    command.add_argument("--timeout-s", type=float, default=0.4)
    command.add_argument("--threshold", type=int, default=5)
    command.add_argument("--open-s", type=float, default=1.5)
    command.add_argument("--limit-rps", type=float, help="a rate limiter before the breaker")
    command.add_argument("--budget", type=int, default=1, help="trials under way at a time")
    command.add_argument("--successes", type=int, default=1, help="good trials that close it")
    command.add_argument("--half-open", choices=["reject", "queue", "admit"], default="reject")
    command.add_argument("--per-key", action="store_true", help="a breaker for each key")
    command.add_argument("--replicas", type=int, default=1, help="breakers that share nothing")
    command.add_argument("--shard", action="append", metavar="KEY=HOST:PORT", help="where a key's calls go")
    command.add_argument("--path", action="append", metavar="HOST:PORT", help="one for each replica")
    command.add_argument("--source", metavar="ADDRESS", help="which it calls its dependency from")
    command.add_argument("--shared", action="store_true", help="one breaker for all shards or replicas")
    command.add_argument("--order", choices=sorted(ORDERS), help="of breaker and retries; not with --bug")
    command.add_argument("--retries", type=int, default=2)
    command.add_argument("--fallback", choices=["none", "marked", "unmarked"], default="none")
    options = command.parse_args()
    if options.bug and options.breaker != "own" and CATALOGUE[options.bug].breaker is not Breaker:
        command.error("this bug is written into our own breaker")
    end_with_starter()
    ask, clients = assemble(options)
    cancels = bool(options.bug) and CATALOGUE[options.bug].cancels_with_caller
    uvicorn.run(
        application(ask, clients, fallback=options.fallback, cancels=cancels),
        host=options.listen.host,
        port=options.listen.port,
        log_level="warning",
        access_log=False,
        timeout_keep_alive=60,
        timeout_graceful_shutdown=1,
    )


if __name__ == "__main__":
    main()
