"""Progress on a terminal: phase, steady state now, fault countdown, traffic; lines where there is none."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from agent.model import Look, Mark, RunRecord, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable

console = Console(stderr=True, highlight=False)

COLOURS = {
    Verdict.HELD: "green",
    Verdict.DEVIATED: "red",
    Verdict.INCONCLUSIVE: "yellow",
    Verdict.REFUSED: "magenta",
}
PHASES = {
    "started": "starting the traffic and taking the first look",
    "method": "breaking",
    "after": "second look, the fault still in",
    "rollbacks": "healing",
    "heal_started": "healing what is left",
    "healed": "gone",
    "recovered": "steady again",
    "abort": "ABORTED",
    "interrupted": "stopping",
    "halted": "halted",
    "timeout": "time limit",
    "not_recovered": "NOT RECOVERED",
    "child_died": "its process died",
}
LINE_EVERY_S = 1.0


class Progress:
    """Prints what a run does, a line at a time; at most one line a second for looks."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._last = 0.0

    def __call__(self, record: RunRecord, event: object) -> None:
        """Follow one event of *record*'s run."""
        now = time.monotonic()
        if isinstance(event, Mark) and event.kind in PHASES:
            if event.kind == "started":
                console.print(f"[bold]{record.title}[/]  [dim]{record.run}[/]")
            self._line(PHASES[event.kind] + (f": {event.says}" if event.says else ""))
        elif isinstance(event, Look) and now - self._last >= LINE_EVERY_S:
            self._last = now
            self._line(_steadiness(event))

    def _line(self, text: str) -> None:
        console.print(f"  [dim]{time.monotonic() - self._began:6.1f} s[/]  {text}")


def _steadiness(look: Look) -> str:
    word = {True: "[green]steady[/]", False: "[red]unsteady[/]", None: "[yellow]unknown[/]"}[look.steady]
    values = []
    for reading in look.readings:
        value = f"{reading.value:.4g}" if isinstance(reading.value, float) else reading.error or reading.value
        values.append(f"{reading.probe} {value}")
    return f"{word}  [dim]{'  '.join(values)}[/]"


def verdicts(records: Iterable[RunRecord]) -> None:
    """Print the table of verdicts, each with its sentence."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("verdict", "experiment", "reason"):
        table.add_column(heading, overflow="fold")
    for record in records:
        verdict = record.verdict or Verdict.INCONCLUSIVE
        word = f"[bold {COLOURS[verdict]}]{verdict}[/]"
        if not record.recovered:
            word += "\n[bold white on red]NOT RECOVERED[/]"
        table.add_row(word, record.title, record.reason)
    console.print(table)
