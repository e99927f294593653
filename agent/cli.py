"""The command ``gameday``: arguments in, results to stdout, everything else to stderr.

Each command imports what it needs when it runs, so that ``--help`` and completion stay quick.
"""
# ruff: noqa: PLC0415, FBT002  # imports: the line above; options are typer's, never positional

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from agent.model import EXIT_NOT_RECOVERED, EXIT_USAGE, GamedayError, NotRecovered, Refused, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agent.catalog.experiment import Experiment
    from agent.compose import Agent
    from agent.model import RunRecord
    from agent.settings import Settings
    from agent.store import RunRow

app = typer.Typer(
    name="gameday",
    help="Break things on purpose, tell the truth about what happened, and leave nothing broken.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
sandbox_app = typer.Typer(help="A sharded leaderboard on this machine, to break.", no_args_is_help=True)
app.add_typer(sandbox_app, name="sandbox")

Files = Annotated[list[Path], typer.Argument(help="Experiment files (YAML or JSON).", show_default=False)]
Var = Annotated[list[str] | None, typer.Option("--var", help="Set a configuration value: name=value.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object to stdout.")]
Leash = Annotated[bool, typer.Option("--leash", help="Everything but the harm: name victims, touch nothing.")]


@app.command(epilog="Example: gameday run experiments/sandbox/survives-a-killed-shard.yaml")
def run(
    files: Files,
    var: Var = None,
    leash: Leash = False,
    as_json: AsJson = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before the first harm.")] = False,
) -> None:
    """Run experiments one after the other and file a report for each."""
    with _errors(), _agent() as agent:
        experiments = [_read(file, var) for file in files]
        if not (yes or leash or as_json) and sys.stdin.isatty():
            titles = "\n".join(f"  {each.title}" for each in experiments)
            typer.confirm(f"About to run, with real faults:\n{titles}\nGo on?", abort=True, err=True)
        records = _play(agent, experiments, leashed=leash)
        _tell(records, as_json=as_json)
        raise typer.Exit(max((record.exit_code for record in records), default=0))


@app.command(epilog="Example: gameday plan experiments/sandbox/survives-a-slow-shard.yaml")
def plan(file: Path, var: Var = None, as_json: AsJson = False) -> None:
    """Show victims, faults, undo, dead men and the longest duration; touches nothing."""
    from agent.plan import plan_of, print_plan

    with _errors(), _agent() as agent:
        found = plan_of(_read(file, var), agent.environ)
        _print(found) if as_json else print_plan(found)
        raise typer.Exit(4 if any("refused" in fault for fault in found["faults"]) else 0)


@app.command(epilog="Example: gameday validate experiments/")
def validate(
    paths: Annotated[list[Path] | None, typer.Argument(help="Files or folders.")] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the format's JSON Schema instead.")] = False,
) -> None:
    """Read experiment files and list every mistake, with its line and what to write instead."""
    from agent.catalog.read import discover, problems
    from agent.catalog.shape import schema as schema_of

    with _errors():
        if schema:
            _print(schema_of())
            return
        found = discover(paths or [Path("experiments")])
        mistakes = [problem for file in found for problem in problems(file)]
        for problem in mistakes:
            typer.echo(str(problem), err=True)
        typer.echo(f"{len(found)} files, {len(mistakes)} mistakes", err=True)
        raise typer.Exit(EXIT_USAGE if mistakes else 0)


@app.command(epilog="Example: gameday heal --all")
def heal(
    run_id: Annotated[str | None, typer.Option("--run", help="Only this run.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also runs that are still going on.")] = False,
    leash: Leash = False,
) -> None:
    """Undo what is broken and check that it is gone; by default what dead runs left behind."""
    from agent.safety.heal import heal as heal_run
    from agent.safety.recover import recover

    with _errors():
        store = _store()
        broken = store.injections(run_id, open_only=True)
        if leash:
            for injection in broken:
                typer.echo(f"{injection.run}: {injection.fault} in {', '.join(injection.victims)}")
            return
        results = [] if run_id else [recover(store)]
        if run_id or everything:
            for each in sorted({injection.run for injection in broken}):
                store.abort(each)
                results.append(heal_run(store, each))
        left = [one for result in results for one in result.left]
        typer.echo(f"healed: {sum(len(result.healed) for result in results)}, left: {len(left)}", err=True)
        if left:
            raise NotRecovered("NOT RECOVERED: " + "; ".join(f"{what}: {why}" for what, why in left))


@app.command(epilog="Example: gameday ledger --json")
def ledger(
    everything: Annotated[bool, typer.Option("--all", help="Healed ones too.")] = False,
    as_json: AsJson = False,
) -> None:
    """List what is broken now, as far as anybody knows."""
    from agent.model import iso

    with _errors():
        rows = [
            {
                "run": each.run,
                "fault": each.fault,
                "victims": list(each.victims),
                "state": each.state,
                "intended_at": iso(each.intended_at),
                "max_duration_s": each.max_duration_s,
                "error": each.error,
            }
            for each in _store().injections(open_only=not everything)
        ]
        if as_json:
            _print(rows)
        for row in [] if as_json else rows:
            typer.echo(f"{row['state']:14} {row['run']}  {row['fault']}  {', '.join(row['victims'])}")
        if not rows and not as_json:
            typer.echo("nothing is broken", err=True)


@app.command(epilog='Example: gameday halt --reason "incident 4711"')
def halt(reason: Annotated[str, typer.Option(help="Why; shown to whoever is refused.")] = "by hand") -> None:
    """Stop running runs within a second and refuse new ones until `gameday resume`."""
    with _errors():
        _store().halt(reason)
        typer.echo("halted; `gameday resume` lifts it", err=True)


@app.command(epilog="Example: gameday resume")
def resume() -> None:
    """Lift the halt."""
    with _errors():
        typer.echo("resumed" if _store().resume() else "was not halted", err=True)


@app.command(epilog="Example: gameday runs --json")
def runs(as_json: AsJson = False) -> None:
    """List runs, newest first."""
    with _errors():
        summaries = [_summary(row) for row in _store().runs()]
        if as_json:
            _print(summaries)
            return
        for each in summaries:
            verdict = each["verdict"] or "running"
            typer.echo(f"{each['run']}  {verdict:13} {each['title']}")


@app.command(epilog="Example: gameday show 20261123-101500-3f9a2c")
def show(run_id: Annotated[str, typer.Argument(metavar="RUN")]) -> None:
    """Show one run as Markdown."""
    from agent.report import markdown

    with _errors():
        typer.echo(markdown(_record(run_id)))


@app.command(epilog="Example: gameday report 20261123-101500-3f9a2c --format junit --out result.xml")
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
    with _errors():
        if form not in forms:
            raise UsageError(f"--format {form}: there is {', '.join(forms)}")
        text = forms[form](_record(run_id))
        _write(out, text) if out else typer.echo(text)


@app.command(epilog="Example: gameday check --tag checkout --junit result.xml")
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

    with _errors(), _agent() as agent:
        found = [read(path) for path in discover([experiments])]
        chosen = [each for each in found if set(tag) <= set(each.allowance.tags)]
        if not chosen:
            raise UsageError(f"no experiment under {experiments} carries the tags {', '.join(tag)}")
        stop = on_signals()
        timer = threading.Timer(timeout, stop.ask, [f"The {timeout:g} s of --timeout were over"])
        timer.daemon = True
        timer.start()
        records = _play(agent, chosen, leashed=False, stop=stop)
        _write(junit, suite(records))
        _tell(records, as_json=as_json)
        undone = len(chosen) - len(records)
        if undone:
            typer.echo(f"{undone} experiments were not started", err=True)
        raise typer.Exit(max([*(record.exit_code for record in records), 3 if undone else 0]))


@app.command(epilog="Example: gameday doctor")
def doctor(as_json: AsJson = False) -> None:
    """Tell what this machine can do, and for what it cannot, why."""
    from dataclasses import asdict

    from agent.doctor import examine

    with _errors():
        findings = examine(_settings())
        if as_json:
            _print([asdict(finding) for finding in findings])
            return
        for finding in findings:
            typer.echo(f"{'ok ' if finding.ok else 'no '} {finding.name:22} {finding.says}")


@app.command(epilog="Example: gameday demo")
def demo() -> None:
    """Break a sandbox on this machine and watch it heal; about a minute and a half."""
    from agent.demo import demo as play

    with _errors():
        raise typer.Exit(play())


@app.command(epilog="Example: gameday serve --experiments experiments/")
def serve(
    experiments: Annotated[Path, typer.Option(help="The folder of experiments; changes are picked up.")],
    at_once: Annotated[int, typer.Option(min=1, help="How many runs at the same time.")] = 1,
) -> None:
    """Run experiments on the schedule that each file names, until SIGTERM."""
    from agent.schedule.serve import serve as run_schedule
    from agent.stop import on_signals

    with _errors(), _agent() as agent:
        run_schedule(agent, experiments, stop=on_signals(), at_once=at_once)


@app.command(epilog="Example: gameday proxy --link db=127.0.0.1:5433->127.0.0.1:5432")
def proxy(
    link: Annotated[list[str], typer.Option(help="NAME=LISTEN->UPSTREAM, both as host:port.")],
    api: Annotated[str, typer.Option(help="host:port or unix:/path of its API.")] = "127.0.0.1:0",
) -> None:
    """Run the fault proxy by itself, in front of your own services."""
    import os

    with _errors():
        home = _settings().home
        home.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "agent.proxy", "--home", str(home), "--api", api]
        for each in link:
            command += ["--link", each]
        os.execv(sys.executable, command)  # noqa: S606  # this process becomes the proxy


@sandbox_app.command(epilog="Example: gameday sandbox up --detach")
def up(
    detach: Annotated[bool, typer.Option("--detach", help="Leave it running.")] = False,
    gateway_timeout: Annotated[
        float, typer.Option(help="The gateway's patience with a shard, seconds.")
    ] = 0.2,
) -> None:
    """Start the sandbox of this home."""
    from agent.sandbox import starter
    from agent.stop import on_signals

    with _errors():
        stop = on_signals()
        box = starter.up(_settings().home, detach=detach, gateway_timeout_s=gateway_timeout)
        typer.echo(f"the leaderboard is at {box.state['url']}/rank/7", err=True)
        if not detach:
            import select

            typer.echo("Ctrl-C ends it", err=True)
            select.select([stop], [], [])
            box.end()


@sandbox_app.command(epilog="Example: gameday sandbox down")
def down() -> None:
    """End the sandbox of this home."""
    from agent.sandbox import starter

    with _errors():
        typer.echo("ended" if starter.down(_settings().home) else "none was running", err=True)


@sandbox_app.command(epilog="Example: gameday sandbox status --json")
def status(as_json: AsJson = False) -> None:
    """Tell where the sandbox is."""
    from agent.sandbox import state

    with _errors():
        running = state.read(_settings().home)
        if running is None:
            raise Refused("no sandbox runs in this home; `gameday sandbox up` starts one")
        if as_json:
            _print(state.public(running))
            return
        typer.echo(f"gateway  {running['url']}\nproxy    {running['proxy']}")
        for shard in running["shards"]:
            typer.echo(f"{shard['name']}  pid {shard['pid']}  port {shard['port']}  link {shard['link']}")


# what the commands share


@contextmanager
def _errors() -> Iterator[None]:
    """Turn this program's own errors into a sentence and an exit code; never a traceback."""
    try:
        yield
    except UsageError as error:
        _fail(error, EXIT_USAGE)
    except Refused as error:
        _fail(error, 4)
    except NotRecovered as error:
        _fail(error, EXIT_NOT_RECOVERED)
    except GamedayError as error:
        _fail(error, 3)


def _fail(error: GamedayError, code: int) -> NoReturn:
    typer.echo(f"gameday: {error}", err=True)
    raise typer.Exit(code)


def _settings() -> Settings:
    from agent import log, settings

    found = settings.current()
    quiet = "log_level" not in found.model_fields_set
    log.configure(found.model_copy(update={"log_level": "warning"}) if quiet else found)
    return found


def _store() -> Any:
    from agent.store import Store

    return Store(_settings().home)


@contextmanager
def _agent() -> Iterator[Agent]:
    from agent.compose import open_agent

    agent = open_agent(_settings())
    try:
        yield agent
    finally:
        agent.store.close()


def _read(file: Path, variables: Sequence[str] | None) -> Experiment:
    from agent.catalog.read import read

    pairs = dict(_pair(each) for each in variables or ())
    return read(file, variables=pairs)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"--var {text}: write name=value")
    return name, value


def _play(
    agent: Agent, experiments: Sequence[Experiment], *, leashed: bool, stop: Any = None
) -> list[RunRecord]:
    """Run *experiments* one after the other; a request to stop ends the present one and skips the rest."""
    from agent.live import Progress
    from agent.stop import on_signals

    stop = stop or on_signals()
    records: list[RunRecord] = []
    for experiment in experiments:
        if stop.why is not None:
            break
        records.append(agent.run(experiment, stop=stop, leashed=leashed, observe=Progress()))
    return records


def _tell(records: Sequence[RunRecord], *, as_json: bool) -> None:
    from agent.live import console, verdicts

    if as_json:
        summaries = [record.summary() for record in records]
        _print(summaries[0] if len(summaries) == 1 else {"runs": summaries})
        return
    verdicts(records)
    for record in records:
        if record.report:
            console.print(f"report: {record.report}", soft_wrap=True)


def _summary(row: RunRow) -> dict[str, Any]:
    from agent.model import RunRecord

    if row.summary is not None:
        return dict(row.summary)
    record = RunRecord(run=row.id, experiment=row.experiment, title=row.title, started_at=row.started_at)
    return record.with_(leashed=row.leashed).summary()


def _suite(record: RunRecord) -> str:
    from agent.report import junit

    return junit([record])


def _record(run_id: str) -> RunRecord:
    from agent.report import from_json

    path = _settings().home / "runs" / run_id / "record.json"
    if not path.is_file():
        raise UsageError(f"there is no report of a run {run_id}; `gameday runs` lists them")
    return from_json(path.read_text(encoding="utf-8"))


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error


def _print(value: Any) -> None:
    typer.echo(json.dumps(value))
