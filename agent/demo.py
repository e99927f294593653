"""The demo: a sandbox of its own, its experiments one after the other, a table, and nothing left."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import agent
from agent import settings as settings_of
from agent.catalog.read import discover, read
from agent.compose import open_agent
from agent.live import Progress, console, verdicts
from agent.model import EXIT_NOT_RECOVERED, Verdict
from agent.sandbox import starter
from agent.stop import on_signals

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.model import RunRecord

TAG = "demo"


def demo() -> int:
    """Play the demo and return its exit code: 0 when every run came to a verdict and all is gone."""
    stop = on_signals()
    home = _home()
    os.environ[settings_of.PREFIX + "HOME"] = str(home)
    console.print(f"[dim]state folder {home}[/]", soft_wrap=True)
    began = time.monotonic()
    box = starter.up(home)
    records: list[RunRecord] = []
    try:
        console.print(f"a leaderboard with three shards is up at {box.state['url']}\n")
        ours = open_agent(settings_of.current())
        for path in discover([experiments()]):
            experiment = read(path, environ=ours.environ)
            if TAG in experiment.allowance.tags and stop.why is None:
                with Progress(home) as progress:
                    records.append(ours.run(experiment, stop=stop, observe=progress))
                console.print()
    finally:
        box.end()
    verdicts(records)
    for record in records:
        console.print(f"report: {record.report}", soft_wrap=True)
    console.print(f"[dim]everything is stopped; {time.monotonic() - began:.0f} s[/]")
    return _exit_code(records, interrupted=stop.why is not None)


def experiments() -> Path:
    """Return the folder of the experiments that come with this program."""
    return Path(agent.__file__).parent.parent / "experiments" / "sandbox"


def _home() -> Path:
    """Return a folder of this demo's own, so that a second one beside it disturbs nobody."""
    given = settings_of.current()
    base = given.home if "home" in given.model_fields_set else given.home / "demo"
    base.mkdir(parents=True, exist_ok=True, mode=0o700)
    return Path(tempfile.mkdtemp(prefix=time.strftime("%Y%m%d-%H%M%S-"), dir=base))


def _exit_code(records: Sequence[RunRecord], *, interrupted: bool) -> int:
    if not all(record.recovered for record in records):
        return EXIT_NOT_RECOVERED
    came_to_one = all(record.verdict in (Verdict.HELD, Verdict.DEVIATED) for record in records)
    return 3 if interrupted or not records or not came_to_one else 0
