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

WATCHED_S, JUST_BEFORE_S = 1.0, 0.25
ROOM_MIN = 3
SLOW = ("slow", "hold", "burst")
"""The faults under which answers come late and are well."""
LASTS = 0.7
"""It opened where it keeps everybody back for this share of its usual open time."""
SEVERAL, ALIKE = 2, 3
"""So often at least; and so often with the same number in flight where no limit is known by itself."""
FEW = 0.1
"""So few failures for each success open none that counts shares."""

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.breakers.bugs.detector import Evidence
    from agent.breakers.courses.states import Transition
    from agent.breakers.measures.estimate import Property
    from agent.breakers.streams import FaultWindow
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

    Seen where answers are slow and come out well: it opens when it is full, never when it is not, and then
    keeps everybody back long after the last of them has ended.
    """
    enough = _failures_that_open_it(properties)
    usual = float(np.median([wait.low for wait in trials.proper_waits(view.plain)] or [np.inf]))
    full, levels, others = [], [], 0
    for wait in trials.waits(view):
        fault = view.fault_at(wait.opened.before)
        if fault is None or fault.kind not in SLOW or _explained_by_failures(view, wait, fault, enough):
            continue
        level, is_full = _filling(view, wait.opened, fault)
        if not is_full:
            others += wait.low >= LASTS * usual
        elif wait.low >= LASTS * usual and wait.tried.after > _last_ended(view, wait.opened):
            full.append(wait)
            levels.append(level)
    known = view.limit is not None
    same = known or (len(levels) >= ALIKE and max(levels) - min(levels) <= 1)
    if others or len(full) < SEVERAL or not same:
        return None
    first = full[0]
    rows = view.rows(State.OPEN) & (view.asked.at >= first.opened.after)
    rows &= view.asked.at <= first.tried.before
    return replace(
        shown(
            view,
            rows & ~view.asked.forwarded,
            f"{len(full)} times it opened with {view.limit or max(levels)} calls in flight, as many as it "
            "ever lets in, and none of them failed, or too few to open it; then it kept everybody back for "
            f"{first.high:.1f} s, long after they had ended",
            SURE if known else LIKELY,
        ),
        span=(first.opened.after - 0.2, first.tried.before),
    )


def _failures_that_open_it(properties: Mapping[str, Property]) -> float:
    """Return how many failed calls in a row open it, 0 where it opens on no fixed count."""
    count = properties["failures_to_open"]
    return count.low if count.more.get("constant") and count.low is not None else 0.0


def _explained_by_failures(view: View, wait: trials.Wait, fault: FaultWindow, enough: float) -> bool:
    """Whether as many calls have failed since it closed as open it, in a row or not."""
    closed = [step.after for step in view.course.transitions if step.to is State.CLOSED]
    since = max((at for at in closed if at < wait.opened.after), default=-np.inf)
    done = view.failed_done
    failed = int(((done > since) & (done <= wait.opened.before + GUARD_S)).sum())
    if enough or not failed:
        return failed >= max(enough, 1)
    good = view.good_done
    well = int(((good > max(since, fault.began)) & (good <= wait.opened.before)).sum())
    return failed > FEW * well


def _filling(view: View, opened: Transition, fault: FaultWindow) -> tuple[int, bool]:
    """Return how many were in flight when it opened, and whether there was no room for more."""
    asked = view.asked
    level = int(view.under_way(np.array([opened.after, opened.before])).max())
    if view.limit is not None:
        at = view.turned_away
        return level, bool(((at > opened.after - JUST_BEFORE_S) & (at <= opened.before)).any())
    before = asked.at[asked.forwarded & (asked.at >= fault.began) & (asked.at <= opened.before)]
    most = int(view.under_way(before).max(initial=0))
    return level, level >= max(most, ROOM_MIN)


def _last_ended(view: View, opened: Transition) -> float:
    """Return when the last of the calls in flight ended that were let in shortly before it opened."""
    asked = view.asked
    near = asked.forwarded & (asked.done > opened.after - WATCHED_S) & (asked.at <= opened.before)
    return float(asked.done[near].max(initial=opened.before))
