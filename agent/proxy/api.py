"""The proxy's HTTP API: links and their toxics, as JSON."""

from __future__ import annotations

import asyncio
import hmac
import json
import random
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from agent.model import UsageError
from agent.proxy.link import Link
from agent.proxy.toxic import Toxic

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send

    from agent.proxy.arrivals import Arrivals

BODY_MAX_BYTES = 64 * 1024
ARRIVALS_MAX = 10_000


class Links:
    """The proxy's links by name, and what the API does to them."""

    def __init__(self, arrivals: Arrivals) -> None:
        self.arrivals = arrivals
        self.by_name: dict[str, Link] = {}
        self._ended: dict[str, dict[str, Any]] = {}

    async def put(self, name: str, listen: str, upstream: str) -> Link:
        """Open the link *name*, or leave it if it is there with that upstream.

        Raises:
            UsageError: A malformed address, one that cannot be had, or another upstream.
        """
        wanted = address(upstream)
        if name in self.by_name:
            link = self.by_name[name]
            if link.upstream != wanted:
                raise UsageError(f"link {name} leads to another upstream; delete it first")
            return link
        link = Link(name, address(listen), wanted, self.arrivals)
        try:
            await link.open()
        except OSError as error:
            raise UsageError(f"link {name} cannot listen on {listen}: {error.strerror}") from error
        self.by_name[name] = link
        return link

    def routes(self) -> list[Route]:
        """Return the API."""
        toxic = "/links/{link}/toxics/{toxic}"
        return [
            Route("/health", self._health),
            Route("/links", self._list),
            Route("/links/{link}", self._put, methods=["PUT"]),
            Route("/links/{link}", self._delete, methods=["DELETE"]),
            Route(toxic, self._put_toxic, methods=["PUT"]),
            Route(toxic, self._get_toxic),
            Route(toxic, self._delete_toxic, methods=["DELETE"]),
            Route(toxic + "/renew", self._renew, methods=["POST"]),
            Route("/arrivals", self._arrivals),
            Route("/links/{link}/open", self._open_requests),
        ]

    async def _health(self, _: Request) -> Response:
        return JSONResponse({"ok": True})

    async def _list(self, _: Request) -> Response:
        return JSONResponse({"links": [link.to_json() for link in self.by_name.values()]})

    async def _put(self, request: Request) -> Response:
        body = await _json(request)
        wanted = {"listen": str, "upstream": str}
        if set(body) != set(wanted):
            raise UsageError("a link has listen and upstream, both as host:port")
        link = await self.put(request.path_params["link"], str(body["listen"]), str(body["upstream"]))
        return JSONResponse(link.to_json())

    async def _delete(self, request: Request) -> Response:
        link = self.by_name.pop(request.path_params["link"], None)
        if link:
            await link.close()
        return JSONResponse({"found": link is not None})

    async def _put_toxic(self, request: Request) -> Response:
        link, name = self._link(request), request.path_params["toxic"]
        body = await _json(request)
        body.setdefault("seed", random.getrandbits(32))
        now = asyncio.get_running_loop().time()
        toxic = Toxic.parse(name, body, now=now)
        if name in link.toxics:
            raise UsageError(f"toxic {name} is on link {link.name} already")
        await link.add(toxic)
        return JSONResponse(toxic.to_json(now))

    async def _get_toxic(self, request: Request) -> Response:
        toxic = self._link(request).toxics.get(request.path_params["toxic"])
        now = asyncio.get_running_loop().time()
        return JSONResponse(toxic.to_json(now) if toxic else {"found": False})

    async def _renew(self, request: Request) -> Response:
        link = self._link(request)
        lease_s = (await _json(request)).get("lease_s")
        if not isinstance(lease_s, int | float) or not 0 < lease_s <= 3600:
            raise UsageError("lease_s is a number above 0 and at most 3600")
        toxic = link.toxics.get(request.path_params["toxic"])
        if toxic is None:
            return JSONResponse({"found": False})
        link.renew(toxic, lease_s)
        return JSONResponse({"found": True})

    async def _delete_toxic(self, request: Request) -> Response:
        link = self.by_name.get(request.path_params["link"])
        gone = await link.remove(request.path_params["toxic"]) if link else None
        if gone is None:
            return JSONResponse({"found": False})
        return JSONResponse(gone.to_json(asyncio.get_running_loop().time()))

    async def _arrivals(self, request: Request) -> Response:
        query = request.query_params
        try:
            since, limit = int(query.get("since", 0)), int(query.get("limit", 1000))
        except ValueError:
            raise UsageError("since and limit are whole numbers") from None
        entries = self.arrivals.since(since, max(1, min(limit, ARRIVALS_MAX)))
        return JSONResponse({"arrivals": entries, "seq": self.arrivals.seq})

    async def _open_requests(self, request: Request) -> Response:
        return JSONResponse({"open": self._link(request).open_requests()})

    def _link(self, request: Request) -> Link:
        name = request.path_params["link"]
        if name not in self.by_name:
            raise UsageError(f"there is no link {name}; there are {', '.join(self.by_name) or 'none'}")
        return self.by_name[name]


def application(links: Links, token: str | None) -> ASGIApp:
    """Return the API, behind *token* unless it is None."""

    async def misuse(_: Request, error: Exception) -> Response:
        return JSONResponse({"error": str(error)}, status_code=422)

    app = Starlette(routes=links.routes(), exception_handlers={UsageError: misuse})
    return app if token is None else _Guarded(app, token)


class _Guarded:
    """Lets nobody in without the bearer token."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._wanted = f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = dict(scope.get("headers", [])).get(b"authorization", b"")
        if scope["type"] == "http" and not hmac.compare_digest(given, self._wanted):
            answer = JSONResponse({"error": "the token is missing or wrong"}, status_code=401)
            await answer(scope, receive, send)
            return
        await self._app(scope, receive, send)


async def _json(request: Request) -> dict[str, Any]:
    raw = b""
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > BODY_MAX_BYTES:
            raise UsageError(f"the body is longer than {BODY_MAX_BYTES} bytes")
    try:
        body = json.loads(raw)
    except ValueError:
        raise UsageError("the body is not JSON") from None
    if not isinstance(body, dict):
        raise UsageError("the body is not a JSON object")
    return body


def address(text: str) -> tuple[str, int]:
    """Return ``host:port`` as a pair; IPv6 hosts stand in brackets.

    Raises:
        UsageError: It is something else.
    """
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise UsageError(f"{text!r} is not an address; write host:port")
    return host.strip("[]"), int(port)
