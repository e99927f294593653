"""Bugs of breakers, each recognised by what it does to the two streams."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agent.breakers.bugs import DETECTORS
from agent.breakers.bugs.sharing import across

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agent.breakers.bugs.detector import Bug, Evidence
    from agent.breakers.measures.estimate import Property
    from agent.breakers.measures.isolation import Collateral
    from agent.breakers.view import View


DOUBTFUL_MAX = 0.25
"""Where more of the matches than this could be otherwise, who was let through is not known."""


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
    """Return every bug that the recording shows.

    Where a machine has not three states, or it is in doubt who was let through, those that need none.
    """
    has_states = view.machine.three_state and view.mapping.doubtful_share <= DOUBTFUL_MAX
    looking = [each for each in DETECTORS.values() if has_states or each.stateless]
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
