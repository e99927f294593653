"""What it costs the dependency."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from agent.breakers import trials
from agent.breakers.bugs.detector import detector
from agent.breakers.bugs.rows import shown
from agent.breakers.states import State

WATCHED_S = 1.0
ROOM_MIN = 3

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.breakers.bugs.detector import Evidence
    from agent.breakers.estimate import Property
    from agent.breakers.streams import Floats, Ints
    from agent.breakers.view import View


@detector(
    "retries-multiply",
    title="Retries multiply the load",
    severity="medium",
    advice="Retry around the breaker, not inside it, with a budget.",
    stateless=True,
)
def retries_multiply(view: View, properties: Mapping[str, Property]) -> Evidence | None:
    """Sends several requests for each call that fails."""
    amplification = properties["retry_amplification"]
    if amplification.low is None or amplification.low < 1.5:
        return None
    rows = view.in_fault & (view.asked.attempts > 1)
    most = amplification.more["most"]
    return shown(
        view,
        rows,
        f"{amplification.estimate:.1f} requests for each call let through under a fault, up to {most}",
    )


@detector(
    "full-bulkhead-opens-it",
    title="Too many calls at once open it",
    severity="high",
    advice="Let what is turned away for lack of room count as no failure of the dependency.",
    whole=True,
)
def full_bulkhead_opens_it(view: View, _: Mapping[str, Property]) -> Evidence | None:
    """Opens on a dependency that is well, because a limit of calls in flight turned some away.

    Seen where it opens with as many in flight as there ever are, each of which comes out well, and then
    keeps everybody back long after the last of them has ended.
    """
    asked = view.asked
    began, done = np.sort(asked.at[asked.forwarded]), np.sort(asked.done[asked.forwarded])
    most = int(_in_flight(began, began, done).max(initial=0))
    usual = max((wait.low for wait in trials.proper_waits(view.plain)), default=0.0)
    found = []
    for wait in trials.waits(view):
        opened = wait.opened
        near = asked.forwarded & (asked.done > opened.after - WATCHED_S) & (asked.at <= opened.before)
        full = _in_flight(np.array([opened.after, opened.before]), began, done).max()
        ended = float(asked.done[near].max(initial=opened.before))
        if not near.any() or not asked.good[near].all() or full < most - 1:
            continue
        if wait.low >= 0.7 * usual > 0 and wait.tried.after > ended:
            found.append(wait)
    if most < ROOM_MIN or len(found) < 2:
        return None
    first = found[0]
    rows = view.rows(State.OPEN) & (asked.at >= first.opened.after) & (asked.at <= first.tried.before)
    return replace(
        shown(
            view,
            rows & ~asked.forwarded,
            f"{len(found)} times it opened with {most} calls in flight, the most there ever are, and each of "
            f"them came out well; then it kept everybody back for {first.high:.1f} s",
        ),
        span=(first.opened.after - 0.2, first.tried.before),
    )


def _in_flight(at: Floats, began: Floats, done: Floats) -> Ints:
    """Return how many calls are at the dependency at each moment of *at*; *began* and *done* are sorted."""
    return np.searchsorted(began, at, "right") - np.searchsorted(done, at, "right")
