"""What becomes of calls while it tries again."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from agent.breakers.bugs.detector import detector
from agent.breakers.bugs.rows import shown
from agent.breakers.bugs.waiting import rejections_wait, serialises_calls
from agent.breakers.courses.states import State
from agent.breakers.measures import trials
from agent.breakers.measures.estimate import Status, mostly_common
from agent.breakers.view import GUARD_S

KEPT_BACK = 4
LAG_S = 0.1
"""Between processes that have to wait for a core, less says nothing."""

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.breakers.bugs.detector import Evidence
    from agent.breakers.measures.estimate import Property
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


@detector(
    "results-counted-late",
    title="It learns late how calls ended",
    severity="medium",
    advice="Count a call's outcome when it ends, before the next call is let in or kept back.",
)
def results_counted_late(view: View, _: Mapping[str, Property]) -> Evidence | None:
    """Acts on an outcome only a while after it is there, and meanwhile lets calls through or keeps them back.

    Seen at a good trial: others are kept back though nothing is in flight, and then all are let in at once.
    """
    usual = max((wait.low for wait in trials.proper_waits(view)), default=0.0)
    lags = [
        each
        for each in trials.lags(view)
        if each.rows.stop - each.rows.start >= KEPT_BACK
        and LAG_S <= each.before - each.over < 0.8 * usual
        and not view.meets(each.over, each.before)
    ]
    brackets = [(each.after - each.over - GUARD_S, each.before - each.over + GUARD_S) for each in lags]
    both = mostly_common(brackets) if len(lags) > 1 else None
    if both is None or trials.is_gradual(view):
        return None
    rows = np.zeros(len(view.asked), bool)
    for each in lags:
        rows[each.rows] = True
    longest, over = brackets[0][1], lags[0].over
    return replace(
        shown(
            view,
            rows,
            f"{len(lags)} times {int(rows.sum())} calls were kept back for about {sum(both) / 2:.2f} s after "
            "a trial had succeeded, with nothing in flight, and then everybody was let in",
        ),
        span=(over, over + longest),
    )
