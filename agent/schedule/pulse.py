"""What ``gameday serve`` tells a cluster about itself: is it alive, is it ready, and its figures."""

from __future__ import annotations

import threading
import time
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import uvicorn
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from agent import __version__
from agent.model import GamedayError, InjectionState, UsageError, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from starlette.requests import Request

    from agent.model import RunRecord
    from agent.store import Store

LATE_S = 60.0
"""The loop turns every two seconds; after so long without a turn it hangs."""
UP_WITHIN_S = 10.0
FORMAT = "text/plain; version=0.0.4"


@dataclass(slots=True)
class Pulse:
    """Written by the loop and by runs, read by whoever asks; each write is one assignment."""

    turned_at: float = field(default_factory=time.monotonic)
    experiments_why: str | None = "the folder of experiments was not read yet"
    """Why the folder of experiments is not known, None while it is."""
    ending: bool = False
    experiments: dict[Path, bool] = field(default_factory=dict)
    """Whether each file was taken, or refused."""
    runs: Counter[str] = field(default_factory=Counter)
    last: dict[str, tuple[float, bool]] = field(default_factory=dict)
    """Title -> when its last run ended, and whether it held."""

    def turn(self) -> None:
        """The loop is here."""
        self.turned_at = time.monotonic()

    def took(self, path: Path) -> None:
        """The file is an experiment that will run when it is due."""
        self.experiments = {**self.experiments, path: True}

    def refused(self, path: Path) -> None:
        """The file is there and no experiment."""
        self.experiments = {**self.experiments, path: False}

    def forget(self, path: Path) -> None:
        """The file is gone."""
        self.experiments = {each: taken for each, taken in self.experiments.items() if each != path}

    def ran(self, record: RunRecord) -> None:
        """A run has ended."""
        self.runs[str(record.verdict)] += 1
        at = record.ended_at or time.time()
        self.last = {**self.last, record.title: (at, record.verdict is Verdict.HELD and record.recovered)}


@contextmanager
def listening(where: str, pulse: Pulse, store: Store) -> Iterator[None]:
    """Answer at *where* (``host:port``) while the block lasts.

    Raises:
        UsageError: *where* is no address, or cannot be had.
    """
    host, _, port = where.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise UsageError(f"GAMEDAY_LISTEN={where}: write host:port")
    config = uvicorn.Config(
        application(pulse, store),
        host=host.strip("[]"),
        port=int(port),
        log_config=None,
        log_level="warning",
        access_log=False,
        lifespan="off",
        limit_concurrency=32,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=_run, args=(server,), name="pulse", daemon=True)
    thread.start()
    deadline = time.monotonic() + UP_WITHIN_S
    while not server.started and thread.is_alive() and time.monotonic() < deadline:
        time.sleep(0.01)  # uvicorn has no event for it
    if not server.started:
        raise UsageError(f"GAMEDAY_LISTEN={where}: nobody can listen there")
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(5.0)


def _run(server: uvicorn.Server) -> None:
    with suppress(SystemExit):  # how uvicorn says that the address cannot be had
        server.run()


def application(pulse: Pulse, store: Store) -> Starlette:
    """Return what answers; nothing in it changes anything."""

    def livez(_: Request) -> PlainTextResponse:
        late_s = time.monotonic() - pulse.turned_at
        if late_s > LATE_S and not pulse.ending:
            return PlainTextResponse(f"the loop has not turned for {late_s:.0f} s\n", 503)
        return PlainTextResponse("alive\n")

    def readyz(_: Request) -> PlainTextResponse:
        try:
            store.halted()
        except GamedayError as error:
            return PlainTextResponse(f"{error}\n", 503)
        if not store.path.exists():  # SQLite would go on with a file that nobody can open any more
            return PlainTextResponse(f"{store.path} is gone\n", 503)
        if pulse.experiments_why:
            return PlainTextResponse(f"{pulse.experiments_why}\n", 503)
        return PlainTextResponse("ready\n")

    def metrics(_: Request) -> PlainTextResponse:
        try:
            return PlainTextResponse(figures(pulse, store), media_type=FORMAT)
        except GamedayError as error:
            return PlainTextResponse(f"{error}\n", 503)

    ways = {"/livez": livez, "/readyz": readyz, "/metrics": metrics}
    return Starlette(routes=[Route(path, answer) for path, answer in ways.items()])


def figures(pulse: Pulse, store: Store) -> str:
    """Return the metrics in Prometheus's text format.

    Source:
        https://prometheus.io/docs/instrumenting/exposition_formats/, version 0.0.4.
    """
    broken = store.injections(open_only=True)
    stuck = sum(each.state is InjectionState.NOT_RECOVERED for each in broken)
    taken = Counter(pulse.experiments.values())
    last = sorted(pulse.last.items())
    families: list[tuple[str, str, str, Mapping[str, float]]] = [
        ("info", "gauge", "This agent.", {f'version="{__version__}"': 1}),
        (
            "runs_total",
            "counter",
            "Runs that ended since this agent began, by verdict.",
            {f'verdict="{verdict}"': pulse.runs[verdict] for verdict in Verdict},
        ),
        ("runs_open", "gauge", "Runs that are going on.", {"": len(store.runs(open_only=True))}),
        ("injections_open", "gauge", "Faults that are not known to be gone.", {"": len(broken)}),
        ("injections_not_recovered", "gauge", "Faults that could not be healed: call somebody.", {"": stuck}),
        ("halted", "gauge", "Whether the kill switch is on.", {"": int(store.halted() is not None)}),
        (
            "experiments",
            "gauge",
            "Files of experiments.",
            {'state="taken"': taken[True], 'state="refused"': taken[False]},
        ),
        (
            "last_run_timestamp_seconds",
            "gauge",
            "When the last run of an experiment ended.",
            {f'title="{_escaped(title)}"': at for title, (at, _) in last},
        ),
        (
            "last_run_held",
            "gauge",
            "Whether the last run of an experiment held.",
            {f'title="{_escaped(title)}"': int(held) for title, (_, held) in last},
        ),
    ]
    return "".join(_family(*family) for family in families)


def _family(name: str, kind: str, says: str, values: Mapping[str, float]) -> str:
    lines = [f"# HELP gameday_{name} {says}", f"# TYPE gameday_{name} {kind}"]
    lines += [
        f"gameday_{name}{{{labels}}} {value}" if labels else f"gameday_{name} {value}"
        for labels, value in values.items()
    ]
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
