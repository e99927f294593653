"""What a detector is: a function, declared once with everything that is said when it finds something."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from agent.breakers.measures.estimate import Property
    from agent.breakers.view import View

SURE, LIKELY = "high", "medium"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a detector saw: a sentence with figures, rows of the calls to look at, and seconds to show."""

    says: str
    confidence: str = SURE
    calls: tuple[int, ...] = ()
    span: tuple[float, float] | None = None


type Look = Callable[["View", "Mapping[str, Property]"], Evidence | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bug:
    """What is said about one *bug* of breakers.

    ``severity`` is what it does to the service (high, medium), ``advice`` one sentence.
    """

    bug: str
    title: str
    severity: str
    advice: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Detector(Bug):
    """How a bug is recognised in one stream, in what was called at the rate that was kept.

    ``whole`` ones look at the extra phases too; all others at what came before them.  ``stateless`` ones
    need no states of a breaker, so that they may speak where there are none, or where those are in doubt.
    """

    look: Look
    whole: bool = False
    stateless: bool = False

    def __call__(self, view: View, properties: Mapping[str, Property]) -> Evidence | None:
        """Return what was seen, or None: not there, or it cannot be told."""
        return self.look(view.settled if self.whole else view.plain, properties)


def detector(
    bug: str, *, title: str, severity: str, advice: str, whole: bool = False, stateless: bool = False
) -> Callable[[Look], Detector]:
    """Make a function the detector of *bug*."""
    return lambda look: Detector(
        bug=bug,
        title=title,
        severity=severity,
        advice=advice,
        look=look,
        whole=whole,
        stateless=stateless,
    )
