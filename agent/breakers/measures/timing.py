"""When a breaker changes its state: how many failures, how long, how often.

Brackets are carried through: a time between two transitions is known from the earliest to the latest
it can have been, and that is what is told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.breakers.courses.states import State
from agent.breakers.measures import trials
from agent.breakers.measures.estimate import (
    Property,
    Status,
    common,
    counted,
    median_bracket,
    mostly_common,
    often,
    rate_interval,
)
from agent.breakers.view import GUARD_S

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.breakers.courses.states import Stretch, Transition
    from agent.breakers.streams import FaultWindow
    from agent.breakers.view import View

ENOUGH_FAILURES = 50
"""A breaker that let so many calls in a row fail and did not open is said never to open."""
WATCHED_S = 5.0
"""A recovery that was cut short by then says nothing."""

MOSTLY = 0.8
"""So large a share of the open times has to agree on a pattern that is not the plainest."""
LATE_S = 1.0
"""So long after a fault it may open because of it: some look at their window now and then only."""


def failures_to_open(view: View) -> Property:
    """How many failed calls in a row it takes, from what had failed by either end of the bracket."""
    steps = [step for _, _, step in _openings(view)]
    every = [_failures_before(view, step) for step in steps]
    counts = [each for each in every if each[1] > 0] or every  # what opened with none counts slow calls
    stayed = {wait.opened for wait in trials.proper_waits(view)}  # or there was just no room for a moment
    without = sum(each[1] == 0 and step in stayed for step, each in zip(steps, every, strict=True))
    if not counts:
        return _never_opened(view, "calls")
    both = common(counts)
    low, high = both or (min(c[0] for c in counts), max(c[1] for c in counts))
    constant = both is not None
    return Property(
        unit="calls",
        estimate=(low + high) / 2 if constant else float(np.median([sum(c) / 2 for c in counts])),
        low=low,
        high=high,
        n=len(counts),
        status=Status.PASS,
        why=f"the same in {counted(len(counts), 'opening')}"
        if constant
        else "it varies: a rate or a window, no fixed count",
        more={"constant": constant, "each": counts, "without": without},
    )


def _openings(view: View) -> list[tuple[Stretch, Stretch, Transition]]:
    """Return the transitions from closed to open that a fault explains."""
    return [step for step in view.steps_of(State.CLOSED, State.OPEN) if view.fault_at(step[2].before)]


def _failures_before(view: View, step: Transition) -> tuple[float, float]:
    """Return how few and how many failed in a row; a success may have been known before it was seen."""
    latest = step.before + GUARD_S
    good, failed = view.good_done, view.failed_done
    last_good = int(np.searchsorted(good, latest, "right"))
    seen = good[last_good - 1] if last_good else -np.inf
    since, at_first = (int(np.searchsorted(failed, at, "right")) for at in (seen, seen - view.late_s))
    by_end = int(np.searchsorted(failed, latest, "right"))
    by_start = int(np.searchsorted(failed, step.after - GUARD_S, "right")) - since
    return float(min(max(by_start, 0) + 1, by_end - since)), float(by_end - at_first)


def _never_opened(view: View, unit: str) -> Property:
    failed = int((view.asked.forwarded & ~view.asked.good & view.in_fault).sum())
    if failed >= ENOUGH_FAILURES:
        why = f"{failed} calls failed on the dependency, each was let through, and it never opened"
        return Property(unit=unit, low=float(failed), n=failed, status=Status.FAIL, why=why)
    why = f"only {failed} calls failed on the dependency; {ENOUGH_FAILURES} would tell"
    return Property(unit=unit, low=float(failed), n=failed, status=Status.INCONCLUSIVE, why=why)


def time_to_open_s(view: View) -> Property:
    """From the fault until the breaker opened, for the first opening under each fault."""
    brackets = []
    for fault in view.faults:
        opened = next((t for _, _, t in _openings(view) if view.fault_at(t.before) is fault), None)
        if opened:
            brackets.append((max(0.0, opened.after - fault.began), opened.before - fault.began))
    if not brackets:
        return _never_opened(view, "s")
    return _between(
        brackets, f"the median of {counted(len(brackets), 'fault')}, within the earliest and the latest"
    )


def overhang(view: View) -> Property:
    """How many calls were on their way to the dependency, beside those that had failed, when it opened."""
    asked, counts = view.asked, []
    for _, _, step in _openings(view):
        span = slice(0, int(np.searchsorted(asked.at, step.before, "right")))
        rows = asked.forwarded[span]
        begun = asked.at[span][rows]
        ended = asked.done[span][rows]
        ends = (step.after, step.before)
        both = [int(((begun <= end) & (ended > end)).sum()) for end in ends]
        counts.append((float(min(both)), float(max(both))))
    if not counts:
        return _never_opened(view, "calls")
    longest = float(np.max((asked.done - asked.at)[view.in_fault & asked.forwarded & ~asked.good], initial=0))
    return Property(
        unit="calls",
        estimate=sum(median_bracket(counts)) / 2,
        low=min(low for low, _ in counts),
        high=max(high for _, high in counts),
        n=len(counts),
        status=Status.PASS,
        why="calls a second times the time a failure takes; nothing but a bulkhead makes it less",
        more={"each": counts, "longest_s": longest},
    )


def flaps(view: View) -> Property:
    """How often a minute it opens while no fault is in, or closes while every call fails."""
    if not view.course.transitions:
        return Property(unit="per min", status=Status.INCONCLUSIVE, why="it never changed its state")
    seen = [step.before for step in _openings_in_the_calm(view)]
    calm_s = _calm_s(view)
    if calm_s < WATCHED_S:
        why = f"only {calm_s:.1f} s without a fault; {WATCHED_S:g} s would be a beginning"
        return Property(unit="per min", status=Status.INCONCLUSIVE, why=why)
    low, high = rate_interval(len(seen), calm_s / 60)
    return Property(
        unit="per min",
        estimate=len(seen) / calm_s * 60,
        low=low,
        high=high,
        n=len(seen),
        status=Status.FAIL if seen else Status.PASS,
        why=f"{counted(len(seen), 'opening')} in {calm_s:.0f} s without a fault",
        more={"at": seen},
    )


def _openings_in_the_calm(view: View) -> list[Transition]:
    """Return the openings while no fault is in; one that was closed all through a fault just opens late."""
    found = []
    for was, _, step in view.steps_of(State.CLOSED, State.OPEN):
        late = any(
            view.asked.at[was.first] <= fault.began and fault.ended <= step.before <= fault.ended + LATE_S
            for fault in view.faults
        )
        if not late and not view.meets(step.after, step.before):
            found.append(step)
    return found


def _calm_s(view: View) -> float:
    """Return for how long no fault was in."""
    if len(view.asked) == 0:
        return 0.0
    first, last = float(view.asked.at[0]), float(view.asked.at[-1])
    faulty = sum(max(0.0, min(fault.ended, last) - max(fault.began, first)) for fault in view.faults)
    return last - first - faulty


def time_to_half_open_s(view: View) -> Property:
    """How long it stays open before it tries again."""
    waits = trials.proper_waits(view)
    brackets = [wait.bracket for wait in waits]
    if not brackets:
        why = "it was not seen to try again after opening"
        return Property(unit="s", status=Status.INCONCLUSIVE, why=why)
    if len(after := trials.until_well(view)) > 1:
        return _until_well(after)
    pattern, by_kind = _pattern(view, waits)
    same = {"constant": brackets, "from trials": trials.from_trial_starts(view)}.get(pattern)
    both = mostly_common(same, MOSTLY if pattern == "from trials" else 0.9) if same else None
    low, high = both or (min(b[0] for b in brackets), max(b[1] for b in brackets))
    said = {
        "constant": f"one time fits all {len(brackets)}",
        "from trials": "one time fits all where those after a trial count from its start",
        "by kind": "one time for each kind of fault",
        "growing": "it grows from trial to trial",
        "varying": "no one time fits: it is jittered, or moved by late results",
    }
    return Property(
        unit="s",
        estimate=(low + high) / 2 if both else sum(median_bracket(brackets)) / 2,
        low=low,
        high=high,
        n=len(brackets),
        status=Status.PASS,
        why=said[pattern],
        more={"pattern": pattern, "by_kind": by_kind, "each": brackets},
    )


def _until_well(after: Sequence[tuple[float, float]]) -> Property:
    """Tell how much longer than its dependency fails it stays open."""
    return Property(
        unit="s",
        estimate=sum(median_bracket(after)) / 2,
        low=min(low for low, _ in after),
        high=max(high for _, high in after),
        n=len(after),
        status=Status.PASS,
        why="after the fault's end, however long that lasts: an active check has it try, and nothing before",
        more={"pattern": "until well", "by_kind": {}, "each": list(after)},
    )


def _pattern(view: View, waits: Sequence[trials.Wait]) -> tuple[str, dict[str, tuple[float, float]]]:
    """Say how open times relate, and the one of each kind of fault where each has one."""
    if mostly_common([wait.bracket for wait in waits]):
        return "constant", {}
    if trials.grows(view):
        return "growing", {}
    if mostly_common(trials.from_trial_starts(view), MOSTLY):
        return "from trials", {}
    groups: dict[str, list[tuple[float, float]]] = {}
    for wait in waits:
        groups.setdefault(view.phase_at(wait.opened.before).removesuffix(" recovery"), []).append(
            wait.bracket
        )
    each = {kind: mostly_common(brackets, MOSTLY) for kind, brackets in groups.items()}
    found = {kind: bracket for kind, bracket in each.items() if bracket}
    told = all(found.get(kind) or len(brackets) == 1 for kind, brackets in groups.items())
    several = any(len(brackets) > 1 for brackets in groups.values())
    return ("by kind", found) if told and several and len(groups) > 1 else ("varying", {})


def time_to_close_s(view: View) -> Property:
    """From the end of a fault until the breaker was closed again."""
    brackets, stuck = [], 0
    for fault in view.faults:
        step, watched_s = _closed_after(view, fault)
        if step:
            brackets.append((max(0.0, step.after - fault.ended), max(0.0, step.before - fault.ended)))
        elif watched_s >= WATCHED_S:
            stuck += 1
    if stuck:
        why = f"after {stuck} of {stuck + len(brackets)} faults it did not close while it was watched"
        return Property(
            unit="s", n=len(brackets) + stuck, status=Status.FAIL, why=why, more={"each": brackets}
        )
    if not brackets:
        return Property(unit="s", status=Status.INCONCLUSIVE, why="it was never open when a fault ended")
    return _between(
        brackets,
        f"after {counted(len(brackets), 'fault')}; it depends on when the fault ends within the open time",
    )


def _closed_after(view: View, fault: FaultWindow) -> tuple[Transition | None, float]:
    """Return the transition that closed the breaker after *fault*, or how long one was waited for."""
    state = State.CLOSED
    last = float(view.asked.at[-1]) if len(view.asked) else fault.ended
    following = min((f.began for f in view.faults if f.began > fault.ended), default=last)
    for step in view.course.transitions:
        if step.before <= fault.ended:
            state = step.to
        elif step.to is State.CLOSED and state is not State.CLOSED and step.after < following:
            return step, following - fault.ended
    return None, 0.0 if state is State.CLOSED else following - fault.ended


def relapses(view: View) -> Property:
    """How often it opened again after a fault was over and it had closed."""
    after = _openings_in_the_calm(view)
    early = [step for step in after if view.phase_at(step.before) == "baseline"]
    seen = [step for step in after if step not in early]
    closed = len(view.steps_of(State.HALF_OPEN, State.CLOSED))
    if closed == 0:
        return Property(unit="times", status=Status.INCONCLUSIVE, why="it was not seen to recover")
    status = Status.FAIL if seen else Status.PASS
    why = f"{often(len(seen))} in {closed} {'recovery' if closed == 1 else 'recoveries'}"
    return Property(
        unit="times",
        estimate=float(len(seen)),
        low=float(len(seen)),
        high=float(len(seen)),
        n=closed,
        status=status,
        why=why,
        more={"at": [step.before for step in seen], "in_baseline": [step.before for step in early]},
    )


def _between(brackets: Sequence[tuple[float, float]], why: str) -> Property:
    """Return a time that was seen several times: the median, from the earliest to the latest it can be."""
    return Property(
        unit="s",
        estimate=sum(median_bracket(brackets)) / 2,
        low=min(low for low, _ in brackets),
        high=max(high for _, high in brackets),
        n=len(brackets),
        status=Status.PASS,
        why=why,
        more={"each": list(brackets)},
    )
