"""Commands that stay: the scheduler, the fault proxy, the sandbox."""
# ruff: noqa: PLC0415, FBT002  # imports: see the package; options are typer's, never positional

from __future__ import annotations

import sys
from pathlib import Path  # noqa: TC003  # typer reads the annotations
from typing import Annotated

import typer

from agent.cli.shared import AsJson, errors, open_home, print_json, read_settings
from agent.model import Refused


def serve(
    experiments: Annotated[Path, typer.Option(help="The folder of experiments; changes are picked up.")],
    at_once: Annotated[int, typer.Option(min=1, help="How many runs at the same time.")] = 1,
) -> None:
    """Run experiments on the schedule that each file names, until SIGTERM."""
    from agent.schedule.serve import serve as run_schedule
    from agent.stop import on_signals

    with errors(), open_home() as agent:
        run_schedule(agent, experiments, stop=on_signals(), at_once=at_once)


def proxy(
    link: Annotated[list[str], typer.Option(help="NAME=LISTEN->UPSTREAM, both as host:port.")],
    api: Annotated[str, typer.Option(help="host:port or unix:/path of its API.")] = "127.0.0.1:0",
) -> None:
    """Run the fault proxy by itself, in front of your own services."""
    import os

    with errors():
        home = read_settings().home
        home.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "agent.proxy", "--home", str(home), "--api", api]
        for each in link:
            command += ["--link", each]
        os.execv(sys.executable, command)  # noqa: S606  # this process becomes the proxy


def up(
    detach: Annotated[bool, typer.Option("--detach", help="Leave it running.")] = False,
    gateway_timeout: Annotated[
        float, typer.Option(help="The gateway's patience with a shard, seconds.")
    ] = 0.2,
) -> None:
    """Start the sandbox of this home."""
    from agent.sandbox import starter
    from agent.stop import on_signals

    with errors():
        stop = on_signals()
        box = starter.up(read_settings().home, detach=detach, gateway_timeout_s=gateway_timeout)
        typer.echo(f"the leaderboard is at {box.state['url']}/rank/7", err=True)
        if not detach:
            import select

            typer.echo("Ctrl-C ends it", err=True)
            select.select([stop], [], [])
            box.end()


def down() -> None:
    """End the sandbox of this home."""
    from agent.sandbox import starter

    with errors():
        typer.echo("ended" if starter.down(read_settings().home) else "none was running", err=True)


def status(as_json: AsJson = False) -> None:
    """Tell where the sandbox is."""
    from agent.sandbox import state

    with errors():
        running = state.read(read_settings().home)
        if running is None:
            raise Refused("no sandbox runs in this home; `gameday sandbox up` starts one")
        if as_json:
            print_json(state.public(running))
            return
        typer.echo(f"gateway  {running['url']}\nproxy    {running['proxy']}")
        for shard in running["shards"]:
            typer.echo(f"{shard['name']}  pid {shard['pid']}  port {shard['port']}  link {shard['link']}")
