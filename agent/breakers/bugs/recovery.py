"""What it does when the dependency is well again."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from agent.breakers.bugs.detector import LIKELY, SURE, detector
from agent.breakers.bugs.half_open import results_counted_late
from agent.breakers.bugs.rows import shown
from agent.breakers.courses.states import State
from agent.breakers.measures import late, trials

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.breakers.bugs.detector import Evidence
    from agent.breakers.measures.estimate import Property
    from agent.breakers.streams import FaultWindow, Phase
    from agent.breakers.view import View

STUCK_WAITS = 3.0

STUCK_S = 5.0
UNKNOWN_S = 90.0
"""Where it was never seen to try again, being open for less may just be how it is set."""
QUIET_S = 1.0


@detector(
    "stuck",
    title="It does not close again",
    severity="high",
    advice="Let a trial that never ends expire, and try again after the open time whatever happened.",
    whole=True,
    stateless=True,
)
def stuck(view: View, properties: Mapping[str, Property]) -> Evidence | None:
    """Does not close again although the dependency is well."""
    if closes_only_in_quiet(view, properties):
        return None  # that tells more
    view = view.plain
    wait = max((each.high for each in trials.proper_waits(view)), default=None)
    enough = max(STUCK_S, STUCK_WAITS * wait) if wait is not None else UNKNOWN_S
    for fault in view.faults:
        span, lasted = kept_back_after(view, fault)
        opened = max((step.before for step in view.course.transitions), default=fault.ended)
        if (lasted if wait is not None else fault.ended + lasted - opened) >= enough and lasted >= STUCK_S:
            rows = np.zeros(len(view.asked), bool)
            rows[span] = True
            return replace(
                shown(
                    view,
                    rows,
                    f"for {lasted:.1f} s after the {fault.kind} was over, none of {int(rows.sum())} calls "
                    "was let through, not even a trial",
                ),
                span=(fault.ended, fault.ended + lasted),
            )
    return None


def kept_back_after(view: View, fault: FaultWindow) -> tuple[slice, float]:
    """Return the calls after *fault* if none of them was let through, and for how long that was so."""
    following = min((f.began for f in view.faults if f.began > fault.ended), default=np.inf)
    span = view.between(fault.ended, following)
    if span.stop == span.start or view.asked.forwarded[span].any():
        return slice(0), 0.0
    return span, float(view.asked.at[span.stop - 1] - fault.ended)


@detector(
    "closes-only-in-quiet",
    title="It closes only when nobody calls",
    severity="high",
    advice="Do not start the open time anew with a rejected call.",
    whole=True,
    stateless=True,
)
def closes_only_in_quiet(view: View, _: Mapping[str, Property]) -> Evidence | None:
    """Stays open as long as calls come, and closes after a pause.

    Mere time explains one pause: so it must close twice, the second time after less time in all than it
    had been open for under traffic the first time.
    """
    pauses = view.phases_of("pause")
    closing = [pause for pause in pauses if _lets_in_after(view, pause)]
    if len(closing) < 2:
        return None
    first, second = closing[:2]
    opened = [step.before for step in view.course.transitions if step.to is State.OPEN]
    before = [at for at in opened if at < pauses[0].began]
    again = [at for at in opened if first.ended < at < second.began]
    if not before or not again:
        return None
    under_traffic, in_all = pauses[0].began - max(before), second.ended - min(again)
    if in_all >= under_traffic:
        return None
    rows = view.rows(State.OPEN) & (view.asked.at < pauses[0].began) & (view.asked.at > max(before))
    return replace(
        shown(
            view,
            rows,
            f"open for {under_traffic:.1f} s while calls came, until they paused for "
            f"{first.ended - first.began:.0f} s; the next time for {in_all:.1f} s, with such a pause in it",
        ),
        span=(max(before), first.ended),
    )


def _lets_in_after(view: View, pause: Phase) -> bool:
    """Whether somebody was let through right after the pause, and nobody right before it."""
    before, after = (
        view.between(pause.began - QUIET_S, pause.began),
        view.between(pause.ended, pause.ended + QUIET_S),
    )
    let_in = view.asked.forwarded
    return bool(let_in[after].any()) and not let_in[before].any()


@detector(
    "relapses-on-late-failures",
    title="It opens again on failures from before",
    severity="medium",
    advice="Ignore the outcome of calls that were let in before the present state began.",
    whole=True,
)
def relapses_on_late_failures(view: View, properties: Mapping[str, Property]) -> Evidence | None:
    """Opens again after it has closed, on failures from before."""
    if results_counted_late(view, properties):
        return None  # that explains it
    seen = late.failures_while_closed(view)
    moved = [each for each in seen if each.moved]
    if not moved or late.nats(seen) < late.SURE_NATS:
        return None
    first = moved[0]
    admitted = view.asked.forwarded & (view.asked.at > first.since) & (view.asked.at < first.until)
    over = max((fault.ended for fault in view.faults if fault.ended < first.until), default=first.since)
    says = (
        f"{len(moved)} of {len(seen)} times it opened again when calls from before it had closed failed, "
        f"once {first.until - over:.1f} s after the fault"
    )
    if admitted.any():
        says += f", though all {int(admitted.sum())} calls since it had closed succeeded"
    # Once only, it may also be one that wants more good trials than were seen, and was still trying.
    sure = SURE if len(moved) > 1 else LIKELY
    return replace(shown(view, first.rows | admitted, says, sure), span=(over, first.until))
