"""The command that provokes a storm: does a short trouble end with its cause?"""
# ruff: noqa: PLC0415, FBT002  # imports: see the package; options are typer's, never positional

from __future__ import annotations

from pathlib import Path  # noqa: TC003  # typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.cli.exercising import LINK, Told, exercise, places
from agent.cli.shared import AsJson, errors, open_home
from agent.model import UsageError

if TYPE_CHECKING:
    from agent.breakers.storms.storm import Pace, Rules


def storm(
    entry: Annotated[str, typer.Option(help="The URL to call.")],
    listen: Annotated[str, typer.Option(help="HOST:PORT that the service is told to call: the link.")] = "",
    upstream: Annotated[str, typer.Option(help="HOST:PORT of the dependency behind that link.")] = "",
    link: Annotated[
        str, typer.Option(help="The link's name, or NAME=LISTEN->UPSTREAM; NAME alone: of the running proxy.")
    ] = LINK,
    rate: Annotated[float, typer.Option(help="Calls a second, held throughout.")] = 40.0,
    rate_max: Annotated[
        float | None, typer.Option(help="The most that a surge may offer; default: no more than --rate.")
    ] = None,
    trigger: Annotated[
        str, typer.Option(help="latency, error, hang, refuse or reset on the link; or surge, of the load.")
    ] = "latency",
    trigger_s: Annotated[float, typer.Option(help="How long the trigger lasts, in seconds.")] = 3.0,
    latency_ms: Annotated[float, typer.Option(help="Of the trigger latency.")] = 1000.0,
    surge_factor: Annotated[float, typer.Option(help="Of the trigger surge: times --rate.")] = 3.0,
    timeout_s: Annotated[float, typer.Option(help="How long the caller waits for an answer.")] = 2.0,
    baseline_s: Annotated[float | None, typer.Option(help="Seconds of calm before it.")] = None,
    watch_s: Annotated[float | None, typer.Option(help="How long the goodput is waited for.")] = None,
    good_share: Annotated[float, typer.Option(help="The share of calls that has to come out well.")] = 0.9,
    prompt_s: Annotated[float, typer.Option(help="Back within this is recovered, later is a drain.")] = 5.0,
    sweep: Annotated[
        str, typer.Option(help="LOW:HIGH, in calls a second: at which load does the outage stay?")
    ] = "",
    seed: Annotated[int, typer.Option(help="Repeats the arrivals.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Also put answer, samples and report here.")] = None,
    as_json: AsJson = False,
) -> None:
    """Find out whether a short trouble of the dependency ends with its cause, at a load that is held.

    If the goodput does not come back, the load is lowered and restored: an outage that keeps itself going
    (metastable) is told from a queue that drains.  With --sweep: at which load it becomes one.
    """
    from agent.report.storm_memo import storm_lines
    from agent.traffic.plan import check_target

    with errors(), open_home() as agent:
        check_target(entry)
        links = places([link] if link else [], listen, upstream)
        swept = _bounds(sweep)
        low, high = swept or (rate, rate_max if rate_max is not None else rate)
        _check(trigger, trigger_s, good_share, swept=bool(swept), most=surge_factor * rate, high=high)
        variables: dict[str, Any] = {
            "entry": entry,
            "link": links[0].name,
            "rate_rps": low,
            "rate_max_rps": high,
            "timeout_s": timeout_s,
            "trigger": trigger,
            "trigger_s": trigger_s,
            "latency_ms": latency_ms,
            "good_share": good_share,
            "prompt_s": prompt_s,
            "seed": seed,
        }
        variables |= {} if swept else {"surge_factor": surge_factor}
        times = {"baseline_s": baseline_s, "watch_s": watch_s}
        variables |= {name: value for name, value in times.items() if value is not None}
        typer.echo(_how_long(baseline_s, trigger_s, watch_s, swept=bool(swept)), err=True)
        told = Told(
            file="storm.json",
            without={"outcome": "inconclusive", "levels": [], "hysteresis": None},
            kept=("traffic.offers",),
            lines=lambda record: storm_lines(record.storm),
        )
        file = "storm-sweep.yaml" if swept else "storm.yaml"
        raise typer.Exit(exercise(agent, file, variables, links, told, out=out, as_json=as_json))


def _check(
    trigger: str, trigger_s: float, good_share: float, *, swept: bool, most: float, high: float
) -> None:
    from agent.faults.exercise.storm import Trigger

    Trigger(kind=trigger, for_s=trigger_s)
    if not 0 < good_share < 1:
        raise UsageError(f"good_share is above 0 and below 1, not {good_share:g}")
    if trigger == "surge" and swept:
        raise UsageError("--sweep raises the load itself; its trigger is one on the link")
    if trigger == "surge" and most > high:
        raise UsageError(f"a surge to {most:g} calls a second needs --rate-max {most:g} or more")


def _bounds(sweep: str) -> tuple[float, float] | None:
    if not sweep:
        return None
    low, colon, high = sweep.partition(":")
    try:
        bounds = float(low), float(high)
    except ValueError:
        bounds = 0.0, 0.0
    if not colon or not 0 < bounds[0] < bounds[1]:
        raise UsageError(f"--sweep is LOW:HIGH in calls a second, such as 50:200, not {sweep!r}")
    return bounds


def _how_long(baseline_s: float | None, trigger_s: float, watch_s: float | None, *, swept: bool) -> str:
    from dataclasses import replace

    from agent.breakers.storms.storm import Pace, Rules

    given = {"baseline_s": baseline_s, "watch_s": watch_s}
    pace: Pace = replace(Pace(trigger_s=trigger_s), **{k: v for k, v in given.items() if v is not None})
    rules: Rules = Rules()
    each = f"about {pace.usual_s(rules):.0f} s if it recovers soon, {pace.longest_s:.0f} s at most"
    return f"some five loads, each {each}" if swept else each
