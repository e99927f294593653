"""The whole answer: a view and the properties of each key's breaker, as data."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from agent.breakers.answer import plain_answer
from agent.breakers.evidence import cut_out, lanes, thinned
from agent.breakers.findings import Finding, find
from agent.breakers.properties import LIMITS, measure
from agent.breakers.view import View, view

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agent.breakers.estimate import Property
    from agent.breakers.streams import Arrivals, Calls, FaultWindow

SCHEMA = "gameday/breaker/1"
LANE_MAX = 6_000
"""So many moments of a lane are kept for a picture; of more, every second, third ... one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """What was inferred about the breaker before one link, for one key ("" for all together)."""

    key: str
    link: str
    view: View
    properties: Mapping[str, Property]
    findings: tuple[Finding, ...]

    @property
    def answer(self) -> str:
        """One paragraph for people."""
        return plain_answer(self.view, self.properties)


def analyse(
    calls: Calls,
    arrivals: Arrivals,
    faults: Sequence[FaultWindow],
    *,
    link: str = "",
    keys: Mapping[int, str] | None = None,
) -> tuple[Stream, ...]:
    """Return one stream for all calls and, where the traffic has several *keys*, one for each."""
    whole = _stream(calls, arrivals, faults, key="", link=link)
    if not keys or len(keys) < 2:
        return (whole,)
    owner = whole.view.mapping.call
    streams = [whole]
    for number, name in keys.items():
        theirs = (owner >= 0) & (calls.key[np.maximum(owner, 0)] == number)
        mine = calls.where(calls.key == number)
        streams.append(_stream(mine, arrivals.where(theirs), faults, key=name, link=link))
    return tuple(streams)


def _stream(
    calls: Calls, arrivals: Arrivals, faults: Sequence[FaultWindow], *, key: str, link: str
) -> Stream:
    seen = view(calls, arrivals, faults)
    properties = measure(seen)
    return Stream(key=key, link=link, view=seen, properties=properties, findings=find(seen, properties))


def to_json(streams: Sequence[Stream], *, wall_ahead_s: float) -> dict[str, Any]:
    """Return the documented object; see docs/breakers.md.  Times are monotonic seconds and wall seconds."""
    whole = streams[0]
    moments = lanes(whole.view)
    raster, every = thinned(moments, LANE_MAX, wall_ahead_s)
    return {
        "schema": SCHEMA,
        "answer": whole.answer,
        "streams": [_stream_json(stream, wall_ahead_s) for stream in streams],
        "properties": _properties(whole),
        "findings": [
            {name: value for name, value in asdict(finding).items() if name != "span"}
            | cut_out(finding, whole.view, moments, wall_ahead_s)
            for finding in whole.findings
        ],
        "faults": [
            asdict(fault)
            | {"began_at": fault.began + wall_ahead_s, "ended_at": fault.ended + wall_ahead_s}
            | {"seen": whole.view.sees(fault)}
            for fault in whole.view.faults
        ],
        "mapping": {
            "by": "id" if whole.view.mapping.by_id else "time",
            "doubtful_share": whole.view.mapping.doubtful_share,
            "strangers": whole.view.mapping.strangers,
            "calls": len(whole.view.calls),
            "arrivals": len(whole.view.arrivals),
            "aside_share": whole.view.baseline.aside_share,
        },
        "raster": raster,
        "raster_every": every,
    }


def _stream_json(stream: Stream, wall_ahead_s: float) -> dict[str, Any]:
    return {
        "key": stream.key,
        "link": stream.link,
        "sequence": list(stream.view.course.sequence),
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
            for step in stream.view.course.transitions
        ],
        "properties": _properties(stream),
        "answer": stream.answer,
    }


def _properties(stream: Stream) -> dict[str, Any]:
    return {name: asdict(each) | {"limit": LIMITS.get(name)} for name, each in stream.properties.items()}
