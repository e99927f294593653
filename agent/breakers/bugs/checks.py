"""What active checks of the dependency do to it; they are requests over the link that no call explains."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.breakers.bugs.detector import Evidence, detector
from agent.breakers.courses.states import State
from agent.breakers.measures import trials
from agent.breakers.reading.decisions import within

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.breakers.measures.estimate import Property
    from agent.breakers.streams import Floats
    from agent.breakers.view import View

TIMES, AT_ONCE = 2, 3
"""So many times in a row is no chance: a check comes now and then, and its end fell into each bracket; and
each time so many calls were let through, whatever became of the first."""
AFTER_S = 0.03
"""From a check's end at the link until the service lets the next call through, at most."""
FAILING = ("error", "reset")


@detector(
    "active-check-overrides",
    title="An active check closes it while calls still fail",
    severity="high",
    advice="Let calls that fail outweigh a health check that does not, or let the check do what calls do.",
)
def active_check_overrides(view: View, _: Mapping[str, Property]) -> Evidence | None:
    """Lets everybody through again and again under a fault, each time just after a check was answered."""
    checks = _checks(view)
    if len(checks) < TIMES or not view.mapping.by_id:
        return None
    waits = [each for each in trials.waits(view) if _kind_at(view, each.tried.before) in FAILING]
    after = [wait for wait in waits if _ended_in(checks, wait.tried.after, wait.tried.before)]
    if len(after) < TIMES or len(after) < len(waits):
        return None
    first, last = after[0].opened.before, after[-1].tried.before
    many = [  # the last time it may have closed: then those who came in are not counted to the end
        len(tried.trials)
        for tried, _, step in view.steps_of(State.HALF_OPEN, State.OPEN)
        if first <= step.before
        and tried.trials
        and view.asked.at[tried.trials[0]] <= last
        and _kind_at(view, step.before) in FAILING  # while nothing is answered, checks are not well either
    ]
    if not many or min(many) < AT_ONCE:
        return None  # it lets one call try, and the check only says when
    return Evidence(
        says=f"{len(after)} times it let calls through again while they failed, each time just after a check "
        f"was answered, at least {min(many)} calls each time",
        span=(first, last),
    )


def _kind_at(view: View, at: float) -> str:
    fault = view.fault_at(at)
    return fault.kind if fault else ""


def _checks(view: View) -> Floats:
    """Return when requests of nobody's call were answered well while calls failed, in order."""
    arrivals = view.arrivals
    failing = [fault for fault in view.faults if fault.kind in FAILING]
    rows = (view.mapping.call < 0) & arrivals.good & within(arrivals.at, failing)
    return np.sort(arrivals.ended[rows])


def _ended_in(checks: Floats, after: float, before: float) -> bool:
    place = int(np.searchsorted(checks, after - AFTER_S))
    return place < len(checks) and bool(checks[place] <= before)
