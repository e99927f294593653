"""``python -m agent.traffic``: drive one plan until told to stop, or until the lifeline ends."""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import signal
import socket
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

from agent.traffic import commands, offers
from agent.traffic.control import LINE_MAX_BYTES, Control
from agent.traffic.driver import Driver
from agent.traffic.plan import Plan

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


def main() -> None:
    """Read the plan (JSON) from the command line and drive it."""
    parser = argparse.ArgumentParser(prog="agent.traffic")
    parser.add_argument("--plan", required=True)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--commands", type=Path, help="the folder to take live commands in")
    parser.add_argument("--lifeline-fd", type=int, help="ends the driver when this pipe ends")
    options = parser.parse_args()
    raw = json.loads(options.plan)
    plan = Plan(**{**raw, "keys": tuple(raw["keys"]), "headers": tuple(map(tuple, raw["headers"]))})
    gc.collect()
    gc.freeze()  # what is imported stays: to look through it again takes milliseconds, while calls wait
    uvloop.run(_drive(plan, options.out, options.commands, options.lifeline_fd))


async def _drive(plan: Plan, out: Path, folder: Path | None, lifeline: int | None) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(name, stop.set)
    if lifeline is not None:
        loop.add_reader(lifeline, stop.set)  # nobody ever writes: readable means ended
    with out.open("wb") as file:
        if folder is None:
            await Driver(plan, file).drive(stop)
            return
        with _listening(folder) as listening:
            driver = Driver(plan, file)
            async with _controlled(plan, driver, folder, listening):
                await driver.drive(stop)


def _listening(folder: Path) -> socket.socket:
    """Return a socket that takes commands from now on; they are answered a moment later."""
    listening = socket.socket(socket.AF_UNIX)
    with commands.reachable(folder) as path:
        Path(path).unlink(missing_ok=True)
        listening.bind(path)
    listening.listen()
    listening.setblocking(False)
    return listening


@asynccontextmanager
async def _controlled(
    plan: Plan, driver: Driver, folder: Path, listening: socket.socket
) -> AsyncIterator[None]:
    """Answer live commands to *driver* meanwhile."""
    with (folder / offers.FILE).open("wb") as file:
        control = Control(plan, driver, file)
        server = await asyncio.start_unix_server(control.serve, sock=listening, limit=LINE_MAX_BYTES)
        try:
            yield
        finally:
            server.close()
            (folder / commands.SOCKET).unlink(missing_ok=True)


if __name__ == "__main__":
    main()
