"""What the commands that exercise a service share: where the link is, the run, and how its answer is told."""
# ruff: noqa: PLC0415  # imports: see the package

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agent.cli.shared import keep, play, print_json, tell
from agent.model import EXIT_CODES, UsageError, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from agent.compose import Agent
    from agent.live import Progress
    from agent.model import RunRecord
    from agent.proxy.place import Place

LINK = "dependency"


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """An answer: the file in the run's folder, what it is without one, and how it reads as Markdown.

    ``kept`` are the other files that ``--out`` gets.
    """

    file: str
    without: Mapping[str, Any]
    kept: Sequence[str]
    lines: Callable[[RunRecord], Iterator[str]]


def places(links: Sequence[str], listen: str, upstream: str) -> list[Place]:
    """Return where the links are, from ``--link``, ``--listen`` and ``--upstream``."""
    from agent.proxy.place import Place

    found = [Place.parse(text) for text in links] or [Place(name=LINK)]
    if bool(listen) != bool(upstream):
        raise UsageError("give --listen and --upstream together, or neither and a --link of a running proxy")
    if listen and (len(found) > 1 or found[0].listen):
        raise UsageError("--listen and --upstream are one link's; write each as --link NAME=LISTEN->UPSTREAM")
    names = [each.name for each in found]
    if twice := {name for name in names if names.count(name) > 1}:
        raise UsageError(f"--link {min(twice)} is there twice; give each link a name of its own")
    return [Place(name=found[0].name, listen=listen, upstream=upstream)] if listen else found


def exercise(
    agent: Agent,
    file: str,
    variables: Mapping[str, Any],
    links: Sequence[Place],
    told: Told,
    *,
    out: Path | None,
    as_json: bool,
    progress: type[Progress] | None = None,
) -> int:
    """Run *file* of ``experiments/breakers`` with *links* in place, tell its answer, return the exit code."""
    from agent.catalog.read import read
    from agent.demo import experiments
    from agent.proxy.place import links_in_place

    texts = {name: str(value) for name, value in variables.items()}
    experiment = read(experiments().parent / "breakers" / file, variables=texts)
    with links_in_place(agent.settings, links):
        records = play(agent, [experiment], leashed=False, progress=progress)
    for record in records:  # none, if it was stopped before it began
        folder = agent.settings.home / "runs" / record.run
        if out is not None:
            keep(folder, out, (told.file, "traffic.samples", "report.html", "record.json", *told.kept))
        if as_json:
            verdict = {"verdict": record.verdict, "reason": record.reason, "run": record.summary()}
            print_json(_answer(folder / told.file, record, told) | verdict)
        else:
            tell([record], as_json=False, several=False)
            _print(record, told)
    return max((record.exit_code for record in records), default=EXIT_CODES[Verdict.INCONCLUSIVE])


def _answer(path: Path, record: RunRecord, told: Told) -> dict[str, Any]:
    if not path.exists():
        return {"answer": f"No answer: {_why_none(record)}", **told.without}
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _why_none(record: RunRecord) -> str:
    """Return what kept the exercise from its end; the verdict may have another reason."""
    failed = next((each.error for each in record.activities if each.section == "method" and each.error), None)
    if record.verdict is Verdict.DEVIATED and failed:
        return failed.strip().splitlines()[-1]
    return record.reason


def _print(record: RunRecord, told: Told) -> None:
    from rich.markdown import Markdown

    from agent.live import console

    text = "\n".join(told.lines(record)) or f"No answer: {_why_none(record)}"
    console.print(Markdown(text))
