"""The breaker's part of the memo: Markdown that reads well in a pull request."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from agent.report.breaker import words
from agent.report.breaker.page import MOST_STREAMS, call_rows, expectation_rows
from agent.report.breaker.raster import MOST_LINKS, zero_of
from agent.report.breaker.read import LANES, answer_of
from agent.report.breaker.states import Stretch
from agent.report.marks import ANSWERS, code, plain, table
from agent.report.words import brief

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from agent.report.breaker.read import Answer, Finding, Property, Raster, Stream

COLUMNS = 60
NAME_PX = 16
MOST_FINDINGS, MOST_CALLS = 30, 5
STATES = {
    "closed": "\N{BOX DRAWINGS LIGHT HORIZONTAL}",
    "open": "\N{FULL BLOCK}",
    "half_open": "\N{MEDIUM SHADE}",
}
LANE_NAMES = {
    "let_through_well": "call went well",
    "let_through_failed": "call failed",
    "kept_back": "call kept back",
    "aside": "answered aside",
    "answered_well": "dep. answered",
    "answered_badly": "dep. failed",
}
CALL = "\N{BOX DRAWINGS LIGHT VERTICAL}"
LEGEND = f"{', '.join(f'{mark} {words.state(name)}' for name, mark in STATES.items())}; {CALL} calls"
"""What the signs of a picture mean."""


def breaker_lines(data: Mapping[str, Any] | None, started_at: float) -> Iterator[str]:
    """Yield what a memo says about a breaker: answer, picture, findings, properties."""
    answer = answer_of(data)
    if answer is None:
        return
    zero = zero_of(answer, started_at)
    yield "## The circuit breaker, seen from outside\n"
    yield f"{plain(answer.says) or 'No answer was recorded.'}\n"
    yield from (f"{plain(note)}\n" for note in answer.notes)
    if said := words.machine(answer):
        yield f"**Kind of machine:** {plain(said)}.\n"
    if answer.span:
        yield from picture(answer, answer.judged, answer.raster, answer.span, zero)
    for finding in answer.findings[:MOST_FINDINGS]:
        yield from _finding(answer, finding, zero)
    if len(answer.findings) > MOST_FINDINGS:
        yield f"{len(answer.findings) - MOST_FINDINGS} more findings stand in the JSON form.\n"
    if not answer.findings:
        yield "None of the known bugs was seen.\n"
    yield from _expectations(answer)
    yield from _properties(answer.properties)
    yield from _readers(answer)
    yield from _streams(answer)
    if mapped := words.mapped(answer):
        yield f"{plain(mapped)}\n"


def picture(
    answer: Answer, streams: Sequence[Stream], raster: Raster, span: tuple[float, float], zero: float
) -> Iterator[str]:
    """Yield a block of text in which every line has one cell for each part of the time."""
    lines = [("fault", _cells(span, ((f.since, f.until, "\N{DARK SHADE}") for f in answer.faults)))]
    for stream in streams[:MOST_LINKS]:
        link = _name(stream.link) if len(streams) > 1 and stream.link else "inferred"
        untold = [
            Stretch(state="", since=f.since, until=f.until)
            for f in (*answer.faults, *answer.phases)
            if not f.seen
        ]
        for each in stream.with_states:
            name = words.replica(each, NAME_PX - 2).replace("`", "'") or link
            lines.append((name, _states(span, [*each.stretches(*(answer.span or span)), *untold])))
    lines += [
        (
            _name(each.kind),
            _states(span, each.stretches(*(answer.span or span))),
        )
        for each in answer.readers
    ]
    lines += [
        (LANE_NAMES[lane], _cells(span, ((at, at, CALL) for at in raster.lanes[lane])))
        for lane in LANES
        if raster.lanes[lane]
    ]
    since, until = (f"{at - zero:.2f} s" for at in span)
    yield "```text"
    yield from (f"{name:<{NAME_PX}}{cells}" for name, cells in lines)
    yield f"{'':<{NAME_PX}}{since:<{COLUMNS // 2}}{until:>{COLUMNS // 2}}"
    yield f"{'':<{NAME_PX}}{LEGEND}"
    yield "```\n"


def _name(name: str) -> str:
    return brief(name, NAME_PX - 2).replace("`", "'")


def _states(span: tuple[float, float], found: Sequence[Stretch]) -> str:
    """Draw states; the rarer one wins a cell, and over all what is not known."""
    ranks = {state: rank for rank, state in enumerate(STATES)}
    order = sorted(found, key=lambda each: ranks.get(each.state, len(ranks)))
    return _cells(span, ((each.since, each.until, STATES.get(each.state, "?")) for each in order))


def _cells(span: tuple[float, float], parts: Iterable[tuple[float, float, str]]) -> str:
    """Draw *parts* in :data:`COLUMNS` cells; a later part wins, and what is shorter than a cell has one."""
    since, until = span
    cell = (until - since) / COLUMNS
    drawn = ["\N{MIDDLE DOT}"] * COLUMNS
    for first, last, mark in parts:
        if last < since or first > until:
            continue
        if last - first < cell:
            first = last = (first + last) / 2  # noqa: PLW2901  it has one cell, where its middle is
        low = max(0, min(COLUMNS - 1, math.floor((first - since) / cell)))
        high = max(low + 1, min(COLUMNS, math.ceil((last - since) / cell)))
        drawn[low:high] = mark * (high - low)
    return "".join(drawn)


def _finding(answer: Answer, finding: Finding, zero: float) -> Iterator[str]:
    yield f"### {ANSWERS['unsteady']} {plain(finding.title)}\n"
    yield f"**{plain(finding.evidence.rstrip('.'))}.** {plain(finding.advice)}\n"
    paths = [part for part in (finding.link if len(answer.judged) > 1 else "", finding.key) if part]
    where = f", on {code(' '.join(paths))}" if paths else ""
    rank = ", ".join(
        f"{name} {plain(said) or 'not told'}"
        for name, said in (("severity", finding.severity), ("confidence", finding.confidence))
    )
    yield f"{code(finding.bug)}, {rank}{where}\n"
    if finding.window:
        yield from picture(answer, answer.judged_on(finding.link), finding.raster, finding.window, zero)
    rows = [
        (each.row, each.sent, each.took, plain(each.answer), f"{each.requests}")
        for each in call_rows(finding, zero)[:MOST_CALLS]
    ]
    yield from table(("Call", "Sent at", "Took", "Answer", "Requests"), rows)


def _expectations(answer: Answer) -> Iterator[str]:
    rows = [
        (
            plain(each.name),
            plain(each.expected),
            plain(each.measured),
            f"{ANSWERS[each.sign.state]} {plain(each.sign.word)}",
        )
        for each in expectation_rows(answer)
    ]
    yield from table(("Property", "Expected", "Measured", "Status"), rows, "### Expectations")


def _properties(properties: Sequence[Property]) -> Iterator[str]:
    rows = [
        (
            plain(words.title(each.name)),
            f"**{plain(words.amount(each.estimate, each.unit))}**",
            plain(words.between(each.low, each.high, each.unit)),
            "" if each.limit is None else plain(f"at most {words.amount(each.limit, each.unit)}"),
            f"{each.n:,}",
            f"{ANSWERS[words.sign(each.status)]} {plain(each.status)}",
            plain(each.why),
        )
        for each in properties
    ]
    names = ("Property", "Estimate", "Between", "Passes", "n", "Status", "What was seen")
    yield from table(names, rows, "### Properties")


def _readers(answer: Answer) -> Iterator[str]:
    rows = [
        (
            code(each.kind),
            code(each.url),
            f"{each.samples:,}",
            plain(words.agreement(each)),
            plain(words.reasons(each.explained)),
            plain(words.reasons(each.errors)),
        )
        for each in answer.readers
    ]
    names = ("Reader", "Read from", "Reads", "Agrees with what was seen", "Explained", "Not read")
    yield from table(names, rows, "### What the breaker says of itself")


def _streams(answer: Answer) -> Iterator[str]:
    rows = [
        (code(words.path(each)), plain(each.says), f"{len(each.sequence)}")
        for each in answer.keyed[:MOST_STREAMS]
    ]
    yield from table(("Path", "What its breaker does", "States seen"), rows, "### Each path by itself")
