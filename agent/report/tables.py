"""The tables of a report as rows of text, the same for a page and for a memo."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agent.model import Verdict
from agent.report.figures import allowance, fault_window
from agent.report.strips import State, probes, state_of
from agent.report.words import NONE, Cut, after, brief, compact, cut, number, pretty, seconds, utc

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.model import Activity, Json, Look, RunRecord

MOST_ROWS = 200
OUTPUT_LIMIT = 4_000
"""The most characters of one activity's output."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Yes, no or unknown, with the word for it; the page adds a sign of its own shape."""

    state: State
    word: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeRow:
    """What one steady-state probe said over the whole run."""

    name: str
    tolerance: str
    first: Answer
    second: Answer
    third: Answer
    looks: int
    steady: int
    unsteady: int
    unknown: int
    lowest: str
    median: str
    highest: str
    error: str


def probe_rows(record: RunRecord) -> list[ProbeRow]:
    """Return the probes of the steady-state hypothesis: those of the file, then any others that answered."""
    tolerances = _tolerances(record.definition)
    played = [a.name for a in record.activities if a.section in {"before", "after"}]
    names = dict.fromkeys([*tolerances, *played, *probes(record.looks)])
    return [_probe_row(name, tolerances.get(name, NONE), record) for name in list(names)[:MOST_ROWS]]


def _probe_row(name: str, tolerance: str, record: RunRecord) -> ProbeRow:
    readings = [r for look in record.looks for r in look.readings if r.probe == name]
    values = [v for v in (numeric(r.value) for r in readings) if v is not None]
    states = [state_of(r.met) for r in readings]
    return ProbeRow(
        name=brief(name),
        tolerance=tolerance,
        first=_played(record.activities, name, "before"),
        second=_played(record.activities, name, "after"),
        third=_last_look(record, name),
        looks=len(readings),
        steady=states.count("steady"),
        unsteady=states.count("unsteady"),
        unknown=states.count("unknown"),
        lowest=number(min(values)) if values else NONE,
        median=number(statistics.median(values)) if values else NONE,
        highest=number(max(values)) if values else NONE,
        error=brief(next((r.error for r in readings if r.error), ""), 200),
    )


def numeric(value: Json) -> float | None:
    """Return the figure in a probe's value: a number, or the number under ``value`` of an object."""
    if isinstance(value, dict):
        value = value.get("value")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def _tolerances(definition: Mapping[str, Any]) -> dict[str, str]:
    hypothesis = definition.get("steady-state-hypothesis")
    found = hypothesis.get("probes") if isinstance(hypothesis, Mapping) else None
    listed = found if isinstance(found, list | tuple) else []
    return {str(p.get("name")): _tolerance(p.get("tolerance")) for p in listed if isinstance(p, Mapping)}


def _tolerance(tolerance: Any) -> str:
    if (
        isinstance(tolerance, Mapping)
        and isinstance(ends := tolerance.get("range"), list | tuple)
        and len(ends) == 2
    ):
        return f"{compact(ends[0])} to {compact(ends[1])}"
    return compact(tolerance)


def _played(activities: Sequence[Activity], name: str, section: str) -> Answer:
    found = [a for a in activities if a.name == name and a.section == section]
    if not found:
        return Answer(state="unknown", word="not taken")
    state = state_of(found[-1].met)
    return Answer(state=state, word={"steady": "met", "unsteady": "not met"}.get(state, "no answer"))


def _last_look(record: RunRecord, name: str) -> Answer:
    fault = fault_window(record)
    since: list[Look] = [k for k in record.looks if fault and fault.closed and k.at >= fault.end]
    mets = [r.met for k in since for r in k.readings if r.probe == name]
    if not mets:
        return Answer(state="unknown", word="not taken")
    state = state_of(mets[-1])
    return Answer(state=state, word={"steady": "met", "unsteady": "not met"}.get(state, "no answer"))


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivityRow:
    """One activity of the engine in words."""

    name: str
    kind: str
    section: str
    at: str
    took: str
    status: str
    answer: Answer
    output: Cut
    error: Cut


def activity_rows(record: RunRecord) -> list[ActivityRow]:
    """Return the activities in the order they were played."""
    return [_activity_row(a, record.started_at) for a in record.activities[:MOST_ROWS]]


def _activity_row(activity: Activity, start: float) -> ActivityRow:
    ended = activity.ended_at
    met = activity.met if activity.kind == "probe" and activity.met is not None else None
    output = "" if activity.output is None else pretty(activity.output)
    went = {"succeeded": True, "failed": False}.get(activity.status or "")
    return ActivityRow(
        name=brief(activity.name),
        kind=brief(activity.kind, 20),
        section=brief(activity.section, 20),
        at=after(activity.started_at, start),
        took=seconds(ended - activity.started_at) if ended is not None else "did not end",
        status=brief(activity.status or "no status", 40),
        answer=Answer(
            state=state_of(met if met is not None else went),
            word={True: "met", False: "not met", None: ""}[met],
        ),
        output=cut(output, OUTPUT_LIMIT),
        error=cut(activity.error or "", OUTPUT_LIMIT),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRow:
    """One mark of the timeline in words."""

    at: str
    clock: str
    kind: str
    says: str


def event_rows(record: RunRecord) -> list[EventRow]:
    """Return the marks in time order."""
    ordered = sorted(record.marks, key=lambda m: m.at)[:MOST_ROWS]
    return [
        EventRow(
            at=after(m.at, record.started_at),
            clock=utc(m.at),
            kind=brief(m.kind.replace("_", " "), 40),
            says=brief(m.says, 400),
        )
        for m in ordered
    ]


def verdict_word(record: RunRecord) -> str:
    """Return the verdict, or that there is none."""
    return str(record.verdict) if isinstance(record.verdict, Verdict) else "NO VERDICT"


def owner(record: RunRecord) -> str:
    """Return who owns the experiment, by its file."""
    return compact(allowance(record.definition).get("owner"))
