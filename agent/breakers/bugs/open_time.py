"""How long it stays open, and what moves that."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from agent.breakers.bugs.detector import LIKELY, SURE, Evidence, detector
from agent.breakers.bugs.rows import shown, under
from agent.breakers.bugs.waiting import rejections_wait
from agent.breakers.courses.states import State
from agent.breakers.measures import late, trials
from agent.breakers.measures.estimate import common, mostly_common, often
from agent.breakers.view import GUARD_S

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.breakers.measures.estimate import Property
    from agent.breakers.view import View

SEVERAL = 2
"""Once is chance, or a call that was slow by itself."""


@detector(
    "late-failure-rearms",
    title="Late failures prolong the open time",
    severity="medium",
    advice="Ignore the outcome of calls that were let in before the present state began.",
)
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
            if each.opened.was is State.CLOSED:  # else a crowd of trials blurs when it opened
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
    if not longer or len(longer) + len(plain) <= SEVERAL:
        return None  # one against one tells nothing
    worst, last = max(longer, key=lambda each: each[0].high)
    failed = view.asked.forwarded & ~view.asked.good
    return replace(
        shown(
            view,
            failed & (view.asked.done > worst.opened.before) & (view.asked.done <= last),
            f"{often(len(longer))} failures came in after it had opened, and it stayed open "
            f"{sum(usual) / 2:.1f} s from the last of them, up to {worst.high:.1f} s in all",
            SURE if len(longer) > 1 else LIKELY,
        ),
        span=(worst.opened.after, worst.tried.before),
    )


@detector(
    "late-success-closes",
    title="A late success closes it",
    severity="medium",
    advice="Ignore the outcome of calls that were let in before the present state began.",
    whole=True,
)
def late_success_closes(view: View, _: Mapping[str, Property]) -> Evidence | None:
    """Closes an open breaker because of a success that was already on its way."""
    seen = late.successes_while_open(view)
    if not late.is_decided(seen):
        return None
    moved = [each for each in seen if each.moved]
    worst = min(moved, key=lambda each: each.until - each.since)
    usual = late.shortest_open_s(view)
    return replace(
        shown(
            view,
            np.logical_or.reduce([each.rows for each in moved]),
            f"{len(moved)} of {len(seen)} times it let calls through right after a call from before had "
            f"succeeded, once {worst.until - worst.since:.2f} s after it had opened and not after "
            f"{usual or 0:.1f} s",
        ),
        span=(worst.since - 0.1, worst.until),
    )


@detector(
    "open-time-from-call-start",
    title="The open time counts from the start of the call",
    severity="medium",
    advice="Take the time when the failure is known, not when the call began.",
)
def open_time_from_call_start(view: View, properties: Mapping[str, Property]) -> Evidence | None:
    """Counts its open time from the start of the failed call, not from its failure."""
    if rejections_wait(view, properties):
        return None  # callers wait for something else too, so their end does not tell the failure's
    waits = {kind: _waits_under(view, kind) for kind in ("error", "hang")}
    hung = view.latency_s[under(view, "hang") & view.asked.forwarded & ~view.asked.good]
    if min(map(len, waits.values())) < SEVERAL or len(hung) == 0:
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
