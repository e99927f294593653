"""What was found out about a circuit breaker: its picture, its properties, its findings."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agent.report.scales import Scale, time_ticks, width_px
from agent.report.shapes import Row, Scene, Shape, level, path, rect, text, upright
from agent.report.words import brief, utc

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LEFT_PX, RIGHT_PX = 92.0, 14.0
BAND_PX, LANE_PX, TICK_PX, GAP_PX = 22.0, 15.0, 9.0, 9.0
LANES = (
    ("Calls", ""),
    ("well", "let_through_well"),
    ("failed", "let_through_failed"),
    ("kept back", "kept_back"),
    ("aside", "aside"),
    ("Dependency", ""),
    ("well", "answered_well"),
    ("failed", "answered_badly"),
)
"""The rows of the raster: a title, and the list of moments in the answer; titles alone are headings."""
STATES = {"closed": "closed", "open": "open", "half_open": "half-open"}
COUNTS = ("calls", "times", "requests")
SIGNS = {"pass": "steady", "fail": "unsteady", "inconclusive": "unknown"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PropertyRow:
    """One property, ready to be shown."""

    name: str
    estimate: str
    between: str
    n: int
    answer: Mapping[str, str]
    why: str


def property_rows(breaker: Mapping[str, Any]) -> list[PropertyRow]:
    """Return the properties of the whole stream in the order in which they were measured."""
    return [
        PropertyRow(
            name=brief(name.removesuffix("_s").removesuffix("_ms").replace("_", " "), 60),
            estimate=amount(each["estimate"], each["unit"]),
            between=between(each["low"], each["high"], each["unit"]),
            n=each["n"],
            answer={"state": SIGNS.get(each["status"], "unknown"), "word": each["status"]},
            why=brief(each["why"], 200),
        )
        for name, each in breaker.get("properties", {}).items()
    ]


def amount(value: float | None, unit: str) -> str:
    """Return a measured value with its unit, a dash for none."""
    if value is None:
        return "\N{EN DASH}"
    if unit == "share":
        return f"{100 * value:.3g} %"
    return f"{value:.0f}" if unit in COUNTS and value == round(value) else f"{value:.3g} {unit}"


def between(low: float | None, high: float | None, unit: str) -> str:
    """Return the interval of a value; open where nothing bounds it."""
    if low is None and high is None:
        return ""
    if low is None:
        return f"at most {amount(high, unit)}"
    if high is None:
        return f"at least {amount(low, unit)}"
    if low == high:
        return ""
    return f"{amount(low, unit)} to {amount(high, unit)}"


def raster(breaker: Mapping[str, Any], width: float) -> Scene | None:
    """Return both streams over time, a tick a call, under the inferred states; None without a call."""
    dots: Mapping[str, Sequence[float]] = breaker.get("raster", {})
    moments = [lane[end] for lane in dots.values() if lane for end in (0, -1)]
    if not moments or max(moments) <= min(moments):
        return None
    time = Scale(low=min(moments), high=max(moments), first=LEFT_PX, last=width - RIGHT_PX)
    stream = breaker["streams"][0]
    faults = _faults(breaker.get("faults", ()), time, 4.0)
    states = _states(stream, time, 4.0 + faults.height)
    lanes = _lanes(dots, time, 4.0 + faults.height + states.height)
    top = 4.0 + faults.height + states.height + lanes.height
    under = _shades(breaker.get("faults", ()), time, top)
    axis = _axis(time, top)
    sequence = ", ".join(STATES.get(state, state) for state in stream["sequence"][:60])
    return Scene(
        width=width,
        height=round(top + axis.height),
        shapes=(*under, *faults.shapes, *states.shapes, *lanes.shapes, *axis.shapes),
        says=f"Inferred states: {sequence}. {breaker['answer']}",
    )


def _faults(faults: Sequence[Mapping[str, Any]], time: Scale, top: float) -> Row:
    shapes: list[Shape] = [text(0, top + 14, "Fault", "row-title")]
    for fault in faults:
        x, to_x, kind = time(fault["began_at"]), time(fault["ended_at"]), brief(fault["kind"], 20)
        tip = f"{kind}: {fault['ended'] - fault['began']:.2f} s"
        shapes += [rect(x, top, to_x, BAND_PX - 4, "fault-bar", tip=tip)]
        if to_x - x > width_px(kind) + 8:
            shapes.append(rect(x + 2, top + 2, x + 8 + width_px(kind), BAND_PX - 8, "fault-plate"))
            shapes.append(text(x + 5, top + 13, kind, "fault-name"))
    return Row(height=BAND_PX, shapes=shapes)


def _shades(faults: Sequence[Mapping[str, Any]], time: Scale, floor: float) -> list[Shape]:
    return [
        rect(time(f["began_at"]), 4, time(f["ended_at"]), round(floor - 4, 1), "fault-shade") for f in faults
    ]


def _states(stream: Mapping[str, Any], time: Scale, top: float) -> Row:
    """Draw the band of states; each change is drawn as wide as its bracket."""
    steps = stream["transitions"]
    edges = [time.low, *((step["after_at"] + step["before_at"]) / 2 for step in steps), time.high]
    shapes: list[Shape] = [text(0, top + 14, "Breaker", "row-title")]
    for state, since, until in zip(stream["sequence"], edges, edges[1:], strict=False):
        x, to_x = time(since), time(until)
        word = STATES.get(state, state)
        shapes.append(
            rect(x, top, to_x, BAND_PX - 4, f"state {state}", tip=f"{word} for {until - since:.2f} s")
        )
        if to_x - x > width_px(word) + 8:
            shapes.append(text(x + 4, top + 13, word, f"state-name on-{state}"))
    for step in steps:
        tip = f"{STATES[step['from']]} to {STATES[step['to']]}, within {step['before'] - step['after']:.3f} s"
        shapes.append(
            rect(time(step["after_at"]), top, time(step["before_at"]), BAND_PX - 4, "bracket", tip=tip)
        )
    return Row(height=BAND_PX + GAP_PX, shapes=shapes)


def _lanes(dots: Mapping[str, Sequence[float]], time: Scale, top: float) -> Row:
    shapes: list[Shape] = []
    y = top
    for title, name in LANES:
        moments = dots.get(name, [])
        if not name:
            shapes.append(text(0, y + 11, title, "row-title"))
        elif moments:
            shapes += [
                text(LEFT_PX - 6, y + 11, title, "row-note", anchor="end"),
                level(y + LANE_PX - 1.5, time.first, time.last, "grid"),
                _ticks(moments, time, y + 3, f"call {name}"),
            ]
        else:
            continue
        y += LANE_PX
    return Row(height=y - top + GAP_PX, shapes=shapes)


def _ticks(moments: Sequence[float], time: Scale, y: float, look: str) -> Shape:
    """Draw one short line for each moment, one for those that fall on the same tenth of a pixel."""
    places = dict.fromkeys(time(at) for at in moments)
    return path("".join(f"M{x} {y}v{TICK_PX}" for x in places), look, tip=f"{len(moments)} calls")


def _axis(time: Scale, floor: float) -> Row:
    shapes = [path(f"M{time.first} {floor}H{time.last}", "axis")]
    for tick in time_ticks(time.high - time.low, max(2, int((time.last - time.first) / 62))):
        x = time(time.low + tick)
        shapes += [
            upright(x, floor, floor + 5, "axis"),
            text(x, floor + 17, f"{tick:g} s", "tick", anchor="middle"),
        ]
    shapes.append(text(time.first, floor + 34, f"since {utc(math.floor(time.low))}", "row-note"))
    return Row(height=42.0, shapes=shapes)
