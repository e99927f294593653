"""What becomes of calls while it tries again."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from agent.breakers import trials
from agent.breakers.bugs.detector import detector
from agent.breakers.bugs.rows import shown
from agent.breakers.bugs.waiting import rejections_wait, serialises_calls
from agent.breakers.estimate import Status
from agent.breakers.states import State

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.breakers.bugs.detector import Evidence
    from agent.breakers.estimate import Property
    from agent.breakers.view import View

TRIAL_S = 0.05


@detector(
    "half-open-stampede",
    title="Half-open stampede",
    severity="high",
    advice="Limit the calls in flight while half-open, to one or a few.",
)
def half_open_stampede(view: View, properties: Mapping[str, Property]) -> Evidence | None:
    """Lets everybody through at once when it tries again."""
    budget = properties["half_open_budget"]
    if budget.status is not Status.FAIL:
        return None
    crowd = max(view.course.of(State.HALF_OPEN), key=lambda stretch: len(stretch.trials))
    rows = np.zeros(len(view.asked), bool)
    rows[list(crowd.trials)] = True
    return shown(
        view,
        rows,
        f"{budget.low:.0f} calls were let through before the first trial had ended ({budget.n} times seen)",
    )


@detector(
    "half-open-waiters",
    title="Callers wait for the trial",
    severity="medium",
    advice="Reject others at once while a trial is in flight.",
)
def half_open_waiters(view: View, properties: Mapping[str, Property]) -> Evidence | None:
    """Makes others wait for the trial instead of rejecting them."""
    # Whoever came within a shorter trial may have waited for nothing but the processor.
    seen = [each for each in trials.held(view) if each.ended - each.began >= TRIAL_S]
    waited = sum(each.waited for each in seen)
    if serialises_calls(view, properties) or rejections_wait(view, properties):
        return None  # either explains it
    if not seen or trials.family(seen) != "queue" or waited < 3:
        return None
    longest = max(seen, key=lambda each: each.ended - each.began)
    took_s = longest.ended - longest.began
    asked = view.asked
    rows = (asked.begun > longest.began) & (asked.begun < longest.ended) & (asked.at >= longest.ended)
    return replace(
        shown(
            view, rows, f"{waited} calls waited for a trial, up to {took_s:.2f} s, instead of failing fast"
        ),
        span=(longest.began, longest.ended),
    )
