"""The evidence of one finding, enlarged: the stretch of the recording that shows it, its calls one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.report.breaker import bands, words
from agent.report.breaker.raster import head_rows, zero_of
from agent.report.breaker.read import MOST_CALLS
from agent.report.scales import Scale, width_px
from agent.report.shapes import Row, Scene, Shape, path, rect, text
from agent.report.words import seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.report.breaker.read import Answer, Call, Finding

TICK_PX = 11.0
CALL_PX = 9.0


def cut_out(answer: Answer, finding: Finding, width: float, started_at: float) -> Scene | None:
    """Return the cut-out of *finding*; None where the answer says nothing about where to look."""
    if finding.window is None:
        return None
    time = bands.clock(*finding.window, width)
    rows = head_rows(answer, answer.judged_on(finding.link), time)
    top = 4.0 + sum(row.height for row in rows) + 4
    rows.append(bands.lanes_row(finding.raster, time, top, TICK_PX, _moments(finding.calls)))
    top += rows[-1].height
    since, until = finding.window
    named = calls_row([call for call in finding.calls if since <= call.begun <= until], time, top)
    floor = top + named.height
    zero = zero_of(answer, started_at)
    axis = bands.axis_row(time, zero, floor, "seconds, as in the picture of the whole")
    under = bands.shades(answer.faults, time, 4.0, floor)
    drawn = (*under, *(shape for row in rows for shape in row.shapes))
    return Scene(
        width=width,
        height=round(floor + axis.height),
        shapes=(*drawn, *named.shapes, *axis.shapes),
        says=says(finding, zero),
    )


def says(finding: Finding, zero: float) -> str:
    """Return in words what the cut-out shows."""
    since, until = finding.window or (zero, zero)
    said = f"{since - zero:.2f} s to {until - zero:.2f} s. {finding.evidence}."
    parts = [
        f"call {call.row} from {call.begun - zero:.3f} s took {seconds(call.ended - call.begun)}, "
        f"{call.answer or 'no answer'}, {words.requests(call.requests)}"
        for call in finding.calls[:5]
    ]
    more = f" and {len(finding.calls) - 5} more" if len(finding.calls) > 5 else ""
    return said + (f" Calls in question: {'; '.join(parts)}{more}." if parts else "")


def calls_row(calls: Sequence[Call], time: Scale, top: float) -> Row:
    """Draw each call in question from when it was sent to when it ended, and its requests as dots."""
    if not calls:
        return Row(height=0.0)
    shapes: list[Shape] = [
        text(0, top + 11, "In question", "row-title"),
        text(0, top + 25, f"{_so_many(len(calls))}, one", "row-note"),
        text(0, top + 38, "bar each", "row-note"),
    ]
    for place, call in enumerate(calls):
        shapes += _call(call, time, top + 4 + place * CALL_PX)
    return Row(height=max(46.0, len(calls) * CALL_PX + 12), shapes=shapes)


def _so_many(n: int) -> str:
    """Say that there may be more where as many are shown as are ever told."""
    return f"the first {n}" if n >= MOST_CALLS else "1 call" if n == 1 else f"{n} calls"


def _call(call: Call, time: Scale, y: float) -> list[Shape]:
    x, to_x = time(call.begun), time(call.ended)
    look = "through" if call.requests else "held-back"
    tip = (
        f"call {call.row}: {seconds(call.ended - call.begun)}, {call.answer}, {words.requests(call.requests)}"
    )
    shapes = [rect(x, y, to_x, 5.0, f"asked {look}", tip=tip)]
    dots = "".join(f"M{time(at):g} {y - 1:g}v7" for at in call.arrived if time.low <= at <= time.high)
    if dots:
        shapes.append(path(dots, "arrived"))
    word = call.answer if call.requests < 2 else f"{call.answer}, {words.requests(call.requests)}"
    if to_x + 5 + width_px(word, 9) < time.last:
        shapes.append(text(to_x + 4, y + 5.5, word, "asked-note"))
    return shapes


def _moments(calls: Sequence[Call]) -> frozenset[float]:
    """Return where the calls in question stand in the lanes: at their arrivals, or else at their end."""
    return frozenset(at for call in calls for at in (call.arrived or (call.ended,)))
