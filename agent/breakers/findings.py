"""Bugs of breakers, each recognised by what it does to the two streams."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agent.breakers.bugs import DETECTORS
from agent.breakers.bugs.sharing import across

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agent.breakers.bugs.detector import Bug, Evidence
    from agent.breakers.estimate import Property
    from agent.breakers.isolation import Collateral
    from agent.breakers.view import View


STATELESS = frozenset(
    {"no-timeout", "serialises-calls", "retries-multiply", "per-replica", "stuck", "closes-only-in-quiet"}
)
"""Bugs that are seen without the states of a breaker."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One bug.  ``evidence`` is one sentence with the figures; ``calls`` are its rows.

    ``span`` are the seconds to look at (monotonic) where the calls alone do not show it.
    """

    bug: str
    title: str
    evidence: str
    confidence: str
    severity: str
    advice: str
    calls: tuple[int, ...] = field(default=())
    span: tuple[float, float] | None = None


def find(view: View, properties: Mapping[str, Property]) -> tuple[Finding, ...]:
    """Return every bug that the recording shows; of machines without three states, those that need none."""
    looking = [each for each in DETECTORS.values() if view.machine.three_state or each.bug in STATELESS]
    told = [(detector, detector(view, properties)) for detector in looking]
    return tuple(_finding(detector, evidence) for detector, evidence in told if evidence is not None)


def shared(found: Sequence[Collateral]) -> tuple[Finding, ...]:
    """Return every bug that shows only in what several paths have in common."""
    return tuple(_finding(bug, evidence) for bug, evidence in across(found).items())


def _finding(bug: Bug, evidence: Evidence) -> Finding:
    return Finding(
        bug=bug.bug,
        title=bug.title,
        evidence=evidence.says,
        confidence=evidence.confidence,
        severity=bug.severity,
        advice=bug.advice,
        calls=evidence.calls,
        span=evidence.span,
    )
