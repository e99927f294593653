"""The whole answer: a view and the properties of each key's breaker, as data."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from agent.breakers.answer import plain_answer
from agent.breakers.evidence import cut_out, lanes, thinned
from agent.breakers.exercise import raising
from agent.breakers.exercise.phases import PURPOSES
from agent.breakers.findings import Finding, find, shared
from agent.breakers.measures.estimate import Property, Status
from agent.breakers.measures.isolation import NAME, between_keys, collateral, measured
from agent.breakers.measures.properties import LIMITS, measure
from agent.breakers.notes import notes
from agent.breakers.reading import rates
from agent.breakers.reading.paths import NONE, Paths, Traffic, calm_until, learn, of_link
from agent.breakers.replicas.per_source import per_source, source_json, summary
from agent.breakers.view import View, view

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agent.breakers.measures.isolation import Collateral
    from agent.breakers.replicas.per_source import PerSource
    from agent.breakers.streams import Arrivals, Calls, FaultWindow, Ints, Phase

SCHEMA = "gameday/breaker/1"
WORSE = (Status.PASS, Status.INCONCLUSIVE, Status.FAIL)
LANE_MAX = 6_000
"""So many moments of a lane are kept for a picture; of more, every second, third ... one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """What was inferred about the breaker before one link, for one key ("" for all of the link's).

    ``rows`` are its calls' rows in the recording; None where it has all of them.  ``sources`` are the
    replicas behind it, each with its states; where none of several is told ``sources_why`` says why.
    """

    key: str
    link: str
    view: View
    properties: Mapping[str, Property]
    findings: tuple[Finding, ...]
    rows: Ints | None = None
    sources: tuple[PerSource, ...] = ()
    sources_why: str = ""

    @property
    def name(self) -> str:
        """What it is called among others."""
        return self.key or self.link

    @property
    def answer(self) -> str:
        """One paragraph for people."""
        return " ".join(
            said
            for said in (
                plain_answer(self.view.settled, self.properties),
                summary(self.sources, self.sources_why),
            )
            if said
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Everything that was inferred.

    ``whole`` is the view of all calls over all links.  ``judged`` are the streams whose properties and
    findings are the answer: of the one link, or of each of several; where those share one breaker, of all
    together.  ``streams`` are these and one for each key.  ``across`` is what several streams show
    together, and ``isolation`` None where there is nothing to isolate.  ``rate`` are the sentences about a
    rate that was raised.
    """

    whole: View
    judged: tuple[Stream, ...]
    streams: tuple[Stream, ...]
    across: tuple[Finding, ...] = ()
    isolation: Property | None = None
    notes: tuple[str, ...] = ()
    rate: tuple[str, ...] = ()


def analyse(
    calls: Calls,
    arrivals: Mapping[str, Arrivals],
    faults: Sequence[FaultWindow],
    *,
    keys: Mapping[int, str] | None = None,
    told: Mapping[str, str] | None = None,
    phases: Sequence[Phase] = (),
    peers: Sequence[str] = (),
) -> Answer:
    """Infer from the calls and from the arrivals on each link.

    *keys* are the names of the calls' keys, *told* is which link the calls for a key go over, as far as
    somebody said so.  *phases* are those of the exercise; extra ones are played with one link only.  *peers*
    are the names of the arrivals' sources, by their number.
    """
    traffic = Traffic.of(calls, arrivals)
    links = traffic.links
    whole = view(calls, traffic.arrivals, faults, phases, mapping=traffic.mapping)
    stated = {number: told[name] for number, name in (keys or {}).items() if told and name in told}
    paths = learn(traffic, until=calm_until(faults), told=stated)
    by_key = _by_key(traffic, paths, faults, keys or {}, phases)
    found: tuple[Collateral, ...] = ()
    if len(links) == 1 and not any(each.key for each in faults):
        judged = [_judged(whole, links[0])]
    elif len(links) == 1:
        judged = _by_link(traffic, paths, faults, phases)
        found = between_keys(whole, {each.key: each.view for each in by_key}, faults)
    else:
        judged = _by_link(traffic, paths, faults, phases)
        found = collateral(whole, {each.link: each.view for each in judged}, paths, faults)
    across, isolation = shared(found), measured(found)
    if isolation.status is Status.PASS and len(links) == 1:  # a machine for each key: together they are none
        judged = by_key = _by_key(traffic, paths, faults, keys or {}, phases, alone=True)
    if across and len(links) > 1:  # one machine: what each link sees of it is a part
        judged = [
            Stream(key="", link=" ".join(links), view=whole, properties=measure(whole.plain), findings=())
        ]
    others = [each for each in by_key if not any(each is one for one in judged)]
    judged = [_with_sources(each, peers) for each in judged]
    return Answer(
        whole=whole,
        judged=tuple(judged),
        streams=(*judged, *others),
        across=across,
        isolation=isolation if len(links) > 1 or len(by_key) > 1 else None,
        notes=notes(traffic, paths, whole, keys or {}),
        rate=raising.said(whole),
    )


def _judged(seen: View, link: str, rows: Ints | None = None) -> Stream:
    properties = measure(seen.plain)
    return Stream(
        key="", link=link, view=seen, properties=properties, findings=find(seen, properties), rows=rows
    )


def _with_sources(stream: Stream, peers: Sequence[str]) -> Stream:
    found, why = per_source(stream.view.settled, peers)
    return replace(stream, sources=found, sources_why=why)


def _by_link(
    traffic: Traffic, paths: Paths, faults: Sequence[FaultWindow], phases: Sequence[Phase]
) -> list[Stream]:
    streams = []
    for link in traffic.links:
        calls, arrivals, rows = of_link(traffic, paths, link, faults)
        own = [each for each in faults if each.link in ("", link) and not each.key]
        streams.append(_judged(view(calls, arrivals, own, phases), link, rows))
    return streams


def _by_key(
    traffic: Traffic,
    paths: Paths,
    faults: Sequence[FaultWindow],
    keys: Mapping[int, str],
    phases: Sequence[Phase],
    *,
    alone: bool = False,
) -> list[Stream]:
    """Return a stream for each of several keys over the whole recording.

    *alone* looks for bugs in each, and knows nothing of faults that hit other keys only.
    """
    streams = []
    for number, name in keys.items() if len(keys) > 1 else ():
        rows = np.flatnonzero(traffic.calls.key == number)
        theirs = (traffic.owner >= 0) & np.isin(traffic.owner, rows)
        own = [each for each in faults if not alone or each.key in ("", name)]
        seen = view(traffic.calls.where(rows), traffic.arrivals.where(theirs), own, phases)
        properties = measure(seen.plain)
        found = find(seen, properties) if alone else ()
        link = " ".join(each for each in traffic.links if paths.shares.get(number, {}).get(each, 0.0) > NONE)
        streams.append(
            Stream(key=name, link=link, view=seen, properties=properties, findings=found, rows=rows)
        )
    return streams


def to_json(answer: Answer, *, wall_ahead_s: float) -> dict[str, Any]:
    """Return the documented object; see docs/breakers.md.  Times are monotonic seconds and wall seconds."""
    whole = answer.whole
    moments = lanes(whole)
    raster, every = thinned(moments, LANE_MAX, wall_ahead_s)
    return {
        "schema": SCHEMA,
        "answer": _told(answer),
        "machine": _machine_json(_plainest(answer)),
        "notes": list(answer.notes),
        "rate": _rate_json(answer),
        "streams": [
            _stream_json(stream, wall_ahead_s) | {"judged": any(stream is each for each in answer.judged)}
            for stream in answer.streams
        ],
        "properties": _combined(answer),
        "findings": _findings(answer, wall_ahead_s),
        "faults": [
            asdict(fault)
            | {"began_at": fault.began + wall_ahead_s, "ended_at": fault.ended + wall_ahead_s}
            | {"seen": whole.sees(fault)}
            for fault in whole.faults
        ],
        "phases": [
            asdict(phase)
            | {"purpose": PURPOSES.get(phase.kind, ""), "seen": not phase.taken_back}
            | {"began_at": phase.began + wall_ahead_s, "ended_at": phase.ended + wall_ahead_s}
            for phase in whole.phases
        ],
        "mapping": {
            "by": "id" if whole.mapping.by_id else "time",
            "doubtful_share": whole.mapping.doubtful_share,
            "strangers": whole.mapping.strangers,
            "calls": len(whole.calls),
            "arrivals": len(whole.arrivals),
            "aside_share": whole.baseline.aside_share,
        },
        "asking": asdict(whole.asking),
        "raster": raster,
        "raster_every": every,
    }


def _rate_json(answer: Answer) -> dict[str, Any]:
    """Return the rates it was called at that were kept, and what is said of them; null where unknown."""
    whole = answer.whole
    called = [
        (each.began, each.rate_rps) for each in whole.phases if each.kind == rates.BASELINE and each.rate_rps
    ]
    since = rates.settled_since(whole.faults, whole.phases)
    return {
        "first_rps": called[0][1] if called else None,
        "kept_rps": next((rps for began, rps in called if began == since), called[0][1] if called else None),
        "says": list(answer.rate),
    }


def _plainest(answer: Answer) -> View:
    """Return the view whose machine is told first: one that is no breaker with three states, if any is."""
    views = [stream.view for stream in answer.judged]
    return next((view for view in views if not view.machine.three_state), views[0])


def _told(answer: Answer) -> str:
    """Return the plain answer: of the one stream, or a sentence or two for each link."""
    said = [each.answer for each in answer.judged]
    if len(said) > 1:
        said = [f"{each.name}: {text}" for each, text in zip(answer.judged, said, strict=True)]
    if answer.isolation is not None and answer.isolation.estimate is not None:
        said.append(f"Isolation: {answer.isolation.why}.")
    return " ".join([*said, *answer.rate])


def _combined(answer: Answer) -> dict[str, Any]:
    """Return each property of the link where it is worst, and the isolation if there is one."""
    found = {}
    for name in answer.judged[0].properties:
        worst = max(answer.judged, key=lambda stream: WORSE.index(stream.properties[name].status))
        found[name] = asdict(worst.properties[name])
        if len(answer.judged) > 1:
            found[name] |= {"link": worst.link, "key": worst.key}
    if answer.isolation is not None:
        found[NAME] = asdict(answer.isolation)
    return {name: each | {"limit": LIMITS.get(name)} for name, each in found.items()}


def _findings(answer: Answer, wall_ahead_s: float) -> list[dict[str, Any]]:
    found = []
    everywhere = (answer.whole, None, "", "", answer.across)
    apart = [(each.view, each.rows, each.link, each.key, each.findings) for each in answer.judged]
    for seen, rows, link, key, findings in (everywhere, *apart):
        moments = lanes(seen) if findings else {}
        for finding in findings:
            shown = asdict(finding) | cut_out(finding, seen, moments, wall_ahead_s)
            shown |= {"link": link, "key": key}
            del shown["span"]
            if rows is not None:
                shown["calls"] = [int(rows[call]) for call in finding.calls]
                for each in shown["evidence_calls"]:
                    each["call"] = int(rows[each["call"]])
            found.append(shown)
    return found


def _machine_json(view: View) -> dict[str, Any]:
    return asdict(view.machine) | {"three_state": view.machine.three_state}


def _stream_json(stream: Stream, wall_ahead_s: float) -> dict[str, Any]:
    told = stream.view.machine.three_state  # no states are made up where there are none
    return {
        "key": stream.key,
        "link": stream.link,
        "machine": _machine_json(stream.view),
        "sequence": list(stream.view.course.sequence) if told else [],
        "transitions": [
            {
                "from": step.was,
                "to": step.to,
                "after": step.after,
                "before": step.before,
                "after_at": step.after + wall_ahead_s,
                "before_at": step.before + wall_ahead_s,
                "phase": stream.view.phase_at(step.before),
            }
            for step in (stream.view.course.transitions if told else ())
        ],
        "properties": _properties(stream),
        "answer": stream.answer,
        "sources": [source_json(each, stream.view, wall_ahead_s) for each in stream.sources],
        "sources_why": stream.sources_why,
    }


def _properties(stream: Stream) -> dict[str, Any]:
    return {name: asdict(each) | {"limit": LIMITS.get(name)} for name, each in stream.properties.items()}
