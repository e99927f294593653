"""Commands that run experiments, or say what running them would do."""
# ruff: noqa: PLC0415, FBT002  # imports: see the package; options are typer's, never positional

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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

if TYPE_CHECKING:
    from agent.catalog.experiment import Experiment
    from agent.compose import Agent
    from agent.model import RunRecord
    from agent.stop import StopRequest


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
    junit: Annotated[Path, typer.Option(help="Where the JUnit report goes.")],
    tag: Annotated[list[str] | None, typer.Option(help="Run what carries all of these tags.")] = None,
    after: Annotated[
        str, typer.Option(help="Wait for this rollout (deployment/NAME) and run what names it in its after.")
    ] = "",
    namespace: Annotated[str, typer.Option(help="The namespace of --after.")] = "default",
    experiments: Annotated[Path, typer.Option(help="The folder of experiments.")] = Path("experiments"),
    timeout: Annotated[float, typer.Option(help="Seconds for all of it; the rest is not started.")] = 1800.0,
    as_json: AsJson = False,
) -> None:
    """Run everything with a tag, or after a rollout: the step of a pipeline after a deploy."""
    import threading

    from agent.catalog.read import discover, read
    from agent.report import junit as suite
    from agent.stop import on_signals

    with errors(), open_home() as agent:
        found = [read(path) for path in discover([experiments])]
        chosen = _chosen(found, tag or [], after, namespace)
        if not chosen:
            wanted = [*(f"the tag {each}" for each in tag or ()), *([f"after: {after}"] if after else ())]
            raise UsageError(f"no experiment under {experiments} has {', '.join(wanted)}")
        stop = on_signals()
        timer = threading.Timer(timeout, stop.ask, [f"The {timeout:g} s of --timeout were over"])
        timer.daemon = True
        timer.start()
        records = (
            _play_after(agent, chosen, after, namespace, stop) if after else play(agent, chosen, stop=stop)
        )
        write(junit, suite(records))
        tell(records, as_json=as_json, several=True)
        undone = len(chosen) - len(records)
        if undone:
            typer.echo(f"{undone} experiments were not started", err=True)
        raise typer.Exit(max([*(record.exit_code for record in records), 3 if undone else 0]))


def _chosen(found: list[Experiment], tags: list[str], after: str, namespace: str) -> list[Experiment]:
    """Return the experiments that are meant.

    Raises:
        UsageError: Neither tags nor a rollout were given.
    """
    if not tags and not after:
        raise UsageError("say which experiments: --tag, or --after deployment/NAME")
    chosen = [each for each in found if set(tags) <= set(each.allowance.tags)]
    if not after:
        return chosen
    waiting = [(each, each.allowance.after) for each in chosen]
    return [each for each, its in waiting if its and after in its.workloads and its.namespace == namespace]


def _play_after(
    agent: Agent, chosen: list[Experiment], after: str, namespace: str, stop: StopRequest
) -> list[RunRecord]:
    """Wait for the rollout, then run; what undoes the rollout is the last one."""
    from agent.model import Verdict
    from agent.safety.context import run_folder
    from agent.schedule.awaiting import await_rollout
    from agent.schedule.rollouts import Workload
    from agent.schedule.undo import undo_and_file

    rollout = await_rollout(
        Workload.parse(after, namespace), stop=stop, tell=lambda says: typer.echo(says, err=True)
    )
    records: list[RunRecord] = []
    for experiment in chosen:
        records += play(agent, [experiment], stop=stop, because=rollout.because)
        its = experiment.allowance.after
        if its and its.rollback and records and records[-1].verdict is Verdict.DEVIATED:
            folder = run_folder(agent.settings.home, records[-1].run)
            typer.echo(undo_and_file(rollout, run=records[-1].run, folder=folder), err=True)
            break
    return records


def demo() -> None:
    """Break a sandbox on this machine and watch it heal; well under a minute."""
    from agent.demo import demo as play_demo

    with errors():
        raise typer.Exit(play_demo())
