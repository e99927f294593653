"""The picture of a run: everything that has a time, over one time axis."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

from agent.report.figures import last_moment
from agent.report.rows import GAP_PX, plot, strip, thinned, traffic_rows
from agent.report.scales import Scale, lanes, time_ticks, width_px
from agent.report.shapes import Row, Scene, Shape, path, rect, text, upright
from agent.report.strips import probes, runs
from agent.report.words import after, brief, listing, utc

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.model import Injection, Mark, RunRecord

LEFT_PX, RIGHT_PX = 58.0, 30.0
LANE_PX, PHASE_PX, BAR_PX = 15.0, 15.0, 18.0
MOST_STRIPS, MOST_MARKS, MOST_BARS = 16, 300, 40
MOST_OF_A_KIND = 8
"""Marks of a kind that comes more often (a lease renewed) become short ticks with one label."""
PHASES = ("before", "method", "after", "rollbacks")
EDGES = ("started", "ended")
"""Marks that the ends of the axis show already."""


def timeline(record: RunRecord, width: float) -> Scene | None:
    """Return the picture of *record*, *width* CSS pixels wide; None when nothing in it took any time."""
    start, end = record.started_at, last_moment(record)
    if not (math.isfinite(start) and math.isfinite(end) and end > start):
        return None
    time = Scale(low=start, high=end, first=LEFT_PX, last=width - RIGHT_PX)
    rare, common = _marks(record.marks)
    labels = _mark_labels(rare, common, time)
    head = [labels, *_head(record, time, labels.height)]
    top = sum(row.height for row in head)
    body, floor = _body(record, time, top)
    under = [s for i in record.injections[:MOST_BARS] for s in _shade(i, time, labels.height, floor, end)]
    lines = [upright(time(m.at), 4, floor, f"mark {_loud(m)}", tip=_tip(m, start)) for m in rare]
    lines += [upright(time(m.at), top - 5, top, "mark quiet", tip=_tip(m, start)) for m in common]
    axis = _axis(time, floor)
    shapes = [*under, *body, *lines, *(s for row in reversed(head) for s in row.shapes), *axis.shapes]
    return Scene(width=width, height=round(floor + axis.height), shapes=tuple(shapes), says=describe(record))


def describe(record: RunRecord) -> str:
    """Return in words what the picture shows, for those who cannot see it."""
    start = record.started_at
    said = [
        f"{brief(i.fault)} in {listing(i.victims, 3)} from {after(i.applied_at, start)}"
        + (f" to {after(i.healed_at, start)}" if i.healed_at is not None else ", not healed")
        for i in record.injections[:5]
        if i.applied_at is not None
    ] or ["No fault was applied"]
    for probe in probes(record.looks)[:MOST_STRIPS]:
        bad = [r for r in runs(record.looks, probe) if r.state == "unsteady"]
        spans = ", ".join(f"{after(r.start, start)} to {after(r.end, start)}" for r in bad[:5])
        said.append(f"{brief(probe)} was " + (f"unsteady {spans}" if bad else "never unsteady"))
    return ". ".join(said) + "."


def _head(record: RunRecord, time: Scale, top: float) -> list[Row]:
    phases = _phases(record, time, top)
    return [phases, _bars(record, time, top + phases.height)]


def _body(record: RunRecord, time: Scale, top: float) -> tuple[list[Shape], float]:
    shapes: list[Shape] = []
    for title, axis, lines in traffic_rows(thinned(record.traffic)):
        row = plot(title, axis, lines, time, top)
        shapes += row.shapes
        top += row.height
    for probe in probes(record.looks)[:MOST_STRIPS]:
        own = [a for a in record.activities if a.name == probe and a.section in {"before", "after"}]
        row = strip(probe, runs(record.looks, probe), own, time, top)
        shapes += row.shapes
        top += row.height
    return shapes, top


def _marks(marks: Sequence[Mark]) -> tuple[list[Mark], list[Mark]]:
    """Return the marks to be drawn in full and those of which there are many, each in time order."""
    inner = sorted((m for m in marks if m.kind not in EDGES), key=lambda m: m.at)
    counts = Counter(m.kind for m in inner)
    rare = [m for m in inner if counts[m.kind] <= MOST_OF_A_KIND]
    return rare[:MOST_MARKS], [m for m in inner if counts[m.kind] > MOST_OF_A_KIND][:MOST_MARKS]


def _loud(mark: Mark) -> str:
    return (
        "loud" if mark.kind in {"abort", "interrupted", "child_died", "halted", "not_recovered"} else "quiet"
    )


def _tip(mark: Mark, start: float) -> str:
    return f"{after(mark.at, start)} {brief(mark.kind.replace('_', ' '))}" + (
        f": {brief(mark.says, 200)}" if mark.says else ""
    )


def _mark_labels(rare: Sequence[Mark], common: Sequence[Mark], time: Scale) -> Row:
    """Place the names of marks above the picture; what fits in no lane keeps its line and its tip."""
    counts = Counter(m.kind for m in common)
    firsts = list({m.kind: m for m in reversed(common)}.values())
    marks = [*rare, *firsts]
    times = [f" \N{MULTIPLICATION SIGN} {counts[m.kind]}" if m.kind in counts else "" for m in marks]
    names = [brief(m.kind.replace("_", " "), 24) + n for m, n in zip(marks, times, strict=True)]
    boxes = [_beside(time(m.at), width_px(name), time) for m, name in zip(marks, names, strict=True)]
    placed = lanes([(low - 4, high + 4) for low, high, _ in boxes], 5)
    used = max((lane + 1 for lane in placed if lane is not None), default=0)
    shapes = []
    for mark, name, (low, high, anchor), lane in zip(marks, names, boxes, placed, strict=True):
        if lane is not None:
            x = low if anchor == "start" else high
            shapes.append(text(x, 12 + lane * LANE_PX, name, f"mark-name {_loud(mark)}-name", anchor=anchor))
    return Row(height=used * LANE_PX + 4, shapes=shapes)


def _beside(x: float, width: float, time: Scale) -> tuple[float, float, str]:
    """Return the room of a label right of *x*, or left of it where the paper ends."""
    if x + 4 + width <= time.last + RIGHT_PX or x - 4 - width < 0:
        return x + 4, x + 4 + width, "start"
    return x - 4 - width, x - 4, "end"


def _phases(record: RunRecord, time: Scale, top: float) -> Row:
    shapes: list[Shape] = []
    for phase in PHASES:
        inside = [a for a in record.activities if a.section == phase]
        if not inside:
            continue
        first = min(a.started_at for a in inside)
        last = max(a.ended_at if a.ended_at is not None else a.started_at for a in inside)
        x, to_x = time(first), max(time(last), time(first) + 2)
        shapes.append(
            rect(x, top, to_x, PHASE_PX - 2, f"phase {phase}", tip=f"{phase}: {last - first:.2f} s")
        )
        if to_x - x > width_px(phase, 10) + 6:
            shapes.append(text(x + 4, top + 9.5, phase, "phase-name"))
    return Row(height=PHASE_PX + 3 if shapes else 0.0, shapes=shapes)


def _bars(record: RunRecord, time: Scale, top: float) -> Row:
    """Draw each injection from applied to healed, with its name inside or beside it."""
    applied = [i for i in record.injections if i.applied_at is not None][:MOST_BARS]
    ends = [i.healed_at if i.healed_at is not None else time.high for i in applied]
    boxes = [_bar_box(i, end, time) for i, end in zip(applied, ends, strict=True)]
    placed = lanes([(min(x, low) - 2, max(to_x, high) + 6) for x, to_x, low, high, _ in boxes], 6)
    used = max((lane + 1 for lane in placed if lane is not None), default=0)
    shapes: list[Shape] = []
    for injection, (x, to_x, low, high, anchor), lane in zip(applied, boxes, placed, strict=True):
        if lane is None:
            continue
        y = top + lane * (BAR_PX + 3)
        inside = low >= x and high <= to_x
        look = "still-in" if injection.healed_at is None else ""
        shapes += [
            rect(x, y, to_x, BAR_PX, f"fault-bar {look}", tip=_fault_tip(injection, time.low)),
            rect(x, y, to_x, BAR_PX, "fault-pattern"),
        ]
        if inside:
            shapes.append(rect(low - 4, y + 2, high + 4, BAR_PX - 4, "fault-plate"))
        at = low if anchor == "start" else high
        shapes.append(text(at, y + 13, _fault_name(injection), f"fault-name {look}", anchor=anchor))
    return Row(height=used * (BAR_PX + 3) + GAP_PX, shapes=shapes)


def _bar_box(injection: Injection, end: float, time: Scale) -> tuple[float, float, float, float, str]:
    x, to_x = time(injection.applied_at or 0.0), time(end)
    width = width_px(_fault_name(injection))
    if to_x - x >= width + 14:
        return x, to_x, x + 7, x + 7 + width, "start"
    low, high, anchor = _beside(to_x, width, time)
    if anchor == "end":
        low, high = x - 4 - width, x - 4
    return x, to_x, low, high, anchor


def _fault_name(injection: Injection) -> str:
    name = brief(injection.fault.removeprefix("agent.faults."), 28)
    return name + (", still in" if injection.healed_at is None else "")


def _fault_tip(injection: Injection, start: float) -> str:
    span = f"applied {after(injection.applied_at, start)}, healed {after(injection.healed_at, start)}"
    return f"{brief(injection.fault)} in {listing(injection.victims)}: {span}"


def _shade(injection: Injection, time: Scale, top: float, floor: float, end: float) -> list[Shape]:
    if injection.applied_at is None:
        return []
    x = time(injection.applied_at)
    to_x = max(x + 1, time(injection.healed_at if injection.healed_at is not None else end))
    edges = [upright(at, top, floor, "fault-edge") for at in (x, to_x)]
    return [rect(x, top, to_x, round(floor - top, 1), "fault-shade"), *edges]


def _axis(time: Scale, floor: float) -> Row:
    length = time.high - time.low
    most = max(2, int((time.last - time.first) / 62))
    shapes = [path(f"M{time.first} {floor}H{time.last}", "axis")]
    for tick in time_ticks(length, most):
        x = time(time.low + tick)
        shapes += [
            upright(x, floor, floor + 5, "axis"),
            text(x, floor + 17, _offset(tick, length), "tick", anchor="middle"),
        ]
    shapes.append(text(time.first, floor + 34, f"since {utc(time.low)}", "row-note"))
    return Row(height=42.0, shapes=shapes)


def _offset(tick: float, length_s: float) -> str:
    if length_s <= 60:
        return f"{tick:g} s"
    minutes, rest = divmod(round(tick), 60)
    hours, minutes_left = divmod(minutes, 60)
    return f"{minutes}:{rest:02d}" if length_s < 3600 else f"{hours}:{minutes_left:02d}:{rest:02d}"
