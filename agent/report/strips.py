"""The looks at one probe, merged into runs of equal state, so that a long run stays a small picture."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Literal

from agent.report.figures import coverage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.model import Look

type State = Literal["steady", "unsteady", "unknown"]

COLUMNS = 300
"""A strip with more runs than this is redrawn in columns, the worst state of a column winning."""
_BY_SEVERITY: tuple[State, ...] = ("steady", "unknown", "unsteady")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A stretch of time in which every look said the same; *looks* is how many there were."""

    start: float
    end: float
    state: State
    looks: int


def state_of(met: bool | None) -> State:  # noqa: FBT001  the three values of truth are the whole input
    """Return the word for a probe's answer."""
    return {True: "steady", False: "unsteady", None: "unknown"}[met]  # type: ignore[return-value]


def probes(looks: Sequence[Look]) -> list[str]:
    """Return the names of all probes in *looks*, in the order of their first reading."""
    return list(dict.fromkeys(reading.probe for look in looks for reading in look.readings))


def runs(looks: Sequence[Look], probe: str) -> list[Run]:
    """Return what *probe* said as runs in time order; a gap in the looks ends a run."""
    said = []
    for look in looks:
        mets = [r.met for r in look.readings if r.probe == probe]
        if mets:
            met = False if False in mets else None if None in mets else True
            said.append(replace(look, steady=met))
    spells = [Run(start=s.start, end=s.end, state=state_of(s.steady), looks=1) for s in coverage(said)]
    merged = _merge(spells)
    return merged if len(merged) <= COLUMNS else _merge(_columns(merged))


def _merge(parts: Sequence[Run]) -> list[Run]:
    merged: list[Run] = []
    for part in parts:
        last = merged[-1] if merged else None
        if last and last.state == part.state and part.start - last.end < 1e-3:
            merged[-1] = replace(last, end=max(last.end, part.end), looks=last.looks + part.looks)
        else:
            merged.append(part)
    return merged


def _columns(parts: Sequence[Run]) -> list[Run]:
    first, last = parts[0].start, max(p.end for p in parts)
    width = (last - first) / COLUMNS
    cells: list[Run] = []
    for number, inside in groupby(
        parts, key=lambda p: min(COLUMNS - 1, math.floor((p.start - first) / width))
    ):
        group = list(inside)
        worst = max((p.state for p in group), key=_BY_SEVERITY.index)
        start = first + number * width
        end = max(start + width, group[-1].end)
        cells.append(Run(start=start, end=end, state=worst, looks=sum(p.looks for p in group)))
    return [replace(c, end=min(c.end, n.start)) for c, n in zip(cells, [*cells[1:], cells[-1]], strict=True)][
        :-1
    ] + cells[-1:]
