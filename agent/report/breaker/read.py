"""An answer, read into records: what is missing or odd in it is left out, and everything has a bound."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agent.report.breaker.fields import count, items, mapping, number, numbers, text
from agent.report.breaker.states import MOST_READERS, MOST_STEPS, reader_of, step_of, stretches

if TYPE_CHECKING:
    from agent.report.breaker.states import Reader, Step, Stretch

MOST_STREAMS, MOST_FINDINGS, MOST_PROPERTIES = 50, 60, 60
MOST_CALLS, MOST_EACH, MOST_FAULTS, MOST_SOURCES = 20, 500, 200, 8
LANES = (
    "let_through_well",
    "let_through_failed",
    "kept_back",
    "aside",
    "answered_well",
    "answered_badly",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Property:
    """One measured property; ``limit`` is the most that passes, ``each`` the single observations."""

    name: str
    unit: str
    estimate: float | None
    low: float | None
    high: float | None
    n: int
    status: str
    why: str
    limit: float | None
    each: tuple[tuple[float, float], ...] = ()
    link: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """The states and properties of the breaker for one key; "" is all of them.

    ``sources`` are the replicas behind it, each with its states; of such a one ``source`` is the name.
    """

    key: str
    link: str
    sequence: tuple[str, ...]
    steps: tuple[Step, ...]
    properties: tuple[Property, ...]
    says: str
    source: str = ""
    sources: tuple[Stream, ...] = ()

    @property
    def with_states(self) -> tuple[Stream, ...]:
        """Whose states are shown: those of its replicas, if they are told."""
        return self.sources or (self,)

    def stretches(self, since: float, until: float) -> list[Stretch]:
        """Return its states over that time."""
        return stretches(self.sequence, self.steps, since, until)


@dataclass(frozen=True, slots=True, kw_only=True)
class Raster:
    """When what happened, by lane and in order; of some lanes only one moment in so many is there."""

    lanes: Mapping[str, tuple[float, ...]]
    every: Mapping[str, int]

    @property
    def ends(self) -> list[float]:
        """The first and the last moment of each lane."""
        return [at for lane in self.lanes.values() if lane for at in (lane[0], lane[-1])]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call that a finding points at."""

    row: int
    begun: float
    ended: float
    answer: str
    requests: int
    arrived: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One bug, and what a reader needs to check it."""

    bug: str
    title: str
    evidence: str
    confidence: str
    severity: str
    advice: str
    key: str
    link: str
    span: tuple[float, float] | None
    window: tuple[float, float] | None
    calls: tuple[Call, ...]
    raster: Raster


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault on the dependency's link, or another phase of the exercise, in wall seconds.

    Where it was not ``seen`` no states are told meanwhile: it cannot be told who was let through, or as
    ``untold`` says.  ``rate_rps`` is how many calls a second there were, where that is known.
    """

    kind: str
    since: float
    until: float
    seen: bool = True
    says: str = ""
    where: str = ""
    untold: str = ""
    rate_rps: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What somebody wanted of a property, and whether it is so."""

    property: str
    low: float | None
    high: float | None
    expected: str
    status: str
    why: str
    of: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Everything a report says about a breaker."""

    says: str
    notes: tuple[str, ...]
    machine: str
    machine_says: str
    machine_confidence: str
    streams: tuple[Stream, ...]
    properties: tuple[Property, ...]
    findings: tuple[Finding, ...]
    faults: tuple[Fault, ...]
    phases: tuple[Fault, ...]
    expectations: tuple[Expectation, ...]
    readers: tuple[Reader, ...]
    raster: Raster
    mapping: Mapping[str, Any] = field(default_factory=dict)

    @property
    def judged(self) -> tuple[Stream, ...]:
        """The streams whose properties and findings are the answer: one for each link."""
        return tuple(each for each in self.streams if not each.key) or self.streams[:1]

    @property
    def keyed(self) -> tuple[Stream, ...]:
        """The streams of single keys and replicas, and of links where there are several."""
        apart = self.judged if len(self.judged) > 1 else ()
        replicas = [source for each in self.judged for source in each.sources]
        return (*apart, *replicas, *(each for each in self.streams if each not in self.judged))

    @property
    def other_phases(self) -> tuple[Fault, ...]:
        """The phases of the exercise that are no fault: a pause, a burst, callers that give up."""
        kinds = {fault.kind for fault in self.faults}
        return tuple(each for each in self.phases if each.kind not in kinds)

    @property
    def untold(self) -> tuple[Fault, ...]:
        """The faults and other phases in which no states are told."""
        return tuple(each for each in (*self.faults, *self.other_phases) if not each.seen)

    def judged_on(self, link: str) -> tuple[Stream, ...]:
        """Return the stream of *link*, or all that there are."""
        return tuple(each for each in self.judged if each.link == link) or self.judged

    @property
    def span(self) -> tuple[float, float] | None:
        """From the first thing that has a time to the last."""
        ends = self.raster.ends
        ends += [at for fault in self.faults for at in (fault.since, fault.until)]
        shown = [each for stream in self.streams for each in stream.with_states]
        ends += [at for each in shown for step in each.steps for at in (step.after, step.before)]
        return (min(ends), max(ends)) if ends and max(ends) > min(ends) else None


def answer_of(data: Mapping[str, Any] | None) -> Answer | None:
    """Return *data* as an answer; None when there is none."""
    if not isinstance(data, Mapping) or not data:
        return None
    machine = data.get("machine")
    told = machine if isinstance(machine, Mapping) else {"kind": machine}
    return Answer(
        says=text(data.get("answer"), 3_000),
        notes=_texts(data.get("notes")),
        machine=text(told.get("kind"), 80),
        machine_says=text(told.get("why"), 600).rstrip("."),
        machine_confidence=text(told.get("confidence"), 40),
        streams=tuple(map(_stream, items(data.get("streams"))[:MOST_STREAMS])),
        properties=_properties(data.get("properties")),
        findings=tuple(map(_finding, items(data.get("findings"))[:MOST_FINDINGS])),
        faults=_faults(data.get("faults")),
        phases=_faults(data.get("phases")),
        expectations=tuple(map(_expectation, items(data.get("expectations"))[:MOST_PROPERTIES])),
        readers=tuple(map(reader_of, items(data.get("whitebox"))[:MOST_READERS])),
        raster=_raster(data.get("raster"), data.get("raster_every")),
        mapping=mapping(data.get("mapping")),
    )


def _stream(data: Mapping[str, Any]) -> Stream:
    states = data.get("sequence")
    return Stream(
        key=text(data.get("key"), 120),
        link=text(data.get("link"), 120),
        sequence=tuple(text(each, 40) for each in (states[:MOST_STEPS] if isinstance(states, list) else ())),
        steps=tuple(each for step in items(data.get("transitions"))[:MOST_STEPS] if (each := step_of(step))),
        properties=_properties(data.get("properties")),
        says=text(data.get("answer"), 1_500),
        source=text(data.get("source"), 120),
        sources=tuple(
            _stream({**source, "sources": ()}) for source in items(data.get("sources"))[:MOST_SOURCES]
        ),
    )


def _properties(data: Any) -> tuple[Property, ...]:
    found = [(text(name, 80), mapping(each)) for name, each in mapping(data).items()]
    return tuple(_property(name, each) for name, each in found[:MOST_PROPERTIES])


def _property(name: str, data: Mapping[str, Any]) -> Property:
    low, high = number(data.get("low")), number(data.get("high"))
    if low is not None and high is not None and low > high:
        low, high = high, low
    return Property(
        name=name,
        unit=text(data.get("unit"), 20),
        estimate=number(data.get("estimate")),
        low=low,
        high=high,
        n=count(data.get("n")),
        status=text(data.get("status"), 20) or "inconclusive",
        why=text(data.get("why"), 400),
        limit=number(data.get("limit")),
        each=_pairs(mapping(data.get("more")).get("each")),
        link=text(data.get("link"), 120),
    )


def _texts(value: Any) -> tuple[str, ...]:
    found = (text(each, 500) for each in (value[:20] if isinstance(value, list | tuple) else ()))
    return tuple(each for each in found if each)


def _pairs(value: Any) -> tuple[tuple[float, float], ...]:
    pairs = [numbers(each, 2) for each in (value[:MOST_EACH] if isinstance(value, list | tuple) else ())]
    return tuple((min(pair), max(pair)) for pair in pairs if len(pair) == 2)


def _finding(data: Mapping[str, Any]) -> Finding:
    calls = [_call(each) for each in items(data.get("evidence_calls"))[:MOST_CALLS]]
    return Finding(
        bug=text(data.get("bug"), 80),
        title=text(data.get("title"), 160) or text(data.get("bug"), 80) or "Finding without a title",
        evidence=text(data.get("evidence"), 1_000),
        confidence=text(data.get("confidence"), 40),
        severity=text(data.get("severity"), 40),
        advice=text(data.get("advice"), 600),
        key=text(data.get("key"), 120),
        link=text(data.get("link"), 120),
        span=_between(data.get("evidence_span")),
        window=_between(data.get("evidence_window")),
        calls=tuple(each for each in calls if each),
        raster=_raster(data.get("evidence_raster"), data.get("evidence_raster_every")),
    )


def _between(data: Any) -> tuple[float, float] | None:
    since, until = number(mapping(data).get("from_at")), number(mapping(data).get("to_at"))
    return (since, until) if since is not None and until is not None and until > since else None


def _call(data: Mapping[str, Any]) -> Call | None:
    begun, ended = number(data.get("begun_at")), number(data.get("ended_at"))
    if begun is None or ended is None:
        return None
    return Call(
        row=count(data.get("call")),
        begun=begun,
        ended=max(begun, ended),
        answer=text(data.get("answer"), 60),
        requests=count(data.get("requests")),
        arrived=numbers(data.get("arrived_at"), MOST_CALLS),
    )


def _faults(data: Any) -> tuple[Fault, ...]:
    return tuple(each for fault in items(data)[:MOST_FAULTS] if (each := _fault(fault)))


def _fault(data: Mapping[str, Any]) -> Fault | None:
    since, until = number(data.get("began_at")), number(data.get("ended_at"))
    if since is None or until is None or until < since:
        return None
    return Fault(
        kind=text(data.get("kind"), 40),
        since=since,
        until=until,
        seen=data.get("seen") is not False,
        says=text(data.get("purpose"), 200),
        untold=text(data.get("taken_back"), 200),
        rate_rps=number(data.get("rate_rps")),
        where=" ".join(part for name in ("link", "key") if (part := text(data.get(name), 60))),
    )


def _expectation(data: Mapping[str, Any]) -> Expectation:
    wanted = data.get("expected")
    bounds = mapping(wanted) or data
    return Expectation(
        property=text(data.get("property"), 80),
        low=number(bounds.get("min")),
        high=number(bounds.get("max")),
        expected=text(wanted, 120),
        status=text(data.get("status"), 20) or "inconclusive",
        why=text(data.get("why"), 400),
        of=text(data.get("of"), 120),
    )


def _raster(lanes: Any, every: Any) -> Raster:
    found, kept = mapping(lanes), mapping(every)
    return Raster(
        lanes={name: tuple(sorted(numbers(found.get(name)))) for name in LANES},
        every={name: max(1, count(kept.get(name))) for name in LANES},
    )
