"""What the commands share: errors as sentences, this home, reading, playing, printing."""
# ruff: noqa: PLC0415  # imports: see the package; options are typer's, never positional

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from agent.model import EXIT_NOT_RECOVERED, EXIT_USAGE, GamedayError, NotRecovered, Refused, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agent.catalog.experiment import Experiment
    from agent.compose import Agent
    from agent.live import Progress
    from agent.model import RunRecord
    from agent.settings import Settings
    from agent.store import Store
    from agent.store.shared import Shared


Files = Annotated[list[Path], typer.Argument(help="Experiment files (YAML or JSON).", show_default=False)]
Var = Annotated[list[str] | None, typer.Option("--var", help="Set a configuration value: name=value.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object to stdout.")]
Leash = Annotated[bool, typer.Option("--leash", help="Everything but the harm: name victims, touch nothing.")]


@contextmanager
def errors() -> Iterator[None]:
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


def read_settings() -> Settings:
    """Return the settings; at a terminal only warnings are logged unless the level is set."""
    from agent import log, settings

    found = settings.current()
    quiet = "log_level" not in found.model_fields_set
    log.configure(found.model_copy(update={"log_level": "warning"}) if quiet else found)
    return found


def open_store() -> Store:
    """Open the store of this home."""
    from agent.store import Store

    return Store(read_settings().home)


def open_shared() -> Shared | None:
    """Open what several agents share, None where there is nothing."""
    from agent.store.shared import Shared

    url = read_settings().store
    return None if url is None else Shared(url)


@contextmanager
def open_home() -> Iterator[Agent]:
    """Open this home, heal what an earlier crash left, and close it at the end."""
    from agent.compose import open_agent

    agent = open_agent(read_settings())
    try:
        yield agent
    finally:
        agent.close()


def read_experiment(file: Path, variables: Sequence[str] | None) -> Experiment:
    """Read *file* with the values of ``--var``."""
    from agent.catalog.read import read

    pairs = dict(_pair(each) for each in variables or ())
    return read(file, variables=pairs)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"--var {text}: write name=value")
    return name, value


def play(
    agent: Agent,
    experiments: Sequence[Experiment],
    *,
    leashed: bool = False,
    stop: Any = None,
    because: str = "",
    progress: type[Progress] | None = None,
) -> list[RunRecord]:
    """Run *experiments* one after the other; a request to stop ends the present one and skips the rest."""
    from agent.live import Progress
    from agent.stop import on_signals

    stop = stop or on_signals()
    records: list[RunRecord] = []
    for experiment in experiments:
        if stop.why is not None:
            break
        with (progress or Progress)(agent.settings.home) as telling:
            records.append(
                agent.run(experiment, stop=stop, leashed=leashed, because=because, observe=telling)
            )
    return records


def tell(records: Sequence[RunRecord], *, as_json: bool, several: bool) -> None:
    """Print verdicts for people, or one JSON object: of the run, or of *several*."""
    from agent.live import console, verdicts

    if as_json:
        summaries = [record.summary() for record in records]
        print_json({"runs": summaries} if several or not summaries else summaries[0])
        return
    verdicts(records)
    for record in records:
        if record.report:
            console.print(f"report: {record.report}", soft_wrap=True)


def write(path: Path, text: str) -> None:
    """Write a result where the user wants it."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error


def keep(folder: Path, out: Path, names: Sequence[str]) -> None:
    """Copy the files *names* of a run's *folder*, as far as they are there, to where ``--out`` says."""
    import shutil

    try:
        out.mkdir(parents=True, exist_ok=True)
        for name in names:
            if (folder / name).exists():
                shutil.copy2(folder / name, out / name)
    except OSError as error:
        raise UsageError(f"--out: {out} cannot be written: {error.strerror}") from error


def print_json(value: Any) -> None:
    """Print *value* as the one thing on stdout."""
    typer.echo(json.dumps(value))
