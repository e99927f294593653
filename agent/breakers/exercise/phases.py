"""The phases of an exercise: what each is for, and when a further one tells something that is not known.

The first list (:data:`KINDS`) is what every breaker is put through.  The second (:data:`EXTRAS`) makes
rarer bugs visible; each of its phases costs seconds, so that it is played only where it is named, or where
:func:`worth` says what it would tell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.breakers.courses.states import State
from agent.breakers.exercise import protocol
from agent.breakers.measures import timing, trials
from agent.breakers.reading.decisions import within

if TYPE_CHECKING:
    from agent.breakers.view import View

KINDS = ("error", "hang", "slow", "refuse", "reset", "not-found")
"""The kinds of fault, in the order in which they are played: what hangs tells the service's patience,
which the slow ones need to know."""
EXTRAS = (
    "late-success",
    "late-failure",
    "interleaved",
    "cancel",
    "burst",
    "low-rate",
    "clock-step",
    "pause",
)
"""The extra phases, in the order in which they are played."""
MORE = "more"
"""Stands for those of the extra phases that can tell something."""
DEFAULT = (*KINDS, MORE)
NAMES = (*KINDS, *EXTRAS, MORE)

PURPOSES = {
    "baseline": "learns how calls end, and which never reach the dependency, while nothing is wrong",
    "raise": "more calls a second, with nothing wrong: whether the service stands the rate that tells more",
    "error": "every request is answered with a 500: how many failures open it, and how it tries again",
    "hang": "requests get no answer: whether timeouts count, and what becomes of failures that come late",
    "slow": "answers are slow and still in time: whether that alone opens it",
    "hold": "it is open while answers are slow: who else is let in, or waits, during a trial",
    "refuse": "connections are refused: whether it opens when the dependency is gone",
    "reset": "connections break in the middle of a request: whether that counts",
    "not-found": "every request is answered with a 404: whether the caller's own mistakes open it",
    "late-success": "most requests fail at once and some succeed late: whether a late success closes it",
    "late-failure": "the dependency recovers while trials hang: whether their failures open it once more",
    "interleaved": "one 500 among several 404s: whether the caller's own mistakes keep it from opening",
    "cancel": "callers give up before slow answers come: whether that counts against the dependency",
    "burst": "slow answers and far more calls: whether what is turned away for lack of room opens it",
    "low-rate": "errors at few calls a second: whether it needs a rate to open at all",
    "pause": "no calls for a while: whether an open breaker closes only when it is left alone",
    "clock-step": "the service's clock is set ahead, and back, while it is open: whether its times follow it",
}
"""What each phase is for, in one sentence."""

FEW_FAILURES = 10
"""A breaker that opens after so few, and always as many, needs no rate to do so."""
PATIENCE_MIN_S = 0.05
"""Nothing can be late for a service that waits no longer than this."""


def worth(extra: str, view: View) -> tuple[bool, str]:
    """Return whether *extra* can tell something that is not known yet, and why, or why not."""
    if extra == "pause":
        if protocol.is_closed(view):
            return False, "it closes while calls come"
        return True, "it has not closed while calls came"
    view = view.plain
    if not _opened_under(view, "error"):
        return False, "errors do not open it"
    return {
        "late-success": _late_success,
        "late-failure": _late_failure,
        "interleaved": _interleaved,
        "cancel": _slow_alone,
        "burst": _burst,
        "low-rate": _low_rate,
        "clock-step": _clock_step,
    }[extra](view)


def _late_success(view: View) -> tuple[bool, str]:
    if protocol.patience_of_service_s(view) < PATIENCE_MIN_S:
        return False, "the service waits too briefly for an answer to be late"
    return True, "no success came in while it was open"


def _late_failure(view: View) -> tuple[bool, str]:
    if protocol.patience_of_service_s(view) < PATIENCE_MIN_S:
        return False, "the service waits too briefly for a failure to be late"
    if max((each.admitted for each in trials.held(view)), default=0) < trials.CROWD:
        return (
            False,
            "it lets in few at a time when it tries: none is left to fail late",
        )
    return (
        True,
        "it lets many in when it tries, and some may fail after it has closed",
    )


def _interleaved(view: View) -> tuple[bool, str]:
    if _opened_under(view, "not-found"):
        return False, "a 404 opens it"
    if not timing.failures_to_open(view).more.get("constant"):
        return False, "it does not open on a count of failures in a row"
    return True, "it opens on failures in a row, and what a 404 does to the row is not known"


def _slow_alone(view: View) -> tuple[bool, str]:
    if not any(fault.kind == "slow" for fault in view.faults):
        return False, "it is not known whether slow answers alone open it"
    if _opened_under(view, "slow"):
        return False, "slow answers alone open it"
    return True, "slow answers alone do not open it"


def _burst(view: View) -> tuple[bool, str]:
    if view.limit is not None:
        return True, f"it lets {view.limit} calls in at a time, and what it turns away may count"
    return _slow_alone(view)


def _low_rate(view: View) -> tuple[bool, str]:
    count = timing.failures_to_open(view)
    if count.more.get("constant") and (count.high or 0) <= FEW_FAILURES:
        return False, f"{count.high:.0f} failures in a row open it at any rate"
    return True, "it opens on a share or on many failures, and may need a rate for that"


def _clock_step(_: View) -> tuple[bool, str]:
    return True, "whether its open time follows a clock that can be set is not known"


def _opened_under(view: View, kind: str) -> bool:
    under = within(view.asked.at, [fault for fault in view.faults if fault.kind == kind])
    return bool((view.rows(State.OPEN) & under).any())
