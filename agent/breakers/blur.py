"""An answer whose arrivals another clock told: brackets are wider by what is not known of that clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

TIMES = ("time_to_open_s", "time_to_half_open_s", "time_to_close_s")
"""Properties that lie between two moments."""


def blurred(found: dict[str, Any], within_s: float, each_s: Mapping[str, float]) -> dict[str, Any]:
    """Return the documented object *found*, its moments wrong by no more than *within_s* each.

    Those of a single source are wrong by no more than what *each_s* says of it.
    """
    note = (
        f"Arrivals were told by clocks in pods, each known to {1000 * within_s:.1f} ms: every transition's "
        "bracket is that much wider at both ends, and times between two of them twice as much."
    )
    return found | {
        "notes": [*found["notes"], note],
        "streams": [_stream(each, within_s, each_s) for each in found["streams"]],
        "properties": _properties(found["properties"], within_s),
    }


def _stream(stream: dict[str, Any], within_s: float, each_s: Mapping[str, float]) -> dict[str, Any]:
    sources = [_source(each, each_s.get(each["source"], within_s)) for each in stream["sources"]]
    return _states(stream, within_s) | {"sources": sources}


def _source(source: dict[str, Any], within_s: float) -> dict[str, Any]:
    openings = [_opening(each, within_s) for each in source["openings"]]
    return _states(source, within_s) | {"openings": openings}


def _states(of: dict[str, Any], within_s: float) -> dict[str, Any]:
    return of | {
        "transitions": [_transition(each, within_s) for each in of["transitions"]],
        "properties": _properties(of["properties"], within_s),
    }


def _opening(opening: dict[str, Any], within_s: float) -> dict[str, Any]:
    lasted, by_s = opening["open_s"], 2 * within_s
    wider = None if lasted is None else [max(0.0, lasted[0] - by_s), lasted[1] + by_s]
    return _transition(opening, within_s) | {"open_s": wider}


def _transition(step: dict[str, Any], within_s: float) -> dict[str, Any]:
    earlier = {name: step[name] - within_s for name in ("after", "after_at")}
    return step | earlier | {name: step[name] + within_s for name in ("before", "before_at")}


def _properties(properties: dict[str, Any], within_s: float) -> dict[str, Any]:
    return {name: _wider(each, 2 * within_s) if name in TIMES else each for name, each in properties.items()}


def _wider(each: dict[str, Any], by_s: float) -> dict[str, Any]:
    low, high = each["low"], each["high"]
    return each | {
        "low": None if low is None else max(0.0, low - by_s),
        "high": None if high is None else high + by_s,
    }
