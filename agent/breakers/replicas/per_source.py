"""What is said of each source: its openings, its properties, one sentence; and all of it as data."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from agent.breakers.answer import openings_and_closings
from agent.breakers.courses.states import State
from agent.breakers.machines.kinds import Kind
from agent.breakers.measures.estimate import often
from agent.breakers.measures.properties import LIMITS, PROPERTIES
from agent.breakers.measures.trials import CLOCK_ERROR_S

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agent.breakers.courses.states import Stretch, Transition
    from agent.breakers.measures.estimate import Property
    from agent.breakers.replicas.sources import Source
    from agent.breakers.view import View

TOLD = ("failures_to_open", "time_to_open_s", "time_to_half_open_s", "time_to_close_s", "relapses", "flaps")
"""Properties that follow from what a source let through, and from its states."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PerSource:
    """What is said of one source, called ``name``."""

    name: str
    source: Source
    properties: Mapping[str, Property]

    @property
    def sequence(self) -> tuple[str, ...]:
        """Its states, none where ``source.why`` says why."""
        return () if self.source.why else self.source.consensus.sequence

    @property
    def answer(self) -> str:
        """One sentence."""
        if self.source.why:
            return f"No states are told: {self.source.why}."
        untold = len(self.source.consensus.untold)
        if State.OPEN not in self.sequence:
            return "It was never seen open." if not untold else _untold(untold)
        said = openings_and_closings(self.source.view, self.properties)
        return f"{said} {_untold(untold)}" if untold else said


def _untold(times: int) -> str:
    return f"{often(times).capitalize()} it is not told what it did: too few calls came to tell."


def per_source(view: View, names: Sequence[str]) -> tuple[tuple[PerSource, ...], str]:
    """Return what is said of each source of *view*, and why nothing is if nothing is.

    *names* are what the sources are called, by their number.  Where no replicas were recognised nothing is
    said, and there is no reason why.
    """
    if view.machine.kind is not Kind.REPLICAS:
        return (), ""
    found = [
        PerSource(
            name=names[each.number] if each.number < len(names) else str(each.number),
            source=each,
            properties={} if each.why else {name: PROPERTIES[name](each.view) for name in TOLD},
        )
        for each in view.apart.told
    ]
    return tuple(found), view.apart.hindered


def summary(found: Sequence[PerSource], why: str) -> str:
    """Return a sentence or two about all sources together, "" if there is nothing to say."""
    if why:
        return f"The states of each are not told: {why}."
    alike: dict[str, list[str]] = {}
    for each in found:
        alike.setdefault(each.answer, []).append(each.name)
    return " ".join(f"{_listed(names)}: {answer}" for answer, names in alike.items())


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def source_json(each: PerSource, view: View, wall_ahead_s: float) -> dict[str, Any]:
    """Return the documented object of one source."""
    steps = () if each.source.why else each.source.consensus.steps
    return {
        "source": each.name,
        "share": round(each.source.share, 4),
        "calls": each.source.calls,
        "sequence": list(each.sequence),
        "transitions": [
            {
                "from": step.was,
                "to": step.to,
                "after": step.after,
                "before": step.before,
                "after_at": step.after + wall_ahead_s,
                "before_at": step.before + wall_ahead_s,
                "phase": view.phase_at(step.before),
            }
            for step in steps
        ],
        "openings": [] if each.source.why else _openings(each, wall_ahead_s),
        "properties": {
            name: asdict(one) | {"limit": LIMITS.get(name)} for name, one in each.properties.items()
        },
        "answer": each.answer,
        "why": each.source.why,
    }


def _openings(each: PerSource, wall_ahead_s: float) -> list[dict[str, Any]]:
    """Return each time it opened, of the times in which its states are told."""
    seen, found = each.source.view, []
    counted = each.properties["failures_to_open"]
    failures = dict(zip(_first_openings(seen), counted.more.get("each", ()), strict=False))  # type: ignore[call-overload]
    following = [*seen.steps[1:], None]
    for (_, _, step), after in zip(seen.steps, following, strict=True):
        if step.to is not State.OPEN:
            continue
        tried = after[2] if after else None
        found.append(
            {
                "from": str(step.was),
                "after": step.after,
                "before": step.before,
                "after_at": step.after + wall_ahead_s,
                "before_at": step.before + wall_ahead_s,
                "phase": seen.phase_at(step.before),
                "failures": failures.get(step),
                "open_s": _lasted(step, tried) if tried else None,
                "trials": _tried(after[1]) if after else 0,
            }
        )
    return found


def _first_openings(seen: View) -> list[Transition]:
    return [step for _, _, step in seen.steps_of(State.CLOSED, State.OPEN) if seen.fault_at(step.before)]


def _lasted(opened: Transition, tried: Transition) -> list[float]:
    low, high = tried.after - opened.before, tried.before - opened.after
    return [round(max(0.0, low - CLOCK_ERROR_S), 4), round(high + CLOCK_ERROR_S, 4)]


def _tried(stretch: Stretch) -> int:
    return len(stretch.trials)
