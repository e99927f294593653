"""What opens it, and what does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.breakers.bugs.detector import detector
from agent.breakers.bugs.rows import ever_opened, let_through_failing, shown
from agent.breakers.streams import Outcome
from agent.breakers.timing import ENOUGH_FAILURES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.breakers.bugs.detector import Evidence
    from agent.breakers.estimate import Property
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
    kinds = ", ".join(dict.fromkeys(fault.kind for fault in view.faults))
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
    if rows is None or not ever_opened(view):
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
    if rows is None or not ever_opened(view):
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
