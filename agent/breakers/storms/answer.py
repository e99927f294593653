"""The answer of a storm as data, ``gameday/storm/1`` (docs/storms.md)."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from agent.breakers.storms.goodput import amplification, goodput
from agent.breakers.storms.hysteresis import bracket
from agent.breakers.storms.storm import PURPOSES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agent.breakers.storms.goodput import Load, Measured
    from agent.breakers.storms.storm import Judged, Phase, Rules

SCHEMA = "gameday/storm/1"
EVERY_S = 0.5
POINTS_MAX = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One load with what was done at it and what came of it."""

    rate_rps: float
    phases: tuple[Phase, ...]
    judged: Judged


def to_json(
    load: Load,
    levels: Sequence[Level],
    *,
    trigger: Mapping[str, Any],
    rules: Rules,
    opened: Sequence[tuple[float, int]],
    wall_ahead_s: float,
    swept: bool,
) -> dict[str, Any]:
    """Return the answer; *opened* is how many requests had no answer at the link, by monotonic moment."""
    hysteresis = None
    if swept:
        tried = [(level.rate_rps, level.judged.outcome) for level in levels]
        hysteresis = asdict(bracket(tried, trigger_s=trigger["for_s"]))
    return {
        "schema": SCHEMA,
        "answer": hysteresis["says"] + "." if hysteresis else f"{levels[-1].judged.says}.",
        "outcome": str(levels[-1].judged.outcome),
        "trigger": dict(trigger),
        "rules": asdict(rules),
        "levels": [_level(load, level, wall_ahead_s) for level in levels],
        "hysteresis": hysteresis,
        "series": _series(load, levels, opened, wall_ahead_s),
    }


def _level(load: Load, level: Level, ahead: float) -> dict[str, Any]:
    back = level.judged.back
    return {
        "rate_rps": level.rate_rps,
        "outcome": str(level.judged.outcome),
        "says": level.judged.says,
        "back_after_s": None if back is None else asdict(back),
        "phases": [_phase(load, phase, ahead) for phase in level.phases],
    }


def _phase(load: Load, phase: Phase, ahead: float) -> dict[str, Any]:
    return {
        **asdict(phase),
        "purpose": PURPOSES[phase.name],
        "began_at": phase.began + ahead,
        "ended_at": phase.ended + ahead,
        "offered": len(load.good[load.calls(phase.began, phase.ended)]),
        "goodput": _measured(goodput(load, phase.began, phase.ended)),
        "amplification": _measured(amplification(load, phase.began, phase.ended)),
    }


def _measured(value: Measured) -> dict[str, float | int | None]:
    numbers = asdict(value)
    return {key: each if math.isfinite(each) else None for key, each in numbers.items()}


def _series(
    load: Load, levels: Sequence[Level], opened: Sequence[tuple[float, int]], ahead: float
) -> dict[str, Any]:
    """Return counts in steps of ``every_s`` over all levels; ``open`` is the last number seen in a step."""
    phases = [phase for level in levels for phase in level.phases]
    began, ended = phases[0].began, phases[-1].ended
    every_s = max(EVERY_S, (ended - began) / POINTS_MAX)
    edges = np.arange(began, ended, every_s)
    if len(edges) < 2:
        return {"every_s": every_s, "at": [], "offered": [], "good": [], "requests": [], "open": []}
    offered = np.diff(np.searchsorted(load.intended, edges))
    good = np.diff(np.searchsorted(load.intended[load.good], edges))
    requests = np.diff(np.searchsorted(load.arrived, edges))
    moments = np.array([at for at, _ in opened])
    last = np.searchsorted(moments, edges[1:]) - 1
    return {
        "every_s": every_s,
        "at": [round(float(at) + ahead, 3) for at in edges[:-1]],
        "offered": offered.tolist(),
        "good": good.tolist(),
        "requests": requests.tolist(),
        "open": [opened[place][1] if place >= 0 else 0 for place in last],
    }
