"""Bugs of breakers, each recognised by what it does to the two streams."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agent.breakers.bugs import DETECTORS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.breakers.estimate import Property
    from agent.breakers.view import View


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
    """Return every bug that the recording shows."""
    found = []
    for bug, detector in DETECTORS.items():
        evidence = detector(view, properties)
        if evidence is not None:
            found.append(
                Finding(
                    bug=bug,
                    title=detector.title,
                    evidence=evidence.says,
                    confidence=evidence.confidence,
                    severity=detector.severity,
                    advice=detector.advice,
                    calls=evidence.calls,
                    span=evidence.span,
                )
            )
    return tuple(found)
