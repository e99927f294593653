"""What became of a short trouble under load: a picture over time, and a table of its phases.

Drawn from ``gameday/storm/1`` (docs/storms.md), which anybody may have written: what is odd is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agent.report.breaker.fields import count, items, mapping, number, numbers, text
from agent.report.scales import Scale, ticks, time_ticks, width_px
from agent.report.shapes import Scene, Shape, level, path, rect, upright
from agent.report.shapes import text as words
from agent.report.words import NONE, utc

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

WIDE_PX, NARROW_PX = 1040.0, 400.0
LEFT_PX, RIGHT_PX, TOP_PX = 92.0, 14.0, 26.0
TALL_PX, LOW_PX, GAP_PX, AXIS_PX = 110.0, 54.0, 16.0, 42.0
MOST_ROWS, MOST_POINTS = 60, 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseRow:
    """One phase in words."""

    name: str
    lasted: str
    rate: str
    calls: int
    goodput: str
    amplification: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelRow:
    """What became of the trouble at one load."""

    rate: str
    outcome: str
    says: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StormPart:
    """The storm's part of the page; ``phases`` is how many there are, of which ``rows`` shows the first."""

    says: str
    wide: Scene | None
    narrow: Scene | None
    rows: tuple[PhaseRow, ...]
    phases: int
    levels: tuple[LevelRow, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Counts in steps of ``every_s`` from ``began`` (wall seconds)."""

    began: float
    every_s: float
    offered: tuple[float, ...]
    good: tuple[float, ...]
    requests: tuple[float, ...]
    open: tuple[float, ...]

    @property
    def ended(self) -> float:
        """When the last step ended."""
        return self.began + self.every_s * len(self.offered)


def storm_part(storm: Mapping[str, Any] | None) -> StormPart | None:
    """Return the part of the page about *storm*, None where there was none."""
    if storm is None:
        return None
    levels = items(storm.get("levels"))
    phases = [(each, len(levels) > 1) for one in levels for each in items(one.get("phases"))]
    series = _series(storm)
    says = text(storm.get("answer"), 2000)
    spans = [each for each, _ in phases]
    return StormPart(
        says=says,
        wide=_scene(series, spans, says, WIDE_PX) if series else None,
        narrow=_scene(series, spans, says, NARROW_PX) if series else None,
        rows=tuple(_row(each, several=several) for each, several in phases[:MOST_ROWS]),
        phases=len(phases),
        levels=tuple(_level(each) for each in levels[:MOST_ROWS]),
    )


def _level(one: Mapping[str, Any]) -> LevelRow:
    rate = number(one.get("rate_rps"))
    return LevelRow(
        rate=NONE if rate is None else f"{rate:g} rps",
        outcome=text(one.get("outcome"), 40),
        says=text(one.get("says"), 500),
    )


def _row(phase: Mapping[str, Any], *, several: bool) -> PhaseRow:
    began, ended, rate = (number(phase.get(name)) for name in ("began", "ended", "rate_rps"))
    name = text(phase.get("name"), 40)
    return PhaseRow(
        name=f"{name} at {rate:g} rps" if several and rate is not None else name,
        lasted=NONE if began is None or ended is None else f"{ended - began:.1f}",
        rate=NONE if rate is None else f"{rate:g}",
        calls=count(phase.get("offered")),
        goodput=_measured(phase.get("goodput"), 100.0, " %"),
        amplification=_measured(phase.get("amplification"), 1.0, ""),
    )


def _measured(value: Any, factor: float, unit: str) -> str:
    estimate, low, high = (number(mapping(value).get(name)) for name in ("estimate", "low", "high"))
    if estimate is None:
        return NONE
    ends = [NONE if end is None else f"{factor * end:.3g}" for end in (low, high)]
    return f"{factor * estimate:.3g}{unit} ({ends[0]} to {ends[1]})"


def _series(storm: Mapping[str, Any]) -> Series | None:
    found = mapping(storm.get("series"))
    at, every_s = numbers(found.get("at"), MOST_POINTS), number(found.get("every_s"))
    lanes = [numbers(found.get(name), MOST_POINTS) for name in ("offered", "good", "requests", "open")]
    if len(at) < 2 or not every_s or every_s <= 0 or any(len(lane) != len(at) for lane in lanes):
        return None
    offered, good, requests, opened = (tuple(max(0.0, each) for each in lane) for lane in lanes)
    return Series(began=at[0], every_s=every_s, offered=offered, good=good, requests=requests, open=opened)


def _scene(series: Series, phases: Sequence[Mapping[str, Any]], says: str, width: float) -> Scene:
    """Draw goodput within what was offered, requests per call, and requests that are open."""
    time = Scale(low=series.began, high=series.ended, first=LEFT_PX, last=width - RIGHT_PX)
    rates = [tuple(each / series.every_s for each in lane) for lane in (series.offered, series.good)]
    per_call = [r / n if n else 0.0 for r, n in zip(series.requests, series.offered, strict=True)]
    second, third = TOP_PX + TALL_PX + GAP_PX, TOP_PX + TALL_PX + LOW_PX + 2 * GAP_PX
    floor = third + LOW_PX
    shapes = [
        *_phases(phases, time, floor),
        *_areas(series, rates[0], rates[1], time),
        *_lane("Requests", "per call", per_call, "storm-requests", series, time, second),
        *_lane("Open", "requests", series.open, "storm-open", series, time, third),
        *_axis(time, floor + 4),
    ]
    return Scene(width=width, height=round(floor + 4 + AXIS_PX), shapes=tuple(shapes), says=says)


def _phases(phases: Sequence[Mapping[str, Any]], time: Scale, floor: float) -> list[Shape]:
    shapes: list[Shape] = []
    for phase in phases[:MOST_ROWS]:
        began, ended = number(phase.get("began_at")), number(phase.get("ended_at"))
        if began is None or ended is None or began >= min(ended, time.high) or ended <= time.low:
            continue
        x, to_x, name = time(began), time(ended), text(phase.get("name"), 20)
        shapes.append(rect(x, 4, to_x, 16, "storm-phase", tip=f"{name}: {ended - began:.1f} s"))
        if name == "trigger":
            shapes.append(rect(x, 4, to_x, round(floor - 4, 1), "fault-shade"))
        if to_x - x > width_px(name) + 6:
            shapes.append(words(x + 4, 16, name, "row-note"))
    return shapes


def _areas(series: Series, offered: Sequence[float], good: Sequence[float], time: Scale) -> list[Shape]:
    """Draw what was offered as an area, and what came out well in front of it."""
    floor = TOP_PX + TALL_PX
    most = max(*offered, 1.0)
    up = Scale(low=0.0, high=most, first=floor, last=TOP_PX + 4)
    return [
        words(0, TOP_PX + 12, "Calls", "row-title"),
        words(0, TOP_PX + 26, "a second", "row-note"),
        *_grid(up, time),
        path(_steps(series, offered, time, up, close=floor), "storm-lost", tip="offered"),
        path(_steps(series, good, time, up, close=floor), "storm-good", tip="answered well and in time"),
    ]


def _lane(
    title: str, note: str, values: Sequence[float], look: str, series: Series, time: Scale, top: float
) -> list[Shape]:
    up = Scale(low=0.0, high=max(*values, 1.0), first=top + LOW_PX, last=top + 4)
    return [
        words(0, top + 12, title, "row-title"),
        words(0, top + 26, note, "row-note"),
        *_grid(up, time),
        path(_steps(series, values, time, up), look, tip=f"{title.lower()} {note}"),
    ]


def _grid(up: Scale, time: Scale) -> list[Shape]:
    shapes: list[Shape] = []
    for tick in ticks(up.low, up.high, 3):
        shapes.append(level(up(tick), time.first, time.last, "grid"))
        shapes.append(words(LEFT_PX - 6, up(tick) + 4, f"{tick:g}", "tick", anchor="end"))
    return shapes


def _steps(
    series: Series, values: Sequence[float], time: Scale, up: Scale, *, close: float | None = None
) -> str:
    """Return the values as steps, closed along *close* where they are an area."""
    points = [f"M{time(series.began)} {up(0.0) if close is None else close}"]
    for place, value in enumerate(values):
        points.append(f"V{up(value)}H{time(series.began + (place + 1) * series.every_s)}")
    return "".join(points) + ("" if close is None else f"V{close}Z")


def _axis(time: Scale, floor: float) -> list[Shape]:
    shapes = [path(f"M{time.first} {floor}H{time.last}", "axis")]
    for tick in time_ticks(time.high - time.low, max(2, int((time.last - time.first) / 62))):
        x = time(time.low + tick)
        shapes += [
            upright(x, floor, floor + 5, "axis"),
            words(x, floor + 17, f"{tick:g} s", "tick", anchor="middle"),
        ]
    return [*shapes, words(time.first, floor + 34, f"since {utc(time.low)}", "row-note")]
