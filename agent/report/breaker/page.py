"""The breaker's part of the page, ready for the template."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.report.breaker import words
from agent.report.breaker.cutouts import cut_out
from agent.report.breaker.gauges import gauge, wanted_of
from agent.report.breaker.raster import raster, strip, zero_of
from agent.report.breaker.read import answer_of
from agent.report.tables import Answer as Sign
from agent.report.words import seconds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from agent.report.breaker.read import Answer, Expectation, Finding, Property, Stream
    from agent.report.breaker.states import Reader
    from agent.report.shapes import Scene

WIDE_PX, NARROW_PX = 1040.0, 400.0
CUT_WIDE_PX, CUT_NARROW_PX = 720.0, 400.0
"""Pictures are drawn twice, for a desk or paper and for a phone; the style sheet shows one of them."""
MOST_PICTURES = 20
"""So many findings have their evidence drawn; of more, the text alone is shown."""
FEW_STREAMS, MOST_STREAMS = 4, 24


@dataclass(frozen=True, slots=True, kw_only=True)
class PropertyRow:
    """One property, ready to be shown."""

    name: str
    estimate: str
    between: str
    n: int
    sign: Sign
    why: str
    picture: Scene | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRow:
    """One call that a finding points at."""

    row: str
    sent: str
    took: str
    answer: str
    requests: int
    arrived: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingCard:
    """One finding with its evidence."""

    title: str
    evidence: str
    advice: str
    bug: str
    severity: str
    confidence: str
    where: str
    wide: Scene | None
    narrow: Scene | None
    calls: tuple[CallRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamRow:
    """What was inferred for one key."""

    name: str
    says: str
    wide: Scene | None
    narrow: Scene | None
    properties: tuple[PropertyRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectationRow:
    """What was wanted of a property, and whether it is so."""

    name: str
    expected: str
    measured: str
    sign: Sign


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderRow:
    """One source of the breaker's own word, and how far it agrees with what was seen."""

    kind: str
    url: str
    samples: int
    agreement: str
    explained: str
    errors: str
    notes: str
    sign: Sign


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Everything the template needs."""

    answer: Answer
    wide: Scene | None
    narrow: Scene | None
    properties: tuple[PropertyRow, ...]
    findings: tuple[FindingCard, ...]
    expectations: tuple[ExpectationRow, ...]
    readers: tuple[ReaderRow, ...]
    streams: tuple[StreamRow, ...]
    machine: str
    untold: bool
    few: int
    hidden: int
    mapped: str


def part(data: Mapping[str, Any] | None, started_at: float) -> Part | None:
    """Return what the page says about a breaker; None where there is nothing."""
    answer = answer_of(data)
    if answer is None:
        return None
    keyed = answer.keyed
    return Part(
        answer=answer,
        wide=raster(answer, WIDE_PX, started_at),
        narrow=raster(answer, NARROW_PX, started_at),
        properties=property_rows(answer.properties, answer.expectations),
        findings=tuple(
            _card(answer, finding, started_at, drawn=place < MOST_PICTURES)
            for place, finding in enumerate(answer.findings)
        ),
        expectations=expectation_rows(answer),
        readers=tuple(map(_reader, answer.readers)),
        machine=words.machine(answer),
        streams=tuple(_stream(answer, each) for each in keyed[:MOST_STREAMS]),
        untold=bool(answer.readers or answer.untold) or any(words.UNTOLD in each.sequence for each in keyed),
        few=FEW_STREAMS,
        hidden=max(0, len(keyed) - MOST_STREAMS),
        mapped=words.mapped(answer),
    )


def sign(status: str) -> Sign:
    """Return a status as a sign and a word."""
    return Sign(state=words.sign(status), word=status)


def property_rows(
    properties: Sequence[Property], expectations: Sequence[Expectation], *, drawn: bool = True
) -> tuple[PropertyRow, ...]:
    """Return properties in the order in which they were measured."""
    return tuple(
        PropertyRow(
            name=words.title(each.name),
            estimate=words.amount(each.estimate, each.unit),
            between=words.between(each.low, each.high, each.unit),
            n=each.n,
            sign=sign(each.status),
            why=f"{each.why} (on {each.link}, where it is worst)" if each.link else each.why,
            picture=gauge(each, wanted_of(each.name, expectations)) if drawn else None,
        )
        for each in properties
    )


def expectation_rows(answer: Answer) -> tuple[ExpectationRow, ...]:
    """Return what was expected beside what was measured."""
    known = {each.name: each for each in answer.properties}
    rows = []
    for each in answer.expectations:
        found = known.get(each.property)
        rows.append(
            ExpectationRow(
                name=words.title(each.property) + (f" of {each.of}" if each.of else ""),
                expected=words.expected(each, found.unit if found else ""),
                measured=words.measured(found) if found else "not measured",
                sign=sign(each.status),
            )
        )
    return tuple(rows)


def _reader(reader: Reader) -> ReaderRow:
    n = len(reader.disagreements)
    word = f"{n} disagreement{'' if n == 1 else 's'}" if n else "agrees" if reader.share else "not compared"
    return ReaderRow(
        kind=reader.kind,
        url=reader.url,
        samples=reader.samples,
        agreement=words.agreement(reader),
        explained=words.reasons(reader.explained),
        errors=words.reasons(reader.errors),
        notes=" ".join(reader.notes),
        sign=Sign(state="unsteady" if n else "steady" if reader.share else "unknown", word=word),
    )


def _card(answer: Answer, finding: Finding, started_at: float, *, drawn: bool) -> FindingCard:
    several = len(answer.judged) > 1
    return FindingCard(
        title=finding.title,
        evidence=finding.evidence.rstrip("."),
        advice=finding.advice,
        bug=finding.bug,
        severity=finding.severity,
        confidence=finding.confidence,
        where=" ".join(part for part in (finding.link, finding.key) if part) if several else finding.key,
        wide=cut_out(answer, finding, CUT_WIDE_PX, started_at) if drawn else None,
        narrow=cut_out(answer, finding, CUT_NARROW_PX, started_at) if drawn else None,
        calls=call_rows(finding, zero_of(answer, started_at)),
    )


def call_rows(finding: Finding, zero: float) -> tuple[CallRow, ...]:
    """Return the calls in question, their times as offsets from *zero*."""
    return tuple(
        CallRow(
            row=f"{call.row:,}",
            sent=f"{call.begun - zero:.3f} s",
            took=seconds(call.ended - call.begun),
            answer=call.answer or "none",
            requests=call.requests,
            arrived=", ".join(f"{at - zero:.3f}" for at in call.arrived),
        )
        for call in finding.calls
    )


def _stream(answer: Answer, stream: Stream) -> StreamRow:
    return StreamRow(
        name=words.path(stream),
        says=stream.says,
        wide=strip(answer, stream, WIDE_PX),
        narrow=strip(answer, stream, NARROW_PX),
        properties=property_rows(stream.properties, (), drawn=False),
    )
