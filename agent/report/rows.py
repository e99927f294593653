"""The rows of the timeline that show the traffic and the probes over time."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import batched
from typing import TYPE_CHECKING

from agent.report.scales import Scale, log_ticks, spread, ticks, width_px
from agent.report.shapes import Row, Shape, level, path, rect, text
from agent.report.words import after, brief, percent, seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agent.model import Activity, TrafficBin
    from agent.report.strips import Run

TITLE_PX = 20.0
PLOT_PX = 66.0
GAP_PX = 12.0
BOLD_PX = 13.5
"""A bold title of 12 px is as wide as plain text of this size."""
STRIP_PX = 16.0
MOST_BINS = 600
"""More bins than this are merged, the worst percentile of the merged ones counting."""

type Points = list[tuple[float, float | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A named curve; *look* is its class in the style sheet (colour, width, dashes)."""

    name: str
    look: str
    points: Points


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """The vertical axis of a row: its scale without places, its ticks and how they are written."""

    low: float
    high: float
    ticks: Sequence[float]
    write: Callable[[float], str]
    log: bool = False


def thinned(bins: Sequence[TrafficBin], most: int = MOST_BINS) -> list[TrafficBin]:
    """Return *bins* in time order, merged to at most *most*."""
    ordered = sorted(bins, key=lambda b: b.at)
    size = math.ceil(len(ordered) / most)
    return [_merged(group) for group in batched(ordered, size)] if size > 1 else ordered


def _merged(group: Sequence[TrafficBin]) -> TrafficBin:
    def worst(values: Sequence[float | None]) -> float | None:
        return max((v for v in values if v is not None), default=None)

    return replace(
        group[0],
        width_s=group[-1].at + group[-1].width_s - group[0].at,
        n=sum(b.n for b in group),
        ok=sum(b.ok for b in group),
        degraded=sum(b.degraded for b in group),
        p50_ms=worst([b.p50_ms for b in group]),
        p95_ms=worst([b.p95_ms for b in group]),
        p99_ms=worst([b.p99_ms for b in group]),
    )


def traffic_rows(bins: Sequence[TrafficBin]) -> list[tuple[str, Axis, list[Line]]]:
    """Return title, axis and curves of each traffic row that has something to show."""
    if not bins:
        return []

    def points(value: Callable[[TrafficBin], float | None]) -> Points:
        return [(b.at + b.width_s / 2, value(b)) for b in bins]

    rate = Line(name="", look="rate", points=points(lambda b: b.n / b.width_s if b.width_s > 0 else None))
    good = Line(name="", look="success", points=points(lambda b: b.ok / b.n if b.n else None))
    bad = Line(name="", look="degraded", points=points(lambda b: b.degraded / b.n if b.n else None))
    late = [
        Line(name="p99", look="p99", points=points(lambda b: b.p99_ms)),
        Line(name="p95", look="p95", points=points(lambda b: b.p95_ms)),
        Line(name="p50", look="p50", points=points(lambda b: b.p50_ms)),
    ]
    rows = [
        ("Traffic, requests per second", _from_zero([rate], lambda v: f"{v:,g}"), [rate]),
        ("Success ratio", _success_axis(good), [good]),
    ]
    if any(b.degraded for b in bins):
        rows.append(("Degraded ratio (answered by the fallback)", _from_zero([bad], percent, 1.0), [bad]))
    if any(value for line in late for _, value in line.points):
        rows.append(("Latency, logarithmic", _log_axis(late), late))
    return rows


def _values(lines: Sequence[Line]) -> list[float]:
    return [v for line in lines for _, v in line.points if v is not None and math.isfinite(v)]


def _from_zero(lines: Sequence[Line], write: Callable[[float], str], most: float = math.inf) -> Axis:
    high = min(most, max(_values(lines), default=0.0) * 1.08) or 1.0
    return Axis(low=0.0, high=high, ticks=ticks(0.0, high, 3), write=write)


def _round_ms(value: float) -> str:
    return f"{value:g} ms" if value < 1000 else f"{value / 1000:g} s"


def _success_axis(line: Line) -> Axis:
    worst = min(_values([line]), default=1.0)
    low = next((b for b in (0.99, 0.95, 0.9, 0.8, 0.5) if worst >= b + (1 - b) * 0.08), 0.0)
    return Axis(low=low, high=1.0, ticks=[low, (low + 1) / 2, 1.0], write=percent)


def _log_axis(lines: Sequence[Line]) -> Axis:
    values = [v for v in _values(lines) if v > 0]
    low, high = min(values) / 1.3, max(values) * 1.3
    return Axis(low=low, high=high, ticks=log_ticks(low, high), write=_round_ms, log=True)


def plot(title: str, axis: Axis, lines: Sequence[Line], time: Scale, top: float) -> Row:
    """Draw one row: title, grid, curves, and each curve's name at its right end."""
    floor = top + TITLE_PX + PLOT_PX
    scale = Scale(low=axis.low, high=axis.high, first=floor, last=floor - PLOT_PX, log=axis.log)
    starts = f", axis starts at {axis.write(axis.low)}" if axis.low > 0 and not axis.log else ""
    drawn = [text(time.first, top + 11, title + starts, "row-title")]
    for tick in axis.ticks:
        drawn += [
            level(scale(tick), time.first, time.last, "grid"),
            text(time.first - 6, scale(tick) + 3.5, axis.write(tick), "tick", anchor="end"),
        ]
    if len(lines) == 1 and axis.low == 0:
        drawn.append(path(area(lines[0].points, time, scale, floor), f"area {lines[0].look}-area"))
    drawn += [path(curve(line.points, time, scale), f"line {line.look}") for line in lines]
    drawn += _names(lines, time, scale, floor)
    return Row(height=TITLE_PX + PLOT_PX + GAP_PX, shapes=drawn)


def _names(lines: Sequence[Line], time: Scale, scale: Scale, floor: float) -> list[Shape]:
    named = [(line, next((v for _, v in reversed(line.points) if v is not None), None)) for line in lines]
    known = [(line, scale(v)) for line, v in named if line.name and v is not None]
    places = spread([y for _, y in known], 11.0, floor - PLOT_PX, floor)
    return [
        text(time.last + 4, y + 3.5, line.name, f"name {line.look}-name")
        for (line, _), y in zip(known, places, strict=True)
    ]


def _pieces(points: Points) -> list[list[tuple[float, float]]]:
    pieces: list[list[tuple[float, float]]] = [[]]
    for at, value in points:
        if value is None or not math.isfinite(value):
            pieces.append([])
        else:
            pieces[-1].append((at, value))
    return [piece for piece in pieces if piece]


def curve(points: Points, time: Scale, scale: Scale) -> str:
    """Return the path of a curve that breaks where there is no value; a lonely point becomes a dot."""
    drawn = []
    for piece in _pieces(points):
        drawn.append("M" + "L".join(f"{time(at)} {scale(value)}" for at, value in piece))
        if len(piece) == 1:
            drawn.append("h.1")
    return "".join(drawn)


def area(points: Points, time: Scale, scale: Scale, floor: float) -> str:
    """Return the path of what lies under a curve."""
    return "".join(
        f"M{time(piece[0][0])} {floor}L"
        + "L".join(f"{time(at)} {scale(value)}" for at, value in piece)
        + f"V{floor}Z"
        for piece in _pieces(points)
    )


def strip(probe: str, runs: Sequence[Run], looks: Sequence[Activity], time: Scale, top: float) -> Row:
    """Draw what one probe said: thin where steady, tall and hatched where unsteady, dotted where unknown.

    *looks* are Chaos Toolkit's own at this probe, drawn as a tick, a cross or a question mark in a disc.
    """
    summary = _in_short(runs)
    room = int((time.last - time.first - width_px(summary)) / width_px("x", BOLD_PX)) - 2
    drawn = [
        text(time.first, top + 11, brief(probe, max(8, room)), "row-title"),
        text(time.last, top + 11, summary, "row-note", anchor="end"),
        rect(time.first, top + TITLE_PX, time.last, STRIP_PX, "track"),
    ]
    for run in runs:
        drawn += _run_shapes(run, time, top + TITLE_PX)
    for look in looks:
        drawn += _look_shapes(look, time(look.started_at), top + TITLE_PX + STRIP_PX / 2)
    return Row(height=TITLE_PX + STRIP_PX + GAP_PX, shapes=drawn)


def _in_short(runs: Sequence[Run]) -> str:
    if not runs:
        return "no look by the watch"
    unsteady_s = sum(r.end - r.start for r in runs if r.state == "unsteady")
    unknown_s = sum(r.end - r.start for r in runs if r.state == "unknown")
    said = f"unsteady {seconds(unsteady_s)}" if unsteady_s else "never unsteady"
    return said + (f", unknown {seconds(unknown_s)}" if unknown_s else "")


def _run_shapes(run: Run, time: Scale, top: float) -> list[Shape]:
    inset = {"steady": 5.0, "unsteady": 0.0, "unknown": 2.0}[run.state]
    tip = f"{run.state} from {after(run.start, time.low)} to {after(run.end, time.low)}, {run.looks:,} looks"
    box = (time(run.start), top + inset, time(run.end), STRIP_PX - 2 * inset)
    drawn = [rect(*box, run.state, tip=tip)]
    if run.state != "steady":
        drawn.append(rect(*box, f"{run.state}-pattern", tip=tip))
    return drawn


def _look_shapes(look: Activity, x: float, y: float) -> list[Shape]:
    sign = {
        True: f"M{x - 3} {y}l2 2.5l4 -5",
        False: f"M{x - 2.5} {y - 2.5}l5 5m0 -5l-5 5",
        None: f"M{x - 2} {y - 1.5}a2 2 0 1 1 2.6 1.9v1m0 1.6v.6",
    }[look.met]
    word = {True: "met", False: "not met", None: "could not be told"}[look.met]
    which = {"before": "first look", "after": "second look"}.get(look.section, "look")
    tip = f"Chaos Toolkit's {which}: {word}"
    disc = f"M{x - 7} {y}a7 7 0 1 0 14 0a7 7 0 1 0 -14 0"
    look_class = {True: "met", False: "not-met", None: "not-told"}[look.met]
    return [path(disc, f"disc {look_class}", tip=tip), path(sign, "disc-sign", tip=tip)]
