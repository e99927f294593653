"""The detectors: each looks for one bug and says what it saw, or nothing.

A detector must be silent where it cannot tell: a finding on a correct breaker is as bad as a miss.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from agent.breakers import trials
from agent.breakers.conduct import FAIL_FAST_LIMIT_MS
from agent.breakers.decisions import within
from agent.breakers.estimate import Property, Status, common, mostly_common
from agent.breakers.states import State
from agent.breakers.streams import Outcome
from agent.breakers.timing import ENOUGH_FAILURES
from agent.breakers.view import GUARD_S

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from agent.breakers.streams import Flags
    from agent.breakers.view import View

SHOWN_MAX = 20
STUCK_WAITS = 3.0
STUCK_S = 5.0
LONG_S = 5.0
"""A call that is held so long by a dependency that hangs has no timeout worth the name."""
SOME_CALLS = 10
SURE, LIKELY = "high", "medium"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a detector saw: a sentence with figures, rows of the calls to look at, and seconds to show."""

    says: str
    confidence: str = SURE
    calls: tuple[int, ...] = ()
    span: tuple[float, float] | None = None


def _evidence(view: View, rows: Flags, says: str, confidence: str = SURE) -> Evidence:
    calls = view.asked.call[np.flatnonzero(rows)[:SHOWN_MAX]]
    return Evidence(says=says, confidence=confidence, calls=tuple(map(int, calls)))


def _under(view: View, *kinds: str) -> Flags:
    return within(view.asked.at, [fault for fault in view.faults if fault.kind in kinds])


def _opened_under(view: View, kind: str) -> bool:
    """Whether it was open at any time while a fault of *kind* was in."""
    return bool((view.rows(State.OPEN) & _under(view, kind)).any())


def _let_through_failing(view: View, kind: str) -> Flags | None:
    """Return the failed calls under *kind* if there were plenty and none was ever kept back."""
    rows = _under(view, kind) & view.asked.forwarded & ~view.asked.good
    return rows if rows.sum() >= ENOUGH_FAILURES and not _opened_under(view, kind) else None


def _ever_opened(view: View) -> bool:
    return State.OPEN in view.course.sequence


def never_opens(view: View, _: Mapping[str, Property]) -> Evidence | None:
    """No kind of fault ever opened it: there is no breaker on this path, or a new one for each call."""
    rows = view.in_fault & view.asked.forwarded & ~view.asked.good
    if _ever_opened(view) or rows.sum() < ENOUGH_FAILURES:
        return None
    kinds = ", ".join(dict.fromkeys(fault.kind for fault in view.faults))
    return _evidence(
        view, rows, f"{int(rows.sum())} calls failed on the dependency ({kinds}), and each reached it"
    )


def timeouts_not_counted(view: View, _: Mapping[str, Property]) -> Evidence | None:
    """Opens on errors, and not when the dependency hangs."""
    rows = _let_through_failing(view, "hang")
    if rows is None or not _ever_opened(view):
        return None
    return _evidence(
        view,
        rows,
        f"{int(rows.sum())} calls hung until they were given up, each reached the dependency, "
        "and it never opened, though it opens on other faults",
    )


def errors_not_counted(view: View, _: Mapping[str, Property]) -> Evidence | None:
    """Opens when the dependency is gone, and not when it answers 500."""
    rows = _let_through_failing(view, "error")
    if rows is None or not _ever_opened(view):
        return None
    return _evidence(
        view,
        rows,
        f"{int(rows.sum())} calls were answered with a 500 by the dependency, each reached it, "
        "and it never opened, though it opens on other faults",
    )


def no_timeout(view: View, _: Mapping[str, Property]) -> Evidence | None:
    """A hanging dependency holds its callers for as long as it hangs."""
    for fault in view.faults:
        if fault.kind != "hang":
            continue
        span = view.between(fault.began, fault.ended - LONG_S)
        rows = np.zeros(len(view.asked), bool)
        rows[span] = view.asked.forwarded[span]
        if rows.sum() >= SOME_CALLS and (view.asked.done[rows] >= fault.ended - GUARD_S).all():
            return _evidence(
                view,
                rows,
                f"{int(rows.sum())} calls to a hanging dependency were still unanswered after {LONG_S:g} s "
                "and more, and ended when it did not hang any longer",
            )
    return None


def serialises_calls(view: View, _: Mapping[str, Property]) -> Evidence | None:
    """Guards calls with a lock, so that each waits for the one before."""
    rows = _under(view, "hang") & view.asked.forwarded
    at, done = view.asked.at[rows], view.asked.done[rows]
    if len(at) < 3 or (at[1:] < done[:-1] - GUARD_S).any():
        return None
    calls = view.calls
    busy = [
        int(((calls.begun < end) & (calls.ended > begin)).sum())
        for begin, end in zip(at, done, strict=True)
        if end - begin > 10 * GUARD_S
    ]
    if len(busy) < 3 or min(busy) < 4:
        return None
    return _evidence(
        view,
        rows,
        f"never more than 1 request at the dependency while it hung, with {min(busy)} to {max(busy)} "
        "callers waiting",
    )


def half_open_stampede(view: View, properties: Mapping[str, Property]) -> Evidence | None:
    """Lets everybody through at once when it tries again."""
    budget = properties["half_open_budget"]
    if budget.status is not Status.FAIL:
        return None
    crowd = max(view.course.of(State.HALF_OPEN), key=lambda stretch: len(stretch.trials))
    rows = np.zeros(len(view.asked), bool)
    rows[list(crowd.trials)] = True
    return _evidence(
        view,
        rows,
        f"{budget.low:.0f} calls were let through before the first trial had ended ({budget.n} times seen)",
    )


def half_open_waiters(view: View, properties: Mapping[str, Property]) -> Evidence | None:
    """Makes others wait for the trial instead of rejecting them."""
    seen = trials.held(view)
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
        _evidence(
            view, rows, f"{waited} calls waited for a trial, up to {took_s:.2f} s, instead of failing fast"
        ),
        span=(longest.began, longest.ended),
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
                _evidence(
                    view,
                    rows,
                    f"for {lasted:.1f} s after the {fault.kind} was over, none of {n} calls was let "
                    "through, not even a trial",
                ),
                span=(fault.ended, fault.ended + lasted),
            )
    return None


def late_failure_rearms(view: View, properties: Mapping[str, Property]) -> Evidence | None:
    """Starts its open time anew with each failure that comes in late."""
    explained = (rejections_wait, open_time_from_call_start)
    if trials.is_gradual(view) or any(other(view, properties) for other in explained):
        return None  # each of them moves the open time in its own way
    plain: list[tuple[float, float]] = []
    moved: list[tuple[trials.Wait, float]] = []
    for each in trials.proper_waits(view):
        place = int(np.searchsorted(view.failed_done, each.tried.before, "left"))
        last = float(view.failed_done[place - 1]) if place else -np.inf
        if last > each.opened.before + GUARD_S:
            moved.append((each, last))
        else:
            plain.append(each.bracket)
    usual = mostly_common(plain, 0.8) if plain else None
    if not plain and len(moved) > 1:
        usual = mostly_common([(w.tried.after - at, w.tried.before - at) for w, at in moved], 0.8)
    if usual is None:
        return None
    longer = [
        (wait, at)
        for wait, at in moved
        if wait.low > usual[1] + 2 * GUARD_S
        and wait.tried.after - at - 3 * GUARD_S <= usual[1]
        and wait.tried.before - at + 3 * GUARD_S >= usual[0]
    ]
    if not longer:
        return None
    worst, last = max(longer, key=lambda each: each[0].high)
    failed = view.asked.forwarded & ~view.asked.good
    return replace(
        _evidence(
            view,
            failed & (view.asked.done > worst.opened.before) & (view.asked.done <= last),
            f"{len(longer)} times failures came in after it had opened, and it stayed open "
            f"{sum(usual) / 2:.1f} s from the last of them, up to {worst.high:.1f} s in all",
            SURE if len(longer) > 1 else LIKELY,
        ),
        span=(worst.opened.after, worst.tried.before),
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
                _evidence(
                    view,
                    rows,
                    f"it opened again {opened.before - over:.1f} s "
                    f"after the fault, though all {int(admitted.sum())} calls since it had closed succeeded",
                ),
                span=(over, opened.before),
            )
    return None


def late_success_closes(view: View, properties: Mapping[str, Property]) -> Evidence | None:
    """Closes an open breaker because of a success that was already on its way."""
    wait = properties["time_to_half_open_s"]
    if wait.low is None or wait.n < 2:
        return None
    asked = view.asked
    good = asked.forwarded & asked.good
    longest = float((asked.done - asked.at)[good].max(initial=0.0))
    for each in trials.waits(view):
        if each.high >= 0.8 * wait.low:
            continue
        span = view.between(each.opened.before - longest, each.opened.before)
        done = asked.done[span]
        near = (done >= each.tried.after - GUARD_S) & (done <= each.tried.before + GUARD_S)
        rows = np.zeros(len(asked), bool)
        rows[span] = good[span] & (done > each.opened.before) & near
        if rows.any():
            return replace(
                _evidence(
                    view,
                    rows,
                    f"it let calls through {each.high:.2f} s after it opened and not after "
                    f"{wait.low:.1f} s, right after a call from before had succeeded",
                ),
                span=(each.opened.after, each.tried.before),
            )
    return None


def open_time_from_call_start(view: View, properties: Mapping[str, Property]) -> Evidence | None:
    """Counts its open time from the start of the failed call, not from its failure."""
    if rejections_wait(view, properties):
        return None  # callers wait for something else too, so their end does not tell the failure's
    waits = {kind: _waits_under(view, kind) for kind in ("error", "hang")}
    hung = view.latency_s[_under(view, "hang") & view.asked.forwarded & ~view.asked.good]
    if not waits["error"] or len(waits["hang"]) < 1 or len(hung) == 0:
        return None
    error, hang = common(waits["error"]), common(waits["hang"])
    if error is None or hang is None:
        return None
    patience = float(np.median(hung))
    shorter = error[0] - hang[1]
    if patience < 0.2 or not 0.5 * patience <= shorter <= 1.3 * patience:
        return None
    return Evidence(
        says=f"it stays open {error[0]:.1f} s after errors and {hang[1]:.1f} s after calls that hung "
        f"for {patience:.1f} s: shorter by about that",
        span=_first_wait(view, "hang"),
    )


def _first_wait(view: View, kind: str) -> tuple[float, float] | None:
    """Return the first open time under a fault of *kind*, as wide as it can have been."""
    for wait in trials.waits(view):
        fault = view.fault_at(wait.opened.before)
        if fault and fault.kind == kind:
            return wait.opened.after, wait.tried.before
    return None


def _waits_under(view: View, kind: str) -> list[tuple[float, float]]:
    found = []
    for wait in trials.waits(view):
        fault = view.fault_at(wait.opened.before)
        if fault and fault.kind == kind:
            found.append(wait.bracket)
    return found


def retries_multiply(view: View, properties: Mapping[str, Property]) -> Evidence | None:
    """Sends several requests for each call that fails."""
    amplification = properties["retry_amplification"]
    if amplification.low is None or amplification.low < 1.5:
        return None
    rows = view.in_fault & (view.asked.attempts > 1)
    most = amplification.more["most"]
    return _evidence(
        view,
        rows,
        f"{amplification.estimate:.1f} requests for each call let through under a fault, up to {most}",
    )


def rejections_wait(view: View, properties: Mapping[str, Property]) -> Evidence | None:
    """Callers wait although the breaker is open and nothing is asked of the dependency."""
    p50 = properties["fail_fast_p99_ms"].more.get("p50")
    if not isinstance(p50, float) or p50 <= FAIL_FAST_LIMIT_MS:
        return None
    rows = view.rows(State.OPEN) & ~view.asked.forwarded
    return _evidence(
        view, rows, f"half of {int(rows.sum())} calls to an open breaker took {p50:.0f} ms or longer"
    )


def fallback_hides_failures(view: View, _: Mapping[str, Property]) -> Evidence | None:
    """Gives callers a fallback, and hides the failures from the breaker."""
    for kind in ("error", "refuse", "reset"):
        rows = _let_through_failing(view, kind)
        if rows is None:
            continue
        answered = rows & (view.calls.outcome[view.asked.call] == Outcome.OK)
        if answered.sum() >= 0.9 * rows.sum():
            return _evidence(
                view,
                answered,
                f"{int(answered.sum())} of {int(rows.sum())} calls that failed on the dependency ({kind}) "
                "were answered as if they had not, each reached it, and it never opened",
            )
    return None


def client_errors_open_it(view: View, _: Mapping[str, Property]) -> Evidence | None:
    """Cuts off a healthy dependency because it said 404."""
    rows = view.rows(State.OPEN) & _under(view, "not-found") & ~view.asked.forwarded
    if rows.sum() < 3:
        return None
    return _evidence(view, rows, f"{int(rows.sum())} calls were rejected while the dependency answered 404")


type Detector = Callable[["View", "Mapping[str, Property]"], Evidence | None]

DETECTORS: dict[str, tuple[Detector, str, str, str]] = {
    "never-opens": (
        never_opens,
        "No breaker opens on this path",
        "high",
        "Put a breaker around the call to the dependency, one that outlives a request.",
    ),
    "timeouts-not-counted": (
        timeouts_not_counted,
        "Timeouts are no failures to it",
        "high",
        "Put the timeout inside the guarded call, or count the cancellation as a failure.",
    ),
    "errors-not-counted": (
        errors_not_counted,
        "Error answers are no failures to it",
        "high",
        "Turn answers of 500 and above into failures before the breaker sees them.",
    ),
    "no-timeout": (
        no_timeout,
        "No timeout inside the service",
        "high",
        "Give the call a timeout below the caller's patience, and count it.",
    ),
    "serialises-calls": (
        serialises_calls,
        "Calls are guarded by a lock",
        "high",
        "Use a breaker that holds no lock while the call runs.",
    ),
    "half-open-stampede": (
        half_open_stampede,
        "Half-open stampede",
        "high",
        "Limit the calls in flight while half-open, to one or a few.",
    ),
    "half-open-waiters": (
        half_open_waiters,
        "Callers wait for the trial",
        "medium",
        "Reject others at once while a trial is in flight.",
    ),
    "stuck": (
        stuck,
        "It does not close again",
        "high",
        "Let a trial that never ends expire, and try again after the open time whatever happened.",
    ),
    "late-failure-rearms": (
        late_failure_rearms,
        "Late failures prolong the open time",
        "medium",
        "Ignore the outcome of calls that were let in before the present state began.",
    ),
    "relapses-on-late-failures": (
        relapses_on_late_failures,
        "It opens again on failures from before",
        "medium",
        "Ignore the outcome of calls that were let in before the present state began.",
    ),
    "late-success-closes": (
        late_success_closes,
        "A late success closes it",
        "medium",
        "Ignore the outcome of calls that were let in before the present state began.",
    ),
    "open-time-from-call-start": (
        open_time_from_call_start,
        "The open time counts from the start of the call",
        "medium",
        "Take the time when the failure is known, not when the call began.",
    ),
    "retries-multiply": (
        retries_multiply,
        "Retries multiply the load",
        "medium",
        "Retry around the breaker, not inside it, with a budget.",
    ),
    "rejections-wait": (
        rejections_wait,
        "An open breaker does not fail fast",
        "high",
        "Do not retry the breaker's own rejection, and do not wait for it.",
    ),
    "fallback-hides-failures": (
        fallback_hides_failures,
        "The fallback hides failures from the breaker",
        "high",
        "Put the fallback around the breaker, not inside it.",
    ),
    "client-errors-open-it": (
        client_errors_open_it,
        "Client errors open it",
        "high",
        "Count only answers that say something about the dependency's health.",
    ),
}
"""Bug -> how it is recognised, its title, severity and one sentence of advice."""
