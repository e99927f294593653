"""Commands that test circuit breakers from outside."""
# ruff: noqa: PLC0415, FBT002  # imports: see the package; options are typer's, never positional

from __future__ import annotations

import json
from pathlib import Path  # noqa: TC003  # typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.cli.shared import AsJson, errors, open_home, play, print_json, tell
from agent.model import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.breakers.protocol import Pace

TAKEN = ("breaker.json", "breaker.recording.json", "traffic.samples", "report.html", "record.json")
ABSENT = "-"


def breaker_test(
    entry: Annotated[str, typer.Option(help="The URL to call; {key} in it takes the values of --key.")],
    listen: Annotated[str, typer.Option(help="HOST:PORT that the service is told to call: the link.")] = "",
    upstream: Annotated[str, typer.Option(help="HOST:PORT of the dependency behind that link.")] = "",
    link: Annotated[
        str, typer.Option(help="The link's name; without --listen, one of the running proxy.")
    ] = "dependency",
    key: Annotated[list[str] | None, typer.Option(help="A key, such as a shard; again for more.")] = None,
    rate: Annotated[float, typer.Option(help="Calls a second, open loop.")] = 40.0,
    faults: Annotated[
        str, typer.Option(help="Kinds of fault, in this order.")
    ] = "error,hang,slow,refuse,reset,not-found",
    expect: Annotated[Path | None, typer.Option(help="A file of expectations, see docs/breakers.md.")] = None,
    seed: Annotated[int, typer.Option(help="Repeats the moments at which faults begin and end.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Also put answer, recording and report here.")] = None,
    as_json: AsJson = False,
) -> None:
    """Find out what a circuit breaker really does, and what is wrong with it, from outside.

    The service under test is called at ENTRY, and a link goes between it and its dependency.
    """
    from agent.breakers.protocol import Pace
    from agent.catalog.read import read
    from agent.demo import experiments
    from agent.proxy.place import link_in_place

    with errors(), open_home() as agent:
        kinds = _kinds(faults)
        if bool(listen) != bool(upstream):
            raise UsageError(
                "give --listen and --upstream together, or neither and a --link of a running proxy"
            )
        if expect is not None and not expect.is_file():
            raise UsageError(f"--expect: there is no file {expect}")
        variables = {
            "entry": entry,
            "link": link,
            "rate_rps": str(rate),
            "kinds": ",".join(kinds),
            "keys": ",".join(key or ()),
            "expect": str(expect.resolve()) if expect else "",
            "seed": str(seed),
        }
        experiment = read(experiments().parent / "breakers" / "conformance.yaml", variables=variables)
        typer.echo(_how_long(Pace(), kinds), err=True)
        with link_in_place(agent.settings, link, listen=listen, upstream=upstream):
            records = play(agent, [experiment], leashed=False)
        for record in records:
            folder = agent.settings.home / "runs" / record.run
            answer = _answer(folder, record.reason)
            answer |= {"verdict": record.verdict, "reason": record.reason, "run": record.summary()}
            if out is not None:
                _take(folder, out)
            if as_json:
                print_json(answer)
            else:
                tell([record], as_json=False, several=False)
                _print(answer)
        raise typer.Exit(max((record.exit_code for record in records), default=3))


def _kinds(faults: str) -> list[str]:
    from agent.breakers.protocol import KINDS

    kinds = [kind.strip() for kind in faults.split(",") if kind.strip()]
    if not kinds or (unknown := [kind for kind in kinds if kind not in KINDS]):
        raise UsageError(f"--faults: kinds are {', '.join(KINDS)}; not {unknown[0] if kinds else faults!r}")
    return kinds


def _how_long(pace: Pace, kinds: Sequence[str]) -> str:
    return (
        f"{len(kinds)} kinds of fault, each until {pace.trials} trials were seen: "
        f"about {pace.usual_s(len(kinds), 3.0):.0f} s if it stays open for 3 s, "
        f"{pace.usual_s(len(kinds), 30.0):.0f} s if for 30 s, at most {pace.longest_s(len(kinds)):.0f} s"
    )


def _answer(folder: Path, reason: str) -> dict[str, Any]:
    path = folder / "breaker.json"
    if not path.exists():
        return {"answer": f"No answer: {reason}", "streams": [], "properties": {}, "findings": []}
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _take(folder: Path, out: Path) -> None:
    import shutil

    try:
        out.mkdir(parents=True, exist_ok=True)
        for name in TAKEN:
            if (folder / name).exists():
                shutil.copy2(folder / name, out / name)
    except OSError as error:
        raise UsageError(f"--out: {out} cannot be written: {error.strerror}") from error


def _print(answer: dict[str, Any]) -> None:
    from rich.table import Table

    from agent.live import console

    console.print(f"\n[bold]{answer['answer']}[/]\n", markup=True)
    if answer["properties"]:
        table = Table("property", "estimate", "between", "n", "status", "seen", box=None)
        for name, each in answer["properties"].items():
            between = _between(each["low"], each["high"])
            table.add_row(
                name, _number(each["estimate"]), between, str(each["n"]), each["status"], each["why"]
            )
        console.print(table)
    for each in answer["findings"]:
        console.print(f"\n[bold]{each['title']}[/] ({each['bug']}): {each['evidence']}.\n  {each['advice']}")


def _number(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.3g}"


def _between(low: float | None, high: float | None) -> str:
    return "" if low is None and high is None else f"{_number(low)} .. {_number(high)}"
