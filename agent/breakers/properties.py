"""What a breaker is like, in numbers; each property is one function of a view.

Brackets are carried through: a time between two transitions is known from the earliest to the latest
it can have been, and that is what is told.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from agent.breakers import trials
from agent.breakers.estimate import (
    Property,
    Status,
    common,
    mean_interval,
    median_bracket,
    mostly_common,
    quantile_interval,
    share_interval,
)
from agent.breakers.states import State

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agent.breakers.states import Stretch, Transition
    from agent.breakers.streams import FaultWindow
    from agent.breakers.view import View

ENOUGH_FAILURES = 50
"""A breaker that let so many calls in a row fail and did not open is said never to open."""
GUARD_S = 0.005
"""Between what the link sees and what the service knows."""
WATCHED_S = 5.0
"""A recovery that was cut short by then says nothing."""
FAIL_FAST_LIMIT_MS = 100.0
LEAK_LIMIT = 0.05
BUDGET_LIMIT = 10
AMPLIFICATION_LIMIT = 2.0
OVERSHOOT_WINDOW_S = 1.0
OVERSHOOT_AFTER_S = 10.0


def measure(view: View) -> dict[str, Property]:
    """Return every property of one breaker, by name."""
    return {name: function(view) for name, function in PROPERTIES.items()}


def failures_to_open(view: View) -> Property:
    """How many failed calls in a row it takes, from what had failed by either end of the bracket."""
    counts = [_failures_before(view, step) for _, _, step in _openings(view)]
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
        why=f"the same in {len(counts)} openings"
        if constant
        else "it varies: a rate or a window, no fixed count",
        more={"constant": constant, "each": counts},
    )


def _openings(view: View) -> list[tuple[Stretch, Stretch, Transition]]:
    """Return the transitions from closed to open that a fault explains."""
    return [step for step in view.steps_of(State.CLOSED, State.OPEN) if view.fault_at(step[2].before)]


def _failures_before(view: View, step: Transition) -> tuple[float, float]:
    latest = step.before + GUARD_S
    good, failed = view.good_done, view.failed_done
    last_good = int(np.searchsorted(good, latest, "right"))
    since = int(np.searchsorted(failed, good[last_good - 1], "right")) if last_good else 0
    by_end = int(np.searchsorted(failed, latest, "right")) - since
    by_start = int(np.searchsorted(failed, step.after - GUARD_S, "right")) - since
    return float(min(max(by_start, 0) + 1, by_end)), float(by_end)


def _never_opened(view: View, unit: str) -> Property:
    failed = int((view.asked.forwarded & ~view.asked.good & view.in_fault).sum())
    if failed >= ENOUGH_FAILURES:
        why = f"it never opened: {failed} calls failed on the dependency and each was let through"
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
    low, high = median_bracket(brackets)
    return Property(
        unit="s",
        estimate=(low + high) / 2,
        low=min(b[0] for b in brackets),
        high=max(b[1] for b in brackets),
        n=len(brackets),
        status=Status.PASS,
        why=f"the median of {len(brackets)} faults, within the earliest and the latest",
        more={"each": brackets},
    )


def fail_fast_p99_ms(view: View) -> Property:
    """How long a call takes that an open breaker rejects."""
    rows = view.rows(State.OPEN) & ~view.asked.forwarded
    for _, stretch, step in (each for each in view.steps if each[2].to is State.OPEN):
        # What was begun before it opened may have waited for something else.
        span = slice(stretch.first, stretch.end)
        rows[span] &= view.asked.begun[span] > step.before - GUARD_S
    latency = np.sort(view.latency_s[rows]) * 1000
    if len(latency) == 0:
        return Property(unit="ms", status=Status.INCONCLUSIVE, why="no call was rejected by an open breaker")
    p99, low, high = quantile_interval(latency, 0.99)
    p50 = float(np.median(latency))
    worst = high if high is not None else float(latency[-1])
    fast = worst <= FAIL_FAST_LIMIT_MS
    enough = high is not None
    why = f"{len(latency)} rejected calls, p50 {p50:.1f} ms; at most {FAIL_FAST_LIMIT_MS:g} ms is fast"
    if fast and not enough:
        why = f"only {len(latency)} rejected calls; 299 would bound the p99"
    status = (
        Status.FAIL if low > FAIL_FAST_LIMIT_MS else Status.PASS if fast and enough else Status.INCONCLUSIVE
    )
    return Property(
        unit="ms", estimate=p99, low=low, high=high, n=len(latency), status=status, why=why, more={"p50": p50}
    )


def leak_share(view: View) -> Property:
    """Which share of calls an open breaker lets through, its own trials left out."""
    opened = int(view.rows(State.OPEN).sum())
    if opened == 0:
        return Property(unit="share", status=Status.INCONCLUSIVE, why="it was never open")
    leaks = trials.leaks(view)
    low, high = share_interval(leaks, opened + leaks)
    status = Status.PASS if high <= LEAK_LIMIT else Status.FAIL if low > LEAK_LIMIT else Status.INCONCLUSIVE
    why = f"{leaks} of {opened + leaks} calls while it was open"
    if status is Status.INCONCLUSIVE:
        why += f"; about {math.ceil(3 / LEAK_LIMIT)} without a leak would tell"
    return Property(
        unit="share",
        estimate=leaks / (opened + leaks),
        low=low,
        high=high,
        n=opened + leaks,
        status=status,
        why=why,
    )


def half_open_budget(view: View) -> Property:
    """How many calls a half-open breaker lets through before the first of them has ended."""
    seen = trials.held(view)
    telling = [each for each in seen if each.offered > each.admitted or each.admitted >= trials.CROWD]
    if not seen:
        return Property(unit="calls", status=Status.INCONCLUSIVE, why="it was never seen half-open")
    most = max(each.admitted for each in seen)
    if not telling:
        why = f"nobody came while a trial was in flight, or all of at most {most} were let in; hold it longer"
        return Property(unit="calls", low=float(most), n=len(seen), status=Status.INCONCLUSIVE, why=why)
    most = max(each.admitted for each in telling)
    family = trials.family(telling)
    bounded = family != "admit"
    crowds = sum(each.admitted > BUDGET_LIMIT for each in telling)
    enough = bounded and crowds == 0
    return Property(
        unit="calls",
        estimate=float(most),
        low=float(most),
        high=float(most) if bounded else None,
        n=len(telling),
        status=Status.FAIL if crowds > 1 else Status.PASS if enough else Status.INCONCLUSIVE,
        why=trials.FAMILIES[family] + ("; a crowd was seen only once" if crowds == 1 else ""),
        more={"family": family, "each": [(each.admitted, each.offered) for each in telling]},
    )


def time_to_half_open_s(view: View) -> Property:
    """How long it stays open before it tries again."""
    waits = trials.proper_waits(view)
    brackets = [wait.bracket for wait in waits]
    if not brackets:
        why = "it was not seen to try again after opening"
        return Property(unit="s", status=Status.INCONCLUSIVE, why=why)
    pattern, by_kind = _pattern(view, waits)
    both = mostly_common(brackets) if pattern == "constant" else None
    low, high = both or (min(b[0] for b in brackets), max(b[1] for b in brackets))
    said = {
        "constant": f"one time fits all {len(brackets)}",
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


def _pattern(view: View, waits: Sequence[trials.Wait]) -> tuple[str, dict[str, tuple[float, float]]]:
    """Say how open times relate, and the one of each kind of fault where each has one."""
    if mostly_common([wait.bracket for wait in waits]):
        return "constant", {}
    if trials.grows(view):
        return "growing", {}
    groups: dict[str, list[tuple[float, float]]] = {}
    for wait in waits:
        groups.setdefault(view.phase_at(wait.opened.before).removesuffix(" recovery"), []).append(
            wait.bracket
        )
    each = {kind: mostly_common(brackets, 0.8) for kind, brackets in groups.items()}
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
    low, high = median_bracket(brackets)
    return Property(
        unit="s",
        estimate=(low + high) / 2,
        low=min(b[0] for b in brackets),
        high=max(b[1] for b in brackets),
        n=len(brackets),
        status=Status.PASS,
        why=f"after {len(brackets)} faults; it depends on when the fault ends within the open time",
        more={"each": brackets},
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
    after = [step for _, _, step in view.steps_of(State.CLOSED, State.OPEN) if not view.fault_at(step.after)]
    early = [step for step in after if view.phase_at(step.before) == "baseline"]
    seen = [step for step in after if step not in early]
    closed = len(view.steps_of(State.HALF_OPEN, State.CLOSED))
    if closed == 0:
        return Property(unit="times", status=Status.INCONCLUSIVE, why="it was not seen to recover")
    status = Status.FAIL if seen else Status.PASS
    why = f"{len(seen)} times in {closed} recoveries"
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


def degraded_share(view: View) -> Property:
    """Which share of rejected calls gets a degraded answer instead of an error."""
    rows = ~view.asked.forwarded & (view.rows(State.OPEN) | view.rows(State.HALF_OPEN))
    n, hits = int(rows.sum()), int((rows & view.degraded).sum())
    if n == 0:
        return Property(unit="share", status=Status.INCONCLUSIVE, why="no call was rejected")
    low, high = share_interval(hits, n)
    plain = int((rows & ~view.degraded & view.well).sum())
    why = f"{hits} of {n} rejected calls are marked as degraded, {plain} look like a plain success"
    return Property(
        unit="share",
        estimate=hits / n,
        low=low,
        high=high,
        n=n,
        status=Status.PASS if plain <= 0.02 * n else Status.FAIL,
        why=why,
        more={"plain_success": plain},
    )


def retry_amplification(view: View) -> Property:
    """How many requests reach the dependency for each call that is let through and fails."""
    rows = (view.asked.attempts > 0) & view.in_fault & ~view.asked.good
    attempts = view.asked.attempts[rows]
    if len(attempts) == 0:
        return Property(
            unit="requests", status=Status.INCONCLUSIVE, why="no call was let through under a fault"
        )
    mean, low, high = mean_interval(attempts.astype(float))
    everything = int(view.in_fault.sum())
    overall = float(attempts.sum()) / everything
    ok = high <= AMPLIFICATION_LIMIT
    return Property(
        unit="requests",
        estimate=mean,
        low=low,
        high=high,
        n=len(attempts),
        status=Status.PASS if ok else Status.FAIL if low > AMPLIFICATION_LIMIT else Status.INCONCLUSIVE,
        why=f"at most {int(attempts.max())} for one call; {overall:.2f} for each call offered",
        more={"overall": overall, "most": int(attempts.max())},
    )


def recovery_overshoot(view: View) -> Property:
    """The busiest second at the dependency after a recovery, as a multiple of the baseline's rate."""
    calm = view.arrivals.at[view.arrivals.at < min((f.began for f in view.faults), default=math.inf)]
    closings = [
        t.before for _, _, t in view.steps_of(State.HALF_OPEN, State.CLOSED) if not view.fault_at(t.before)
    ]
    if len(calm) < ENOUGH_FAILURES or not closings:
        return Property(unit="times", status=Status.INCONCLUSIVE, why="no recovery, or too short a baseline")
    usual = len(calm) / max(OVERSHOOT_WINDOW_S, float(calm.max() - calm.min())) * OVERSHOOT_WINDOW_S
    most = max(_busiest(view, at, at + OVERSHOOT_AFTER_S) for at in closings)
    # The highest of so many Poisson counts, with a chance of one in a thousand for any of them.
    windows = len(closings) * OVERSHOOT_AFTER_S / OVERSHOOT_WINDOW_S * 2
    from scipy.special import pdtrik  # noqa: PLC0415  # 50 ms, and only analyses need it

    limit = float(pdtrik(1 - 0.001 / windows, usual))
    return Property(
        unit="times",
        estimate=most / usual,
        low=most / usual,
        high=most / usual,
        n=len(closings),
        status=Status.PASS if most <= max(limit, usual * 1.5) else Status.FAIL,
        why=f"{most} in the busiest second after closing; {usual:.0f} are usual, {limit:.0f} would be chance",
    )


def _busiest(view: View, since: float, until: float) -> int:
    at = np.sort(view.arrivals.at[(view.arrivals.at >= since) & (view.arrivals.at < until)])
    return int((np.searchsorted(at, at + OVERSHOOT_WINDOW_S) - np.arange(len(at))).max()) if len(at) else 0


PROPERTIES: dict[str, Callable[[View], Property]] = {
    function.__name__: function
    for function in (
        failures_to_open,
        time_to_open_s,
        fail_fast_p99_ms,
        leak_share,
        half_open_budget,
        time_to_half_open_s,
        time_to_close_s,
        relapses,
        degraded_share,
        retry_amplification,
        recovery_overshoot,
    )
}
