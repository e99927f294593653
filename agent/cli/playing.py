"""Commands that run experiments, or say what running them would do."""
# ruff: noqa: PLC0415, FBT002  # imports: see the package; options are typer's, never positional

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from agent.cli.shared import (
    AsJson,
    Files,
    Leash,
    Var,
    errors,
    open_home,
    play,
    print_json,
    read_experiment,
    tell,
    write,
)
from agent.model import EXIT_USAGE, UsageError


def run(
    files: Files,
    var: Var = None,
    leash: Leash = False,
    as_json: AsJson = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before the first harm.")] = False,
) -> None:
    """Run experiments one after the other and file a report for each."""
    with errors(), open_home() as agent:
        experiments = [read_experiment(file, var) for file in files]
        if not (yes or leash or as_json) and sys.stdin.isatty():
            titles = "\n".join(f"  {each.title}" for each in experiments)
            typer.confirm(f"About to run, with real faults:\n{titles}\nGo on?", abort=True, err=True)
        records = play(agent, experiments, leashed=leash)
        tell(records, as_json=as_json, several=len(files) > 1)
        raise typer.Exit(max((record.exit_code for record in records), default=0))


def plan(file: Path, var: Var = None, as_json: AsJson = False) -> None:
    """Show victims, faults, undo, dead men and the longest duration; touches nothing."""
    from agent.plan import plan_of, print_plan

    with errors(), open_home() as agent:
        found = plan_of(read_experiment(file, var), agent.environ)
        print_json(found) if as_json else print_plan(found)
        raise typer.Exit(4 if any("refused" in fault for fault in found["faults"]) else 0)


def validate(
    paths: Annotated[list[Path] | None, typer.Argument(help="Files or folders.")] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the format's JSON Schema instead.")] = False,
) -> None:
    """Read experiment files and list every mistake, with its line and what to write instead."""
    from agent.catalog.read import discover, problems
    from agent.catalog.shape import schema as schema_of

    with errors():
        if schema:
            print_json(schema_of())
            return
        found = discover(paths or [Path("experiments")])
        mistakes = [problem for file in found for problem in problems(file)]
        for problem in mistakes:
            typer.echo(str(problem), err=True)
        typer.echo(f"files: {len(found)}, mistakes: {len(mistakes)}", err=True)
        raise typer.Exit(EXIT_USAGE if mistakes else 0)


def check(
    tag: Annotated[list[str], typer.Option(help="Run experiments that carry all of these tags.")],
    junit: Annotated[Path, typer.Option(help="Where the JUnit report goes.")],
    experiments: Annotated[Path, typer.Option(help="The folder of experiments.")] = Path("experiments"),
    timeout: Annotated[
        float, typer.Option(help="Seconds for all of them; the rest is not started.")
    ] = 1800.0,
    as_json: AsJson = False,
) -> None:
    """Run everything with a tag: the step of a pipeline after a deploy."""
    import threading

    from agent.catalog.read import discover, read
    from agent.report import junit as suite
    from agent.stop import on_signals

    with errors(), open_home() as agent:
        found = [read(path) for path in discover([experiments])]
        chosen = [each for each in found if set(tag) <= set(each.allowance.tags)]
        if not chosen:
            raise UsageError(f"no experiment under {experiments} carries the tags {', '.join(tag)}")
        stop = on_signals()
        timer = threading.Timer(timeout, stop.ask, [f"The {timeout:g} s of --timeout were over"])
        timer.daemon = True
        timer.start()
        records = play(agent, chosen, leashed=False, stop=stop)
        write(junit, suite(records))
        tell(records, as_json=as_json, several=True)
        undone = len(chosen) - len(records)
        if undone:
            typer.echo(f"{undone} experiments were not started", err=True)
        raise typer.Exit(max([*(record.exit_code for record in records), 3 if undone else 0]))


def demo() -> None:
    """Break a sandbox on this machine and watch it heal; well under a minute."""
    from agent.demo import demo as play_demo

    with errors():
        raise typer.Exit(play_demo())
