"""What it does when the dependency is well again."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from agent.breakers.bugs.detector import detector
from agent.breakers.bugs.rows import shown
from agent.breakers.states import State
from agent.breakers.view import GUARD_S

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.breakers.bugs.detector import Evidence
    from agent.breakers.estimate import Property
    from agent.breakers.view import View

STUCK_WAITS = 3.0

STUCK_S = 5.0


@detector(
    "stuck",
    title="It does not close again",
    severity="high",
    advice="Let a trial that never ends expire, and try again after the open time whatever happened.",
)
def stuck(view: View, properties: Mapping[str, Property]) -> Evidence | None:
    """Does not close again although the dependency is well."""
    wait = properties["time_to_half_open_s"].high
    enough = max(STUCK_S, STUCK_WAITS * wait) if wait is not None else 2 * STUCK_S
    for fault in view.faults:
        following = min((f.began for f in view.faults if f.began > fault.ended), default=np.inf)
        span = view.between(fault.ended, following)
        n = span.stop - span.start
        if n == 0 or view.asked.forwarded[span].any():
            continue
        lasted = float(view.asked.at[span.stop - 1] - fault.ended)
        if lasted >= enough:
            rows = np.zeros(len(view.asked), bool)
            rows[span] = True
            return replace(
                shown(
                    view,
                    rows,
                    f"for {lasted:.1f} s after the {fault.kind} was over, none of {n} calls was let "
                    "through, not even a trial",
                ),
                span=(fault.ended, fault.ended + lasted),
            )
    return None


@detector(
    "relapses-on-late-failures",
    title="It opens again on failures from before",
    severity="medium",
    advice="Ignore the outcome of calls that were let in before the present state began.",
)
def relapses_on_late_failures(view: View, _: Mapping[str, Property]) -> Evidence | None:
    """Opens again after it has closed, on failures from before."""
    for before, _after, opened in view.steps_of(State.CLOSED, State.OPEN):
        if view.fault_at(opened.before) or not any(f.ended < opened.before for f in view.faults):
            continue
        asked = view.asked
        over = max(fault.ended for fault in view.faults if fault.ended < opened.before)
        span = slice(before.first, before.end)
        admitted = asked.forwarded[span]
        failed = admitted & ~asked.good[span]
        late = view.failed_done[
            np.searchsorted(view.failed_done, asked.at[before.first]) : np.searchsorted(
                view.failed_done, opened.before + GUARD_S
            )
        ]
        if admitted.sum() and not failed.any() and len(late):
            rows = np.zeros(len(asked), bool)
            rows[span] = admitted
            return replace(
                shown(
                    view,
                    rows,
                    f"it opened again {opened.before - over:.1f} s "
                    f"after the fault, though all {int(admitted.sum())} calls since it had closed succeeded",
                ),
                span=(over, opened.before),
            )
    return None
