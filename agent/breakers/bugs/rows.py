"""The rows of decisions that detectors ask for again and again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.breakers.bugs.detector import SURE, Evidence
from agent.breakers.courses.states import State
from agent.breakers.measures.timing import ENOUGH_FAILURES
from agent.breakers.reading.decisions import within

if TYPE_CHECKING:
    from agent.breakers.streams import Flags
    from agent.breakers.view import View

SHOWN_MAX = 20


def shown(view: View, rows: Flags, says: str, confidence: str = SURE) -> Evidence:
    """Return evidence that points at the first calls of *rows*."""
    calls = view.asked.call[np.flatnonzero(rows)[:SHOWN_MAX]]
    return Evidence(says=says, confidence=confidence, calls=tuple(map(int, calls)))


def under(view: View, *kinds: str) -> Flags:
    """Return which decisions were taken while a fault of one of *kinds* was in."""
    return within(view.asked.at, [fault for fault in view.faults if fault.kind in kinds])


def opened_under(view: View, kind: str) -> bool:
    """Whether it was open at any time while a fault of *kind* was in."""
    return bool((view.rows(State.OPEN) & under(view, kind)).any())


def let_through_failing(view: View, kind: str) -> Flags | None:
    """Return the failed calls under *kind* if there were plenty and none was ever kept back."""
    rows = under(view, kind) & view.asked.forwarded & ~view.asked.good
    return rows if rows.sum() >= ENOUGH_FAILURES and not opened_under(view, kind) else None


def ever_opened(view: View) -> bool:
    """Whether it was seen open."""
    return State.OPEN in view.course.sequence
