"""What it costs the dependency."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from agent.breakers.bugs.detector import LIKELY, SURE, detector
from agent.breakers.bugs.rows import shown
from agent.breakers.courses.states import State
from agent.breakers.machines.kinds import Kind
from agent.breakers.measures import trials
from agent.breakers.reading.decisions import within
from agent.breakers.view import GUARD_S

WATCHED_S = 1.0
ROOM_MIN = 3

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.breakers.bugs.detector import Evidence
    from agent.breakers.measures.estimate import Property
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
    "per-replica",
    title="Each replica has to find out for itself",
    severity="medium",
    advice="Lower the threshold by the number of replicas, or share what they learn; or tolerate this.",
    stateless=True,
)
def per_replica(view: View, _: Mapping[str, Property]) -> Evidence | None:
    """Fails as often as all replicas together need to open, and tries as often as there are replicas."""
    machine = view.machine
    if machine.kind is not Kind.REPLICAS:
        return None
    at_least = machine.figures["by"] == "share"
    if machine.confidence != "high" and (at_least or machine.confidence == "low"):
        return None  # shares alone look like those of a throttle
    failed = view.asked.forwarded & ~view.asked.good
    counts = [
        int((failed & within(view.asked.at, [fault])).sum())
        for fault in view.faults
        if (~view.asked.forwarded & within(view.asked.at, [fault])).any()
    ]
    if not counts:
        return None
    many = f"{machine.figures['low']} or more" if at_least else f"{machine.figures['replicas']}"
    return shown(
        view,
        failed & view.in_fault,
        f"{many} machines behind one entry open one by one: {max(counts)} calls failed under one fault",
        SURE if machine.confidence == "high" else LIKELY,
    )


@detector(
    "full-bulkhead-opens-it",
    title="Too many calls at once open it",
    severity="high",
    advice="Let what is turned away for lack of room count as no failure of the dependency.",
    whole=True,
)
def full_bulkhead_opens_it(view: View, properties: Mapping[str, Property]) -> Evidence | None:
    """Opens on a dependency that is well, because a limit of calls in flight turned some away.

    Seen where it opens with as many in flight as there ever are, too few of which fail to open it, and then
    keeps everybody back long after the last of them has ended.
    """
    asked, enough = view.asked, _failures_that_open_it(properties)
    began, done = np.sort(asked.at[asked.forwarded]), np.sort(asked.done[asked.forwarded])
    most = int(_in_flight(began, began, done).max(initial=0))
    usual = max((wait.low for wait in trials.proper_waits(view.plain)), default=0.0)
    found = []
    for wait in trials.waits(view):
        opened = wait.opened
        near = asked.forwarded & (asked.done > opened.after - WATCHED_S) & (asked.at <= opened.before)
        full = _in_flight(np.array([opened.after, opened.before]), began, done).max()
        ended = float(asked.done[near].max(initial=opened.before))
        if not near.any() or full < most - 1:
            continue
        if not asked.good[near].all() and _failed_since_closed(view, wait) >= enough:
            continue  # failures explain it
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
            f"{len(found)} times it opened with {most} calls in flight, the most there ever are, and none of "
            f"them failed, or too few to open it; then it kept everybody back for {first.high:.1f} s",
        ),
        span=(first.opened.after - 0.2, first.tried.before),
    )


def _failures_that_open_it(properties: Mapping[str, Property]) -> float:
    """Return how many failed calls in a row open it, 0 where it opens on no fixed count."""
    count = properties["failures_to_open"]
    return count.low if count.more.get("constant") and count.low is not None else 0.0


def _failed_since_closed(view: View, wait: trials.Wait) -> int:
    """Return how many calls had failed when it opened, since it had closed, in a row or not."""
    closed = [step.after for step in view.course.transitions if step.to is State.CLOSED]
    since = max((at for at in closed if at < wait.opened.after), default=-np.inf)
    done = view.failed_done
    return int(((done > since) & (done <= wait.opened.before + GUARD_S)).sum())


def _in_flight(at: Floats, began: Floats, done: Floats) -> Ints:
    """Return how many calls are at the dependency at each moment of *at*; *began* and *done* are sorted."""
    return np.searchsorted(began, at, "right") - np.searchsorted(done, at, "right")
