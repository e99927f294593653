"""The injections of a run in words: dose, steps, and the dead men that would have ended them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agent.report.strips import state_of
from agent.report.tables import MOST_ROWS, Answer
from agent.report.words import NONE, after, brief, compact, listing, seconds

if TYPE_CHECKING:
    from agent.model import Injection, Json, RunRecord

UNITS = frozenset({"ms", "s", "bytes", "fraction", "rps", "ratio"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Dose:
    """One quantity of a fault: what was asked for and what was measured."""

    name: str
    asked: str
    measured: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A step in the life of an injection: its name, how long it took, and when it was over."""

    name: str
    took: str
    at: str
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class InjectionRow:
    """One injection in words."""

    fault: str
    victims: str
    doses: tuple[Dose, ...]
    missed: str
    error: str
    landed: Answer
    gone: Answer
    steps: tuple[Step, ...]
    dead_men: tuple[str, ...]

    @property
    def compared(self) -> tuple[Dose, ...]:
        """What was both asked for and measured."""
        return tuple(dose for dose in self.doses if NONE not in {dose.asked, dose.measured})

    @property
    def asked(self) -> str:
        """What was asked for and cannot be measured, in one phrase."""
        only = [d for d in self.doses if d.measured == NONE and d.asked not in {NONE, ""}]
        return ", ".join(f"{dose.name.removeprefix('dose, ')} {dose.asked}" for dose in only)

    @property
    def measured(self) -> str:
        """What was measured besides, in one phrase."""
        only = [d for d in self.doses if d.asked == NONE and d.measured not in {NONE, ""}]
        return ", ".join(f"{dose.name.removeprefix('dose, ')} {dose.measured}" for dose in only)


def injection_rows(record: RunRecord) -> list[InjectionRow]:
    """Return the injections in the order they were intended."""
    ordered = sorted(record.injections, key=lambda i: i.intended_at)
    return [_injection_row(i, record.started_at) for i in ordered[:MOST_ROWS]]


def _injection_row(injection: Injection, start: float) -> InjectionRow:
    landed, gone = state_of(injection.landed), state_of(injection.gone)
    return InjectionRow(
        fault=brief(injection.fault),
        victims=listing(injection.victims),
        doses=tuple(doses(injection.dose)),
        missed=brief(injection.missed or "", 300),
        error=brief(injection.error or "", 300),
        landed=Answer(
            state=landed, word={"steady": "landed", "unsteady": "did not land"}.get(landed, "not checked")
        ),
        gone=Answer(state=gone, word={"steady": "gone", "unsteady": "not gone"}.get(gone, "not checked")),
        steps=tuple(_steps(injection, start)),
        dead_men=tuple(_dead_men(injection)),
    )


def _steps(injection: Injection, start: float) -> list[Step]:
    moments = [
        ("intended", injection.intended_at),
        ("applied", injection.applied_at),
        ("landed", injection.landed_at),
        ("healed", injection.healed_at),
    ]
    known = [(name, at) for name, at in moments if at is not None]
    whole = known[-1][1] - known[0][1]
    steps, before = [], known[0][1]
    for name, at in known:
        took = at - before
        share = took / whole if whole > 0 and math.isfinite(took / whole) else 0.0
        steps.append(Step(name=name, took=seconds(took), at=after(at, start), share=max(0.0, share)))
        before = at
    return steps


def _dead_men(injection: Injection) -> list[str]:
    said = injection.dose.get("dead_men")
    found = [brief(str(s), 120) for s in said[:5]] if isinstance(said, list) else []
    if injection.lease_s is not None:
        renewed = ", renewed while the run lives" if injection.renew else ""
        found.append(f"lease on the platform: {seconds(injection.lease_s)}{renewed}")
    return [*found, f"ends after {seconds(injection.max_duration_s)} at most"]


def doses(dose: Mapping[str, Json]) -> list[Dose]:
    """Return what was asked and measured side by side.

    Understands ``{"asked": {...}, "measured": {...}}`` and ``{"asked_ms": 80, "measured_ms": 80.4}``;
    what is neither stands under measured.
    """
    asked: dict[str, Any] = {}
    measured: dict[str, Any] = {}
    for key, value in dose.items():
        if key == "dead_men":
            continue
        side = asked if key.startswith("asked") else measured
        name = key.removeprefix("asked").removeprefix("measured").strip("_")
        if isinstance(value, Mapping) and not name:
            side.update(value)
        else:
            side[name or "dose"] = value
    names = list(dict.fromkeys([*asked, *measured]))[:20]
    return [
        Dose(
            name=f"dose, {n}" if n in UNITS else brief(n, 40),
            asked=_or_none(asked, n),
            measured=_or_none(measured, n),
        )
        for n in names
    ]


def _or_none(values: Mapping[str, Any], name: str) -> str:
    return compact(values[name]) if name in values else NONE
