"""The rows that pictures of a breaker are made of: faults, states with their brackets, calls, time.

A state is told by its height and pattern as much as by its colour: closed is a thin line, half-open is
half as high and hatched, open is full, and what is not known is dotted.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from agent.report.breaker import words
from agent.report.breaker.read import LANES
from agent.report.scales import Scale, ticks, width_px
from agent.report.shapes import Row, Shape, level, path, rect, text, upright
from agent.report.words import brief, utc

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from agent.report.breaker.read import Fault, Raster
    from agent.report.breaker.states import Step, Stretch

LEFT_PX, RIGHT_PX = 92.0, 14.0
BAND_PX, LANE_PX, GAP_PX = 22.0, 15.0, 9.0
FULL_PX, BOLD_PX = 18.0, 13.0
HEIGHTS = {"closed": 5.0, "half_open": 13.0, "open": FULL_PX}
PATTERNED = ("half_open", "untold")
TITLES = {
    "let_through_well": "went well",
    "let_through_failed": "failed",
    "kept_back": "kept back",
    "aside": "aside",
    "answered_well": "answered",
    "answered_badly": "failed",
}
HEADS = {"let_through_well": "Calls", "answered_well": "Dependency"}
"""The heading that stands over the first of its lanes."""
TICK_STEP_PX = 0.5
"""Moments closer together than this are one tick."""
STEPS_S = (1, 2, 5)


def clock(low: float, high: float, width: float) -> Scale:
    """Return the scale of time of a picture that is *width* pixels wide."""
    return Scale(low=low, high=high, first=LEFT_PX, last=width - RIGHT_PX)


def faults_row(faults: Sequence[Fault], time: Scale, top: float) -> Row:
    """Draw when which fault was in; names where there is room."""
    shapes: list[Shape] = [text(0, top + 14, "Fault", "row-title")]
    for fault in visible(faults, time):
        x, to_x, kind = time(fault.since), time(fault.until), brief(fault.kind, 20)
        tip = f"{kind}{f' on {fault.where}' if fault.where else ''}: {fault.until - fault.since:.2f} s"
        shapes += [rect(x, top, to_x, FULL_PX, "fault-bar", tip=tip)]
        if to_x - x > width_px(kind, BOLD_PX) + 10:
            shapes.append(rect(x + 2, top + 2, x + 8 + width_px(kind, BOLD_PX), FULL_PX - 4, "fault-plate"))
            shapes.append(text(x + 5, top + 13, kind, "fault-name"))
    return Row(height=BAND_PX, shapes=shapes)


def phases_row(phases: Sequence[Fault], time: Scale, top: float) -> Row:
    """Draw what else was played when; nothing where nothing was."""
    shown = visible(phases, time)
    if not shown:
        return Row(height=0.0)
    shapes: list[Shape] = [text(0, top + 12, "Phase", "row-title")]
    for phase in shown:
        x, to_x, kind = time(phase.since), time(phase.until), brief(phase.kind, 20)
        rate = f" at {phase.rate_rps:g} calls a second" if phase.rate_rps is not None else ""
        tip = f"{kind}: {phase.until - phase.since:.2f} s{rate}" + (f"; {phase.says}" if phase.says else "")
        shapes.append(rect(x, top, to_x, FULL_PX - 3, "phase", tip=tip))
        if to_x - x > width_px(kind) + 8:
            shapes.append(text(x + 4, top + 11, kind, "phase-name"))
    return Row(height=BAND_PX - 2, shapes=shapes)


def unseen(faults: Sequence[Fault], time: Scale, top: float) -> list[Shape]:
    """Cover the states in times in which none are told."""
    shapes: list[Shape] = []
    for fault in visible(faults, time):
        x, to_x = time(fault.since), time(fault.until)
        tip = f"{brief(fault.kind, 20)}: {fault.untold or 'it cannot be told who was let through'}"
        shapes += [
            rect(x, top, to_x, FULL_PX, "state untold", tip=tip),
            rect(x, top, to_x, FULL_PX, "untold-pattern"),
        ]
    return shapes


def shades(faults: Sequence[Fault], time: Scale, top: float, floor: float) -> list[Shape]:
    """Draw the faults' time as a shade behind everything else."""
    height = round(floor - top, 1)
    return [rect(time(f.since), top, time(f.until), height, "fault-shade") for f in visible(faults, time)]


def visible[T: (Fault, Stretch)](spans: Iterable[T], time: Scale) -> list[T]:
    """Return what lies in the picture."""
    return [each for each in spans if each.until >= time.low and each.since <= time.high]


def states_row(
    name: str, stretches: Sequence[Stretch], steps: Sequence[Step], time: Scale, top: float
) -> Row:
    """Draw states over time, and each change as wide as the bracket that it lies in."""
    floor = top + FULL_PX
    shapes: list[Shape] = [text(0, top + 14, name, "row-title")]
    shown = visible(stretches, time)
    for each in shown:
        shapes += _stretch(each, time, floor)
    for step in steps:
        if step.before < time.low or step.after > time.high:
            continue
        within = f"within {1000 * (step.before - step.after):.0f} ms"
        tip = f"{words.state(step.was)} to {words.state(step.to)}, {within}"
        shapes.append(rect(time(step.after), top, time(step.before), FULL_PX, "bracket", tip=tip))
    starts = {(step.after + step.before) / 2: step.before for step in steps}
    ends = {(step.after + step.before) / 2: step.after for step in steps}
    for each in shown:
        x, to_x = time(starts.get(each.since, each.since)), time(ends.get(each.until, each.until))
        shapes += _name(each, x, to_x, floor)
    return Row(height=BAND_PX + 2, shapes=shapes)


def quarrel(since: float, until: float, time: Scale, top: float, tip: str) -> list[Shape]:
    """Mark where a source contradicts what was seen: a heavy line under its row, with ends."""
    if until < time.low or since > time.high:
        return []
    x, to_x, y = time(since), max(time(until), time(since) + 4), round(top + FULL_PX + 3, 1)
    return [path(f"M{x:g} {y - 3:g}v6M{x:g} {y:g}H{to_x:g}M{to_x:g} {y - 3:g}v6", "quarrel", tip=tip)]


def _stretch(each: Stretch, time: Scale, floor: float) -> list[Shape]:
    x, to_x, word = time(each.since), time(each.until), words.state(each.state)
    look, height = _look(each)
    tip = f"{word} for {each.until - each.since:.2f} s"
    shapes = [rect(x, floor - height, to_x, height, f"state {look}", tip=tip)]
    if look in PATTERNED:
        shapes.append(rect(x, floor - height, to_x, height, f"{look}-pattern"))
    return shapes


def _name(each: Stretch, x: float, to_x: float, floor: float) -> list[Shape]:
    """Write the name of a state between the brackets where it begins and ends, if there is room."""
    word = words.state(each.state)
    look, height = _look(each)
    if to_x - x <= width_px(word, BOLD_PX) + 10:
        return []
    shapes = []
    # Over the thin line of closed there is room; what is hatched or dotted gets a plate.
    y = floor - height - 3 if look == "closed" else floor - height / 2 + 3.5
    if look in PATTERNED:
        right = x + 6 + width_px(word, BOLD_PX)
        shapes.append(rect(x + 2, floor - height + 1, right, height - 2, "state-plate"))
    return [*shapes, text(x + 4, y, word, f"state-name on-{look}")]


def _look(each: Stretch) -> tuple[str, float]:
    """Return how a state is drawn, and how high."""
    return (each.state, HEIGHTS[each.state]) if each.state in HEIGHTS else ("untold", FULL_PX - 6)


def lanes_row(
    raster: Raster, time: Scale, top: float, tick_px: float = 9.0, chosen: Collection[float] = ()
) -> Row:
    """Draw both streams, one tick a call in the lane that says what became of it; *chosen* ones bolder."""
    shapes: list[Shape] = []
    y = top
    for lane in LANES:
        moments = [at for at in raster.lanes[lane] if time.low <= at <= time.high]
        if lane in HEADS:
            y += 5.0 if y > top else 0.0
            shapes.append(text(0, y + 11, HEADS[lane], "row-title"))
            y += LANE_PX
        if not moments and lane == "aside":
            continue
        shapes += [
            text(LEFT_PX - 6, y + tick_px + 1, TITLES[lane], "row-note", anchor="end"),
            level(y + tick_px + 3.5, time.first, time.last, "grid"),
        ]
        if moments:
            shapes.append(_ticks(moments, raster.every[lane], time, y + 3, tick_px, lane))
        if bold := [at for at in moments if at in chosen]:
            shapes.append(path("".join(f"M{time(at):g} {y + 2:g}v{tick_px + 2:g}" for at in bold), "chosen"))
        y += tick_px + 6
    return Row(height=y - top + GAP_PX, shapes=shapes)


def _ticks(moments: Sequence[float], every: int, time: Scale, y: float, tick_px: float, lane: str) -> Shape:
    """Draw one short line for each moment, one for those that fall on the same half pixel."""
    places = dict.fromkeys(round(time(at) / TICK_STEP_PX) * TICK_STEP_PX for at in moments)
    tip = f"{len(moments):,} drawn, one in {every:,}" if every > 1 else f"{len(moments):,}"
    return path("".join(f"M{x:g} {y:g}v{tick_px:g}" for x in places), f"call {lane}", tip=tip)


def axis_row(time: Scale, zero: float, floor: float, note: str = "") -> Row:
    """Draw the axis: seconds since *zero*, round ones."""
    shapes = [path(f"M{time.first} {floor}H{time.last}", "axis")]
    most = max(2, int((time.last - time.first) / 62))
    for tick in ticks(time.low - zero, time.high - zero, most, STEPS_S):
        x = time(zero + tick)
        shapes += [
            upright(x, floor, floor + 5, "axis"),
            text(x, floor + 17, f"{tick:g} s", "tick", anchor=_anchor(x, time)),
        ]
    said = note or f"seconds since {utc(math.floor(zero))}"
    shapes.append(text(time.first, floor + 34, said, "row-note"))
    return Row(height=42.0, shapes=shapes)


def _anchor(x: float, time: Scale) -> str:
    """Keep the last label on the paper."""
    return "end" if x > time.last - 6 else "middle"
