"""What a run would do: every fault's victims, undo and dead men, by the very same functions, on the leash."""

from __future__ import annotations

import importlib
import inspect
import os
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from agent import settings as settings_of
from agent.live import console
from agent.model import GamedayError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.catalog.experiment import Experiment, Fault


def plan_of(experiment: Experiment, environ: Mapping[str, str]) -> dict[str, Any]:
    """Return the plan of *experiment* as JSON; nothing is touched and no run is recorded."""
    os.environ.update(environ)
    os.environ[settings_of.PREFIX + "LEASH"] = "1"
    os.environ[settings_of.PREFIX + "RUN"] = "plan"
    ours = {fault.name for fault in experiment.faults}
    other = [s["name"] for s in experiment.definition["method"] if s.get("type") == "action"]
    return {
        "experiment": str(experiment.path),
        "title": experiment.title,
        "longest_s": experiment.longest_s,
        "faults": [_fault(fault) for fault in experiment.faults],
        "unguarded_actions": [name for name in other if name not in ours],
        "unmet": [str(problem) for problem in experiment.unmet(environ)],
    }


def _fault(fault: Fault) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": fault.name,
        "fault": fault.call.func,
        "dead_men": dead_men(fault.call.func),
    }
    try:
        found = fault.call()
    except GamedayError as error:
        return {**row, "refused": str(error)}
    return {**row, **{key: found[key] for key in ("victims", "undo", "max_duration_s", "lease_s")}}


def dead_men(func: str) -> str:
    """Return what the fault's own docstring says under ``Dead man:``."""
    module, _, name = func.partition(":")
    text = inspect.getdoc(getattr(importlib.import_module(module), name)) or ""
    return " ".join(text.partition("Dead man:")[2].split())


def print_plan(plan: Mapping[str, Any]) -> None:
    """Print *plan* for people."""
    console.print(
        f"[bold]{escape(plan['title'])}[/]\nat the longest {plan['longest_s']:g} s, healing included\n"
    )
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("action", "victims", "ends after", "undo", "dead men"):
        table.add_column(heading, overflow="fold")
    for row in plan["faults"]:
        if "refused" in row:
            table.add_row(
                row["name"], f"[magenta]refused: {escape(row['refused'])}[/]", "", "", row["dead_men"]
            )
        else:
            victims, undo = ", ".join(row["victims"]), row["undo"]["func"]
            table.add_row(row["name"], victims, f"{row['max_duration_s']:g} s", undo, row["dead_men"])
    console.print(table)
    for name in plan["unguarded_actions"]:
        console.print(f"[yellow]{name}: not one of this agent's faults; nothing here can undo or check it[/]")
    for problem in plan["unmet"]:
        console.print(f"[yellow]{escape(problem)}[/]")
