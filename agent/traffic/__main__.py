"""``python -m agent.traffic``: drive one plan until told to stop, or until the lifeline ends."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
from pathlib import Path

import uvloop

from agent.traffic.driver import Driver
from agent.traffic.plan import Plan


def main() -> None:
    """Read the plan (JSON) from the command line and drive it."""
    parser = argparse.ArgumentParser(prog="agent.traffic")
    parser.add_argument("--plan", required=True)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--lifeline-fd", type=int, help="ends the driver when this pipe ends")
    options = parser.parse_args()
    raw = json.loads(options.plan)
    plan = Plan(**{**raw, "keys": tuple(raw["keys"]), "headers": tuple(map(tuple, raw["headers"]))})
    uvloop.run(_drive(plan, options.out, options.lifeline_fd))


async def _drive(plan: Plan, out: Path, lifeline: int | None) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(name, stop.set)
    if lifeline is not None:
        loop.add_reader(lifeline, stop.set)  # nobody ever writes: readable means ended
    with out.open("wb") as file:
        await Driver(plan, file).drive(stop)


if __name__ == "__main__":
    main()
