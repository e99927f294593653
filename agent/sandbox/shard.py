"""One shard: ranks out of its own SQLite file.  ``python -m agent.sandbox.shard``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from agent.sandbox.players import open_shard, rank
from agent.sandbox.server import listener, serve

if TYPE_CHECKING:
    import sqlite3

    from starlette.requests import Request


def application(db: sqlite3.Connection, name: str) -> Starlette:
    """Return the shard *name* over *db*."""

    async def get_rank(request: Request) -> JSONResponse:
        found = rank(db, request.path_params["player"])
        return JSONResponse({"rank": found, "shard": name}, status_code=200 if found else 404)

    async def health(_: Request) -> JSONResponse:
        return JSONResponse({"ok": True})

    return Starlette(routes=[Route("/rank/{player}", get_rank), Route("/health", health)])


def main() -> None:
    """Open the database and serve."""
    parser = argparse.ArgumentParser(prog="agent.sandbox.shard")
    parser.add_argument("--name", required=True)
    parser.add_argument("--listen", required=True, help="HOST:PORT")
    parser.add_argument("--db", required=True, type=Path)
    parser.add_argument("--lifeline-fd", type=int, help="the shard ends when this pipe ends")
    options = parser.parse_args()
    app = application(open_shard(options.db, options.name), options.name)
    serve(app, listener(options.listen), lifeline_fd=options.lifeline_fd)


if __name__ == "__main__":
    main()
