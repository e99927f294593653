"""Commands that look at what happened and at what this machine can do."""
# ruff: noqa: PLC0415, FBT002  # imports: see the package; options are typer's, never positional

from __future__ import annotations

from pathlib import Path  # noqa: TC003  # typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.cli.shared import AsJson, errors, open_shared, open_store, print_json, read_settings, write
from agent.model import UsageError

if TYPE_CHECKING:
    from agent.model import RunRecord
    from agent.store import RunRow
    from agent.store.shared import SharedRun

SILENT_S = 60.0
"""An agent that was not heard of for so long is called silent: it may be gone, or cut off."""


def runs(as_json: AsJson = False) -> None:
    """List runs, newest first."""
    with errors():
        shared = open_shared()
        rows = shared.runs() if shared else open_store().runs()
        summaries = [_summary(row) for row in rows]
        if as_json:
            print_json(summaries)
            return
        for each in summaries:
            verdict = each["verdict"] or each.get("state", "running")
            typer.echo(f"{each['run']}  {verdict:13} {each['title']}")


def show(run_id: Annotated[str, typer.Argument(metavar="RUN")]) -> None:
    """Show one run as Markdown."""
    from agent.report import markdown

    with errors():
        typer.echo(markdown(_record(run_id)))


def report(
    run_id: Annotated[str, typer.Argument(metavar="RUN")],
    form: Annotated[str, typer.Option("--format", help="html, md, json or junit.")] = "html",
    out: Annotated[Path | None, typer.Option(help="File to write; default: stdout.")] = None,
) -> None:
    """Render a run's report again."""
    from agent import report as reports

    forms = {
        "html": reports.html,
        "md": reports.markdown,
        "json": reports.json_text,
        "junit": _suite,
    }
    with errors():
        if form not in forms:
            raise UsageError(f"--format {form}: there is {', '.join(forms)}")
        text = forms[form](_record(run_id))
        write(out, text) if out else typer.echo(text)


def doctor(
    as_json: AsJson = False,
    kubernetes: Annotated[bool, typer.Option(help="The cluster and the rights in it instead.")] = False,
) -> None:
    """Tell what this machine can do, and for what it cannot, why."""
    from dataclasses import asdict

    from agent import doctor, doctor_kubernetes

    with errors():
        findings = (doctor_kubernetes if kubernetes else doctor).examine(read_settings())
        if as_json:
            print_json([asdict(finding) for finding in findings])
            return
        for finding in findings:
            typer.echo(f"{'ok ' if finding.ok else 'no '} {finding.name:22} {finding.says}")


def _summary(row: RunRow | SharedRun) -> dict[str, Any]:
    from agent.model import RunRecord
    from agent.store.shared import SharedRun

    more: dict[str, Any] = {}
    if isinstance(row, SharedRun):
        is_silent = row.summary is None and row.silent_s > SILENT_S
        more = {"agent": row.agent, "state": "silent" if is_silent else "running"}
        if row.summary is not None:
            del more["state"]
    if row.summary is not None:
        return {**row.summary, **more}
    began = row.began_at if isinstance(row, SharedRun) else row.started_at
    record = RunRecord(run=row.id, experiment=row.experiment, title=row.title, started_at=began)
    return {**record.with_(leashed=row.leashed).summary(), **more}


def _suite(record: RunRecord) -> str:
    from agent.report import junit

    return junit([record])


def _record(run_id: str) -> RunRecord:
    from agent.report import from_json

    path = read_settings().home / "runs" / run_id / "record.json"
    if path.is_file():
        return from_json(path.read_text(encoding="utf-8"))
    shared = open_shared()
    text = shared.record(run_id) if shared else None
    if text is None:
        raise UsageError(f"there is no report of a run {run_id}; `gameday runs` lists them")
    return from_json(text)
