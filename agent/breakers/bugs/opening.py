"""What opens it, and what does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.breakers.bugs.detector import detector
from agent.breakers.bugs.rows import ever_opened, let_through_failing, opened_under, shown, under
from agent.breakers.bugs.waiting import no_timeout
from agent.breakers.courses.states import State
from agent.breakers.measures.timing import ENOUGH_FAILURES
from agent.breakers.reading.decisions import within
from agent.breakers.streams import Outcome

SLOW_S = 1.0
QUIET_FAILURES = 20
LONGER = 1.5

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.breakers.bugs.detector import Evidence
    from agent.breakers.measures.estimate import Property
    from agent.breakers.view import View


@detector(
    "never-opens",
    title="No breaker opens on this path",
    severity="high",
    advice="Put a breaker around the call to the dependency, one that outlives a request.",
)
def never_opens(view: View, _: Mapping[str, Property]) -> Evidence | None:
    """No kind of fault ever opened it: there is no breaker on this path, or a new one for each call."""
    rows = view.in_fault & view.asked.forwarded & ~view.asked.good
    if ever_opened(view) or rows.sum() < ENOUGH_FAILURES:
        return None
    failing = (fault.kind for fault in view.faults if (rows & within(view.asked.at, [fault])).any())
    kinds = ", ".join(dict.fromkeys(failing))
    return shown(
        view, rows, f"{int(rows.sum())} calls failed on the dependency ({kinds}), and each reached it"
    )


@detector(
    "timeouts-not-counted",
    title="Timeouts are no failures to it",
    severity="high",
    advice="Put the timeout inside the guarded call, or count the cancellation as a failure.",
)
def timeouts_not_counted(view: View, _: Mapping[str, Property]) -> Evidence | None:
    """Opens on errors, and not when the dependency hangs."""
    rows = let_through_failing(view, "hang")
    if rows is None or not ever_opened(view) or not _had_time_to_open(view, "hang"):
        return None
    return shown(
        view,
        rows,
        f"{int(rows.sum())} calls hung until they were given up, each reached the dependency, "
        "and it never opened, though it opens on other faults",
    )


@detector(
    "errors-not-counted",
    title="Error answers are no failures to it",
    severity="high",
    advice="Turn answers of 500 and above into failures before the breaker sees them.",
)
def errors_not_counted(view: View, _: Mapping[str, Property]) -> Evidence | None:
    """Opens when the dependency is gone, and not when it answers 500."""
    rows = let_through_failing(view, "error")
    if rows is None or not ever_opened(view) or not _had_time_to_open(view, "error"):
        return None
    return shown(
        view,
        rows,
        f"{int(rows.sum())} calls were answered with a 500 by the dependency, each reached it, "
        "and it never opened, though it opens on other faults",
    )


@detector(
    "fallback-hides-failures",
    title="The fallback hides failures from the breaker",
    severity="high",
    advice="Put the fallback around the breaker, not inside it.",
)
def fallback_hides_failures(view: View, _: Mapping[str, Property]) -> Evidence | None:
    """Gives callers a fallback, and hides the failures from the breaker."""
    for kind in ("error", "refuse", "reset"):
        rows = let_through_failing(view, kind)
        if rows is None:
            continue
        answered = rows & (view.calls.outcome[view.asked.call] == Outcome.OK)
        if answered.sum() >= 0.9 * rows.sum():
            return shown(
                view,
                answered,
                f"{int(answered.sum())} of {int(rows.sum())} calls that failed on the dependency ({kind}) "
                "were answered as if they had not, each reached it, and it never opened",
            )
    return None


@detector(
    "slow-never-counted",
    title="Slow answers never count",
    severity="medium",
    advice="Give the call a timeout that fits its usual latency, or count slow calls as failures.",
    stateless=True,
)
def slow_never_counted(view: View, properties: Mapping[str, Property]) -> Evidence | None:
    """Lets its callers wait for as long as the dependency takes, and never opens for it.

    A service that waits a moment for a slow answer is right; one whose patience has no end to be seen is
    not.
    """
    rows = under(view, "slow") & view.asked.forwarded & view.asked.good & (view.latency_s >= SLOW_S)
    kept_back = (under(view, "slow") & ~view.asked.forwarded).any()
    if rows.sum() < ENOUGH_FAILURES or kept_back or not no_timeout(view, properties):
        return None
    calm = view.latency_s[view.calm]
    usual = float(np.median(calm)) if len(calm) else 0.0
    return shown(
        view,
        rows,
        f"{int(rows.sum())} calls took {float(np.median(view.latency_s[rows])):.1f} s instead of "
        f"{usual * 1000:.0f} ms, each was let through, and it never opened",
    )


@detector(
    "needs-a-rate-to-open",
    title="It never opens when there are few calls",
    severity="medium",
    advice="Lower the minimum of calls, or lengthen the window, so that it opens at your quietest hour.",
    whole=True,
)
def needs_a_rate_to_open(view: View, _: Mapping[str, Property]) -> Evidence | None:
    """Needs so many calls within its window that it does not open at a lower rate."""
    if not opened_under(view, "error"):
        return None
    needed = max(QUIET_FAILURES, 1.5 * _failed_before_opening(view.plain))
    slow, rows = 0.0, np.zeros(len(view.asked), bool)
    opens = None
    for phase in view.phases_of("low-rate"):
        inside = (view.asked.at >= phase.began) & (view.asked.at <= phase.ended)
        failed = inside & view.asked.forwarded & ~view.asked.good
        if (view.rows(State.OPEN) & inside).any():
            opens = phase.rate_rps
        elif failed.sum() >= needed and phase.rate_rps is not None:
            slow, rows = phase.rate_rps, failed
    if slow == 0.0 or (opens is not None and opens <= slow):
        return None
    return shown(
        view,
        rows,
        f"all of {int(rows.sum())} calls failed at {slow:.3g} a second, each was let through, and it never "
        f"opened; it does at {f'{opens:.3g} a second' if opens else 'the usual rate'}",
    )


def _had_time_to_open(view: View, kind: str) -> bool:
    """Whether calls failed under *kind* for well over the time in which it opens under other faults."""
    others = [
        step.before - fault.began
        for _, _, step in view.steps_of(State.CLOSED, State.OPEN)
        if (fault := view.fault_at(step.before)) is not None
    ]
    failed = view.asked.done[under(view, kind) & view.asked.forwarded & ~view.asked.good]
    ended = max(fault.ended for fault in view.faults if fault.kind == kind)
    return not others or ended - float(failed.min()) >= LONGER * min(others)


def _failed_before_opening(view: View) -> int:
    """Return the most failures that it let through, from the begin of a fault, before it opened."""
    most, done = 0, view.failed_done
    for _, _, step in view.steps_of(State.CLOSED, State.OPEN):
        fault = view.fault_at(step.before)
        if fault is not None:
            most = max(most, int(((done >= fault.began) & (done <= step.before)).sum()))
    return most
