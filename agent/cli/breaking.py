"""Commands that test circuit breakers from outside."""
# ruff: noqa: PLC0415, FBT002  # imports: see the package; options are typer's, never positional

from __future__ import annotations

from pathlib import Path  # noqa: TC003  # typer reads the annotations
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.exercising import Told, exercise, places
from agent.cli.shared import AsJson, errors, open_home
from agent.model import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agent.proxy.place import Place

RATE_FACTOR, RATE_MAX_RPS = 4.0, 500.0
"""The rate may be raised so far where nobody says how far."""
WITHIN_S = 840.0
"""What conformance.yaml leaves for an exercise, of its time limit."""


def breaker_test(
    entry: Annotated[str, typer.Option(help="The URL to call; {key} in it takes the values of --key.")],
    listen: Annotated[str, typer.Option(help="HOST:PORT that the service is told to call: the link.")] = "",
    upstream: Annotated[str, typer.Option(help="HOST:PORT of the dependency behind that link.")] = "",
    link: Annotated[
        list[str] | None,
        typer.Option(
            help="The link's name; NAME=LISTEN->UPSTREAM says all at once, and again for several (a shard "
            "or a replica's path each). NAME alone, without --listen: one of the running proxy.",
            show_default="dependency",
        ),
    ] = None,
    pods: Annotated[
        str,
        typer.Option(
            help="NAMESPACE/SELECTOR of the pods that call the dependency: the link is made inside each, "
            "and the service is told nothing. With --towards, instead of --listen and --upstream."
        ),
    ] = "",
    towards: Annotated[
        str,
        typer.Option(
            help="The dependency as those pods call it: service/NAME:PORT, pods/SELECTOR:PORT, "
            "host/NAME:PORT or ADDRESS:PORT."
        ),
    ] = "",
    key: Annotated[
        list[str] | None,
        typer.Option(
            help="A key such as a shard or tenant; KEY=LINK says which link its calls go over, else that is "
            "learnt. Again for more."
        ),
    ] = None,
    rate: Annotated[float, typer.Option(help="Calls a second, open loop.")] = 40.0,
    rate_max: Annotated[
        float | None,
        typer.Option(
            help="The most calls a second: the rate is raised so far if the breaker stays open only briefly, "
            "and taken back where the service does not stand it. Given, it also allows the phase burst.",
            show_default="4 times --rate, at most 500",
        ),
    ] = None,
    faults: Annotated[
        str,
        typer.Option(help="Kinds of fault, in this order, and extra phases; 'more': those that tell more."),
    ] = "error,hang,slow,refuse,reset,not-found,more",
    expect: Annotated[Path | None, typer.Option(help="A file of expectations, see docs/breakers.md.")] = None,
    whitebox: Annotated[
        list[str] | None,
        typer.Option(
            help="KIND:URL of what the breaker says of itself, see docs/whitebox.md; again for more."
        ),
    ] = None,
    clock_set: Annotated[
        str,
        typer.Option(
            help="Command that sets the service's own wall clock {offset_s} seconds ahead of true time "
            "(+30, -30; +0 sets it right), for the phase clock-step. No shell."
        ),
    ] = "",
    clock_read: Annotated[
        str,
        typer.Option(
            help="Command that prints that clock, in seconds since the epoch.",
            show_default="the Date of the entry's answers",
        ),
    ] = "",
    seed: Annotated[int, typer.Option(help="Repeats the moments at which faults begin and end.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Also put answer, recording and report here.")] = None,
    as_json: AsJson = False,
) -> None:
    """Find out what a circuit breaker really does, and what is wrong with it, from outside.

    The service under test is called at ENTRY, and a link goes between it and its dependency.

    The link then fails in each way, one after the other, until the breaker was seen to open, to try and to
    close again; each fault ends by itself, whatever happens. Exit code: 0 nothing to complain of, 1 a
    finding or a failed expectation, 2 usage, 3 it cannot be told, 4 refused, 5 something may still be broken.
    """
    from agent.cli.telling import Telling
    from agent.report.breaker.memo import breaker_lines
    from agent.traffic.plan import check_target
    from agent.whitebox.sources import check

    with errors(), open_home() as agent:
        check_target(entry)
        kinds = _kinds(faults)
        links = places(link or [], listen, upstream)
        _check_pods(pods, towards, links)
        most = max(rate, min(RATE_FACTOR * rate, RATE_MAX_RPS)) if rate_max is None else rate_max
        names = [each.name for each in links]
        keys = _keys(key or [], names, entry)
        _check_expectations(expect)
        _check_clock(clock_set, clock_read, kinds)
        check(whitebox or (), links=names)
        variables = {
            "entry": entry,
            "link": ",".join(names),
            "pods": pods,
            "towards": towards,
            "rate_rps": rate,
            "rate_max_rps": most,
            "bursts": rate_max is not None,
            "kinds": ",".join(kinds),
            "keys": ",".join(keys),
            "key_links": ",".join(f"{name}={leads}" for name, leads in keys.items() if leads),
            "expect": expect.resolve() if expect else "",
            "whitebox": " ".join(whitebox or ()),
            "clock_set": clock_set,
            "clock_read": clock_read,
            "seed": seed,
        }
        typer.echo(_beforehand(entry, (rate, most), kinds, names, keys, clock=bool(clock_set)), err=True)
        if pods:
            typer.echo(_in_pods(pods, towards), err=True)
        told = Told(
            file="breaker.json",
            without={"streams": [], "properties": {}, "findings": [], "expectations": []},
            kept=("breaker.recording.json", "breaker.whitebox.json"),
            lines=lambda record: breaker_lines(record.breaker, record.started_at),
        )
        code = exercise(
            agent,
            "conformance.yaml",
            variables,
            [] if pods else links,
            told,
            out=out,
            as_json=as_json,
            progress=Telling,
        )
        raise typer.Exit(code)


def _kinds(faults: str) -> list[str]:
    from agent.breakers.exercise.phases import NAMES

    kinds = [kind.strip() for kind in faults.split(",") if kind.strip()]
    if not kinds or (unknown := [kind for kind in kinds if kind not in NAMES]):
        raise UsageError(f"--faults: kinds are {', '.join(NAMES)}; not {unknown[0] if kinds else faults!r}")
    return kinds


def _keys(keys: Sequence[str], links: Sequence[str], entry: str) -> dict[str, str]:
    """Return key -> its link, "" where that is to be learnt."""
    found = {name: leads for name, _, leads in (each.partition("=") for each in keys)}
    if strange := [f"{name}={leads}" for name, leads in found.items() if leads and leads not in links]:
        raise UsageError(f"--key {strange[0]} names no link; there are {', '.join(links)}")
    if ("{key}" in entry) != bool(found):
        raise UsageError("give --key and {key} in --entry together: the key has to be in what is called")
    return found


def _check_pods(pods: str, towards: str, links: Sequence[Place]) -> None:
    from agent.faults.inside.link import Ends

    if not pods and not towards:
        return
    if len(links) > 1 or links[0].listen:
        raise UsageError("--pods makes the one link itself: leave --listen and --upstream out")
    Ends.parse(pods, towards)


def _check_expectations(path: Path | None) -> None:
    from agent.breakers.expect import parse

    if path is not None and not path.is_file():
        raise UsageError(f"--expect: there is no file {path}")
    if path is not None:
        parse(path)


def _check_clock(clock_set: str, clock_read: str, kinds: Sequence[str]) -> None:
    from agent.faults.clocks import OFFSET

    if clock_set and OFFSET not in clock_set:
        raise UsageError(f"--clock-set: {OFFSET} has to be in it, and +0 there has to set the clock right")
    if not clock_set and ("clock-step" in kinds or clock_read):
        raise UsageError("a clock is stepped by the command that you give as --clock-set")


def _beforehand(
    entry: str,
    rates: tuple[float, float],
    kinds: Sequence[str],
    links: Sequence[str],
    keys: Mapping[str, str],
    *,
    clock: bool,
) -> str:
    """Say what is going to happen, how long it takes and why."""
    from agent.breakers.exercise.phases import EXTRAS, KINDS, MORE
    from agent.breakers.exercise.protocol import Pace, steps
    from agent.breakers.exercise.raising import CALLS_AN_OPEN_TIME

    pace = Pace()
    plain, named = [kind for kind in kinds if kind in KINDS], [kind for kind in kinds if kind in EXTRAS]
    n = len(steps(plain, links, tuple(keys) if len(links) == 1 and len(keys) > 1 else ()))
    one = len(links) == 1 and len(keys) < 2
    rate, most = rates[0], rates[1] if one else rates[0]
    raised = (
        f", and at most {most:g} times once it was seen to stay open for less than "
        f"{CALLS_AN_OPEN_TIME / rate:.2g} s, as long as calls come out as before"
        if most > rate
        else ""
    )
    apart = f" of the {len(links)} links, one at a time" if len(links) > 1 else f" of the link {links[0]}"
    # a pause is for one that is stuck
    most = len(EXTRAS) - 1 - (not clock) if MORE in kinds else len(named)
    further = f", then {'up to ' if most > len(named) else ''}{most} phases more" if most else ""
    times = [
        _from_to(pace.usual_s(n, open_s, len(named)), pace.usual_s(n, open_s, most)) for open_s in (3.0, 30.0)
    ]
    return (
        f"{entry} is called {rate:g} times a second{raised}. After {pace.baseline_s:.0f} s of calm come "
        f"{n} faults{apart} ({', '.join(plain)}){further}; each fault stays in until the breaker was seen to "
        f"try {pace.trials} times or more, and then is waited for until it has closed again.\n"
        f"So it takes as long as the breaker stays open: about {times[0]} if that is 3 s, {times[1]} if "
        f"30 s; nothing is begun that would end later than {_minutes(WITHIN_S)} after the start."
    )


def _in_pods(pods: str, towards: str) -> str:
    return (
        f"The link is made inside each pod of {pods}, on the way to {towards}. Connections that are open "
        "there are ended once at the beginning and once at the end, so that a few calls may fail."
    )


def _from_to(low: float, high: float) -> str:
    said = _minutes(low), _minutes(min(high, WITHIN_S))
    return said[0] if said[0] == said[1] else " to ".join(said)


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
