"""The small picture of a property: what it lies between on a scale, against the most that passes.

Single observations are drawn as brackets, one line each; a half-open budget as the crowd that came, a
dot each, filled if let in.
"""

from __future__ import annotations

import math
from itertools import islice
from typing import TYPE_CHECKING

from agent.report.breaker import words
from agent.report.scales import Scale, width_px
from agent.report.shapes import Scene, Shape, path, rect, text, upright
from agent.report.words import brief

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.report.breaker.read import Expectation, Property

WIDTH_PX, SIDE_PX = 208.0, 6.0
LABEL_PX, BAR_PX, ROW_PX, DOT_PX, CROWD_PX = 12.0, 9.0, 5.0, 8.0, 11.0
MOST_ROWS, MOST_CROWDS = 10, 5
DOTS = int((WIDTH_PX - 2 * SIDE_PX) / DOT_PX) - 2
ZOOM = 0.5
"""Where everything lies above this share of the largest value, the scale does not begin at zero."""
NOTHING = 1e-9
"""What is smaller is drawn as zero."""
ROUND = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)


def gauge(each: Property, wanted: Expectation | None = None) -> Scene | None:
    """Return the picture of *each*; None where there is nothing to draw."""
    if each.name == "half_open_budget" and each.each:
        return _crowd(each)
    low, high = bounds(each, wanted)
    if high <= low:
        return None
    scale = Scale(low=low, high=high, first=SIDE_PX, last=WIDTH_PX - SIDE_PX)
    rows = _observations(each, scale) if len(each.each) > 1 else _interval(each, scale)
    floor = LABEL_PX + max(BAR_PX + 4, ROW_PX * len(rows) + 3 if len(each.each) > 1 else 0.0)
    shapes = [*_limit(each, wanted, scale, floor), *rows, *_axis(each, scale, floor)]
    return Scene(width=WIDTH_PX, height=floor + 14, shapes=tuple(shapes), says=_says(each, low))


def bounds(each: Property, wanted: Expectation | None) -> tuple[float, float]:
    """Return both ends of a scale that holds everything to be drawn, at round numbers."""
    bracketed = each.each if len(each.each) > 1 else ()
    given = [each.estimate, each.low, each.high, each.limit, *(v for pair in bracketed for v in pair)]
    given += [wanted.low, wanted.high] if wanted else []
    values = [value if abs(value) >= NOTHING else 0.0 for value in given if value is not None]
    if not values:
        return 0.0, 0.0
    least, most = min(values), max(values)
    if least < 0:
        return -_round_up(-least), _round_up(max(most, 0.0)) or 1.0
    if each.unit == "s" and least > ZOOM * most and most > 0:
        step = _round_up(max(most - least, 0.02 * most)) / 2
        return max(0.0, (math.floor(least / step) - 1) * step), (math.ceil(most / step) + 1) * step
    top = _round_up(1.08 * most) or 1.0
    whole = each.unit == "share" and most <= 1.0 and (each.limit is None or 2 * most > 1.0)
    return 0.0, 1.0 if whole else top


def _round_up(value: float) -> float:
    if value <= 0:
        return 0.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(round(step * power, 12) for step in (*ROUND, 20.0) if step * power >= value * (1 - 1e-9))


def _interval(each: Property, scale: Scale) -> list[Shape]:
    """Draw what the value lies between; an arrow where nothing bounds it."""
    y = LABEL_PX + 2
    if each.low is None and each.high is None and each.estimate is None:
        return [text(scale.first + 3, y + 8, "not measured", "gauge-note")]
    known = [value for value in (each.low, each.estimate, each.high) if value is not None]
    first = scale(known[0]) if each.low is not None or each.estimate is not None else scale.first
    last = scale(known[-1]) if each.high is not None else scale.last
    shapes = [rect(first, y, last, BAR_PX, f"gauge-bar is-{words.sign(each.status)}")]
    if each.high is None:
        shapes.append(path(f"M{last - 5} {y - 1}l5 {BAR_PX / 2 + 1}l-5 {BAR_PX / 2 + 1}", "gauge-open"))
    if each.estimate is not None:
        shapes.append(upright(scale(each.estimate), y - 2, y + BAR_PX + 2, "gauge-estimate"))
    return shapes


def _observations(each: Property, scale: Scale) -> list[Shape]:
    """Draw one bracket for each observation, every so-manieth where there are many."""
    every = math.ceil(len(each.each) / MOST_ROWS)
    shapes = []
    for place, (low, high) in enumerate(islice(each.each, 0, None, every)):
        y = LABEL_PX + 3 + place * ROW_PX
        x, to_x = scale(low), max(scale(high), scale(low) + 1)
        tip = f"{words.amount(low, each.unit)} to {words.amount(high, each.unit)}"
        caps = f"M{x:g} {y - 1.5:g}v3M{x:g} {y:g}H{to_x:g}M{to_x:g} {y - 1.5:g}v3"
        shapes.append(path(caps, "gauge-each", tip=tip))
    return shapes


def _limit(each: Property, wanted: Expectation | None, scale: Scale, floor: float) -> list[Shape]:
    """Shade what does not pass, and mark where it begins."""
    low = wanted.low if wanted else None
    high = wanted.high if wanted and wanted.high is not None else each.limit
    shapes = []
    if high is not None:
        x = scale(high)
        if x < scale.last:
            shapes.append(rect(x, LABEL_PX, scale.last, floor - LABEL_PX, "gauge-beyond"))
        shapes += [
            upright(x, LABEL_PX - 3, floor, "gauge-limit"),
            _label(f"\N{LESS-THAN OR EQUAL TO} {words.amount(high, each.unit)}", x),
        ]
    if low is not None:
        x = scale(low)
        if x > scale.first:
            shapes.append(rect(scale.first, LABEL_PX, x, floor - LABEL_PX, "gauge-beyond"))
        shapes.append(upright(x, LABEL_PX - 3, floor, "gauge-limit"))
        if high is None:
            shapes.append(_label(f"\N{GREATER-THAN OR EQUAL TO} {words.amount(low, each.unit)}", x))
    return shapes


def _label(said: str, x: float) -> Shape:
    """Write the limit over its line, held on the paper."""
    half = width_px(said, 10) / 2
    return text(min(max(x, half + 1), WIDTH_PX - half - 1), LABEL_PX - 4, said, "gauge-note", anchor="middle")


def _axis(each: Property, scale: Scale, floor: float) -> list[Shape]:
    unit = brief(each.unit, 9)  # both ends have to fit
    return [
        path(
            f"M{scale.first} {floor}H{scale.last}M{scale.first} {floor - 2}v4M{scale.last} {floor - 2}v4",
            "axis",
        ),
        text(0, floor + 12, words.amount(scale.low, unit), "gauge-note"),
        text(WIDTH_PX, floor + 12, words.amount(scale.high, unit), "gauge-note", anchor="end"),
    ]


def _says(each: Property, low: float) -> str:
    zoomed = f"; the scale begins at {words.amount(low, each.unit)}" if low > 0 else ""
    return words.property_says(each) + zoomed


def _crowd(each: Property) -> Scene:
    """Draw those who came while a trial was in flight, the fullest trials first."""
    crowds = sorted(each.each, reverse=True)
    shapes: list[Shape] = []
    y = LABEL_PX + 5
    for admitted, offered in crowds[:MOST_CROWDS]:
        shapes += _dots(int(admitted), int(offered), y)
        y += CROWD_PX
    if each.limit is not None and 0 <= each.limit < DOTS:
        x = SIDE_PX + each.limit * DOT_PX
        shapes += [
            upright(x, LABEL_PX - 3, y, "gauge-limit"),
            _label(f"\N{LESS-THAN OR EQUAL TO} {words.amount(each.limit, each.unit)}", x),
        ]
    rest = len(crowds) - MOST_CROWDS
    more = f", {rest} more trials" if rest > 0 else ""
    shapes.append(text(0, y + 8, f"\N{BLACK CIRCLE} let in  \N{WHITE CIRCLE} kept back{more}", "gauge-note"))
    trials = "; ".join(f"{a:g} of {o:g} let in" for a, o in crowds[:MOST_CROWDS])
    return Scene(
        width=WIDTH_PX,
        height=y + 12,
        shapes=tuple(shapes),
        says=f"{words.property_says(each)}. In each trial: {trials}{more}.",
    )


def _dots(admitted: int, offered: int, y: float) -> list[Shape]:
    shown, into = min(offered, DOTS), min(admitted, DOTS)
    filled = "".join(f"M{SIDE_PX + (n + 0.5) * DOT_PX:g} {y:g}h0" for n in range(into))
    hollow = "".join(_ring(SIDE_PX + (n + 0.5) * DOT_PX, y) for n in range(into, shown))
    shapes = []
    if filled:
        shapes.append(path(filled, "dot in"))
    if hollow:
        shapes.append(path(hollow, "dot out"))
    if offered > shown:
        shapes.append(text(WIDTH_PX, y + 3.5, f"+{offered - shown}", "gauge-note", anchor="end"))
    return shapes


def _ring(x: float, y: float) -> str:
    return f"M{x - 2.2:g} {y:g}a2.2 2.2 0 1 0 4.4 0a2.2 2.2 0 1 0 -4.4 0"


def wanted_of(name: str, expectations: Sequence[Expectation]) -> Expectation | None:
    """Return what was expected of a property."""
    return next((each for each in expectations if each.property == name), None)
