"""What a finding points at, cut out of the recording: small, and whole enough to be checked by eye."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from agent.breakers.streams import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.breakers.findings import Finding
    from agent.breakers.streams import Calls, Floats
    from agent.breakers.view import View

LANE_MAX = 400
"""So many moments of a lane are kept in a cut-out; of more, every second, third ... one."""
CALLS_MAX, ARRIVALS_MAX = 20, 6
PAD_S = 0.4
"""Before and after the calls in question, at least."""
SPAN_MIN_S, SPAN_MAX_S, SPAN_CALLS = 1.0, 6.0, 20.0
"""Calls further apart than so many of the first of them take are not shown in one cut-out."""
WORDS = {
    Outcome.OK: "ok",
    Outcome.STATUS: "status",
    Outcome.TIMEOUT: "timeout",
    Outcome.REFUSED: "refused",
    Outcome.BROKEN: "broken",
    Outcome.SHED: "shed",
}


def lanes(view: View) -> dict[str, Floats]:
    """Return when what happened, in order: each decision of a call, each arrival by how it ended."""
    each, all_ = (view.asked, view.too_many), view.decisions
    asked = np.concatenate([some.call for some in each])
    found = {
        "let_through_well": np.concatenate([some.at[some.forwarded & some.good] for some in each]),
        "let_through_failed": np.concatenate([some.at[some.forwarded & ~some.good] for some in each]),
        "kept_back": np.concatenate([view.turned_away, *(some.at[~some.forwarded] for some in each)]),
        "aside": all_.at[~np.isin(all_.call, asked) & ~np.isin(all_.at, view.turned_away)],
        "answered_well": view.arrivals.at[view.arrivals.good],
        "answered_badly": view.arrivals.at[~view.arrivals.good],
    }
    return {name: np.sort(at) for name, at in found.items()}


def between(found: Mapping[str, Floats], since: float, until: float) -> dict[str, Floats]:
    """Return what of the lanes lies between two moments."""
    return {
        name: at[np.searchsorted(at, since) : np.searchsorted(at, until, "right")]
        for name, at in found.items()
    }


def thinned(found: Mapping[str, Floats], most: int, ahead: float) -> tuple[dict[str, Any], dict[str, int]]:
    """Return at most *most* wall seconds of each lane, and for each lane that one in how many is kept.

    Each lane is thinned by itself, so that the few trials among a million calls are all there.
    """
    every = {name: math.ceil(len(at) / most) or 1 for name, at in found.items()}
    kept = {name: np.round(at[:: every[name]] + ahead, 4).tolist() for name, at in found.items()}
    return kept, {name: n for name, n in every.items() if n > 1}


def cut_out(finding: Finding, view: View, found: Mapping[str, Floats], wall_ahead_s: float) -> dict[str, Any]:
    """Return the fields that a finding's evidence has in the answer; see docs/breakers.md.

    *found* are all the :func:`lanes` of *view*.
    """
    since, until = window(finding, view)
    began, ended = span(finding, view) or (since, until)
    kept, every = thinned(between(found, since, until), LANE_MAX, wall_ahead_s)
    return {
        "evidence_span": {"from_at": began + wall_ahead_s, "to_at": ended + wall_ahead_s},
        "evidence_window": {"from_at": since + wall_ahead_s, "to_at": until + wall_ahead_s},
        "evidence_calls": _calls(finding, view, wall_ahead_s),
        "evidence_raster": kept,
        "evidence_raster_every": every,
    }


def span(finding: Finding, view: View) -> tuple[float, float] | None:
    """Return when it happened: the finding's own seconds and those of its calls; None if it names neither."""
    spans = [finding.span] if finding.span else []
    if finding.calls:
        begun: Floats = view.calls.begun[list(finding.calls[:CALLS_MAX])]
        ended: Floats = view.calls.ended[list(finding.calls[:CALLS_MAX])]
        apart = min(SPAN_MAX_S, max(SPAN_MIN_S, SPAN_CALLS * float(np.median((ended - begun)[:5]))))
        near = begun <= float(begun.min()) + apart
        spans.append((float(begun.min()), float(ended[near].max())))
    return (min(each[0] for each in spans), max(each[1] for each in spans)) if spans else None


def window(finding: Finding, view: View) -> tuple[float, float]:
    """Return the seconds to look at: those of the finding with something around, else the whole recording."""
    whole = view.decisions.at
    first, last = (float(whole[0]), float(whole[-1])) if len(whole) else (0.0, 0.0)
    happened = span(finding, view)
    if happened is None:
        return first, last
    since, until = happened
    pad = max(PAD_S, 0.2 * (until - since))
    return max(since - pad, min(first, since)), min(until + pad, max(last, until))


def _calls(finding: Finding, view: View, ahead: float) -> list[dict[str, Any]]:
    rows = np.array(finding.calls[:CALLS_MAX], int)
    chosen = np.isin(view.mapping.call, rows)
    owner, arrivals = view.mapping.call[chosen], view.arrivals.where(chosen)
    return [_call(int(row), view, arrivals.at[owner == row], ahead) for row in rows] if len(rows) else []


def _call(row: int, view: View, arrived: Floats, ahead: float) -> dict[str, Any]:
    calls = view.calls
    at = np.round(np.sort(arrived) + ahead, 4)
    return {
        "call": row,
        "begun_at": round(float(calls.begun[row]) + ahead, 4),
        "ended_at": round(float(calls.ended[row]) + ahead, 4),
        "answer": _answer(calls, row),
        "requests": len(arrived),
        "arrived_at": at[:ARRIVALS_MAX].tolist(),
    }


def _answer(calls: Calls, row: int) -> str:
    outcome, status = int(calls.outcome[row]), int(calls.status[row])
    word = WORDS[Outcome(outcome)] if outcome in set(Outcome) else "unknown"
    said = f"{word} {status}" if status else word
    return f"{said}, degraded" if calls.degraded[row] else said
