"""Who waits for what: callers for one another, for a dependency that hangs, or for nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.breakers.bugs.detector import detector
from agent.breakers.bugs.rows import shown, under
from agent.breakers.courses.states import State
from agent.breakers.measures.conduct import FAIL_FAST_LIMIT_MS
from agent.breakers.view import GUARD_S

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.breakers.bugs.detector import Evidence
    from agent.breakers.measures.estimate import Property
    from agent.breakers.view import View

LONG_S = 5.0
"""A call that is held so long by a dependency that hangs has no timeout worth the name."""

SOME_CALLS = 10
LANDED_S = 1.0
"""A fault is noted when it was asked for; so much later, at most, every call meets it."""


@detector(
    "no-timeout",
    title="No timeout inside the service",
    severity="high",
    advice="Give the call a timeout below the caller's patience, and count it.",
    stateless=True,
)
def no_timeout(view: View, _: Mapping[str, Property]) -> Evidence | None:
    """A hanging dependency holds its callers for as long as it hangs."""
    for fault in view.faults:
        if fault.kind != "hang":
            continue
        asked = view.asked
        span = view.between(fault.began, fault.ended - LONG_S)
        rows = np.zeros(len(asked), bool)
        rows[span] = asked.forwarded[span]
        answered = asked.at[rows & (asked.done < fault.ended - GUARD_S)]
        landed = float(answered.max(initial=fault.began))
        rows &= asked.at > landed
        if rows.sum() >= SOME_CALLS and landed <= fault.began + LANDED_S:
            return shown(
                view,
                rows,
                f"{int(rows.sum())} calls to a hanging dependency were still unanswered after {LONG_S:g} s "
                "and more, and ended when it did not hang any longer",
            )
    return None


@detector(
    "serialises-calls",
    title="Calls are guarded by a lock",
    severity="high",
    advice="Use a breaker that holds no lock while the call runs.",
    stateless=True,
)
def serialises_calls(view: View, _: Mapping[str, Property]) -> Evidence | None:
    """Guards calls with a lock, so that each waits for the one before."""
    rows = under(view, "hang") & view.asked.forwarded
    at, done = view.asked.at[rows], view.asked.done[rows]
    if len(at) < 3 or (at[1:] < done[:-1] - GUARD_S).any():
        return None
    calls = view.calls
    busy = [  # half way, for who is rejected at once does not wait, however many come
        int(((calls.begun < (begin + end) / 2) & (calls.ended > (begin + end) / 2)).sum())
        for begin, end in zip(at, done, strict=True)
        if end - begin > 10 * GUARD_S
    ]
    if len(busy) < 3 or min(busy) < 4:
        return None
    return shown(
        view,
        rows,
        f"never more than 1 request at the dependency while it hung, with {min(busy)} to {max(busy)} "
        "callers waiting",
    )


@detector(
    "rejections-wait",
    title="An open breaker does not fail fast",
    severity="high",
    advice="Do not retry the breaker's own rejection, and do not wait for it.",
)
def rejections_wait(view: View, properties: Mapping[str, Property]) -> Evidence | None:
    """Callers wait although the breaker is open and nothing is asked of the dependency."""
    p50 = properties["fail_fast_p99_ms"].more.get("p50")
    if not isinstance(p50, float) or p50 <= FAIL_FAST_LIMIT_MS:
        return None
    rows = view.rows(State.OPEN) & ~view.asked.forwarded
    return shown(
        view, rows, f"half of {int(rows.sum())} calls to an open breaker took {p50:.0f} ms or longer"
    )
