"""Progress on a terminal: phase, steady state now, fault countdown, traffic; lines where there is none."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from agent.model import Injection, Look, Mark, RunRecord, Verdict
from agent.safety.context import run_folder
from agent.traffic.samples import percentile, window

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path
    from typing import Any, Self

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
NOTHING_IN = {"after": "second look", "rollbacks": "making sure that nothing is left"}
"""What some phases are called when every fault is out already."""
LINE_EVERY_S = 1.0
TRAFFIC_WINDOW_S = 2.0


class Progress:
    """Tells what a run does: each phase on a line, and below it what is so right now.

    At a terminal the last line is rewritten with every look; elsewhere it is printed once a second.
    Use it as a context manager, and pass it as what observes a run.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._began = time.monotonic()
        self._last = 0.0
        self._faults: dict[str, Injection] = {}
        self._traffic = ""
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def __enter__(self) -> Self:
        """Begin."""
        if console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Take the last line away."""
        self._live.stop()

    def __call__(self, record: RunRecord, event: object) -> None:
        """Follow one event of *record*'s run."""
        if isinstance(event, Mark) and event.kind in PHASES:
            if event.kind == "started":
                console.print(f"[bold]{escape(record.title)}[/]  [dim]{record.run}[/]")
            if event.kind != "rollbacks" or self._faults:
                still_in = any(each.open for each in self._faults.values())
                phase = PHASES[event.kind] if still_in else NOTHING_IN.get(event.kind, PHASES[event.kind])
                self._print(phase + (f": {escape(event.says)}" if event.says else ""))
        elif isinstance(event, Injection):
            self._follow(event)
        elif isinstance(event, Look):
            self._tell(record, event)

    def say(self, text: str) -> None:
        """Print one line."""
        self._print(escape(text))

    def run_folder(self, record: RunRecord) -> Path:
        """Return where *record*'s run keeps its files."""
        return run_folder(self._home, record.run)

    def _follow(self, injection: Injection) -> None:
        victims = ", ".join(injection.victims)
        if injection.open and injection.id not in self._faults:
            self._print(f"in: [bold]{injection.fault}[/] in {escape(victims)}")
        self._faults[injection.id] = injection

    def _tell(self, record: RunRecord, look: Look) -> None:
        now = time.monotonic()
        due = now - self._last >= LINE_EVERY_S
        if due:
            self._last = now
            self._traffic = _traffic(run_folder(self._home, record.run) / "traffic.samples")
        open_ones = [injection for injection in self._faults.values() if injection.open]
        faults = [_countdown(each, record) for each in open_ones]
        line = "  ".join(part for part in (_word(look), *faults, self._traffic, _readings(look)) if part)
        if self._live.is_started:
            text = Text.from_markup(self._stamped(line))
            text.no_wrap, text.overflow = True, "ellipsis"
            self._live.update(text, refresh=True)
        elif due:
            self._print(line)

    def _print(self, text: str) -> None:
        console.print(self._stamped(text), soft_wrap=True)

    def _stamped(self, text: str) -> str:
        return f"  [dim]{time.monotonic() - self._began:6.1f} s[/]  {text}"


def _countdown(injection: Injection, record: RunRecord) -> str:
    """Return how long a fault stays in: as long as the method pauses, at most its longest duration."""
    began, longest_s = injection.applied_at or injection.intended_at, injection.max_duration_s
    held_s = min(_pauses_s(record.definition, injection.fault) or longest_s, longest_s)
    left_s = max(0.0, began + held_s - time.time())
    return f"[magenta]{injection.fault} for {left_s:.0f} s more[/]"


def _pauses_s(definition: Mapping[str, Any], fault: str) -> float:
    """Return how long the method pauses from the step that injects *fault* to its end, seconds."""
    held_s, is_in = 0.0, False
    for step in definition.get("method", []):
        provider = step.get("provider", {})
        is_in = is_in or f"{provider.get('module')}.{provider.get('func')}".endswith(f".{fault}")
        after = step.get("pauses", {}).get("after", 0)
        if is_in and isinstance(after, int | float):
            held_s += after
    return held_s


def _traffic(samples: Path) -> str:
    """Return rate and p95 of the last seconds; empty without traffic."""
    recent = window(samples, since=time.time() - TRAFFIC_WINDOW_S) if samples.exists() else []
    if not recent:
        return ""
    p95_ms = 1000 * percentile(sorted(sample.latency_s for sample in recent), 0.95)
    return f"[cyan]{len(recent) / TRAFFIC_WINDOW_S:.0f} requests/s, p95 {p95_ms:.0f} ms[/]"


def _word(look: Look) -> str:
    return {True: "[green]steady[/]", False: "[red]unsteady[/]", None: "[yellow]unknown[/]"}[look.steady]


def _readings(look: Look) -> str:
    values = []
    for reading in look.readings:
        value = f"{reading.value:.4g}" if isinstance(reading.value, float) else reading.error or reading.value
        values.append(f"{reading.probe} {value}")
    return f"[dim]{escape('  '.join(values))}[/]"


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
        table.add_row(word, escape(record.title), escape(record.reason))
    console.print(table)
