"""What a breaker does to calls and to its dependency while it is open, tries, and has recovered."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from agent.breakers.courses.states import State
from agent.breakers.measures import trials
from agent.breakers.measures.estimate import (
    Property,
    Status,
    mean_interval,
    quantile_interval,
    rate_interval,
    share_interval,
)
from agent.breakers.reading.rates import during, taken_back
from agent.breakers.view import GUARD_S

if TYPE_CHECKING:
    from agent.breakers.view import View

FAIL_FAST_LIMIT_MS = 100.0
LEAK_LIMIT = 0.05
BUDGET_LIMIT = 10
ONCE = "; a crowd was seen only once"
SEVERAL = 3
"""A crowd that was seen once is chance, but where all who came were let in so often."""
AMPLIFICATION_LIMIT = 2.0
BASELINE_CALLS = 50
FEW_CALLS = 30
OVERSHOOT_WINDOW_S = 1.0
OVERSHOOT_AFTER_S = 10.0


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
    too_many = crowds > 1 or (crowds == 1 and not bounded and len(telling) >= SEVERAL)
    return Property(
        unit="calls",
        estimate=float(most),
        low=float(most),
        high=float(most) if bounded else None,
        n=len(telling),
        status=Status.FAIL if too_many else Status.PASS if enough else Status.INCONCLUSIVE,
        why=trials.FAMILIES[family] + ONCE * (crowds == 1 and not too_many),
        more={"family": family, "each": [(each.admitted, each.offered) for each in telling]},
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


def requests_per_call(view: View) -> Property:
    """How many requests reach the dependency for each call offered while it fails, rejected ones included."""
    attempts = view.asked.attempts[view.in_fault]
    if len(attempts) < FEW_CALLS:
        why = f"only {len(attempts)} calls under a fault; {FEW_CALLS} would tell"
        return Property(unit="requests", n=len(attempts), status=Status.INCONCLUSIVE, why=why)
    mean, low, high = mean_interval(attempts.astype(float))
    usual = float(view.asked.attempts[view.calm].mean()) if view.calm.any() else 1.0
    least = max(1.0, usual)
    return Property(
        unit="requests",
        estimate=mean,
        low=low,
        high=high,
        n=len(attempts),
        status=Status.PASS if high <= least else Status.FAIL if low > least else Status.INCONCLUSIVE,
        why=f"{usual:.2f} while nothing is wrong; a breaker makes it fewer under a fault, never more",
        more={"usual": usual},
    )


def recovery_overshoot(view: View) -> Property:
    """The busiest second at the dependency after a recovery, as a multiple of the baseline's rate."""
    calm = view.arrivals.at[view.arrivals.at < min((f.began for f in view.faults), default=math.inf)]
    closings = [
        t.before for _, _, t in view.steps_of(State.HALF_OPEN, State.CLOSED) if not view.fault_at(t.before)
    ]
    if len(calm) < BASELINE_CALLS or not closings:
        return Property(unit="times", status=Status.INCONCLUSIVE, why="no recovery, or too short a baseline")
    calm_s = max(OVERSHOOT_WINDOW_S, float(calm.max() - calm.min())) / OVERSHOOT_WINDOW_S
    usual, at_most = len(calm) / calm_s, rate_interval(len(calm), calm_s)[1]
    most = max(_busiest(view, at, at + OVERSHOOT_AFTER_S) for at in closings)
    # The highest of so many Poisson counts, with a chance of one in a thousand for any of them; the usual
    # rate is known no better than from so many calls.
    windows = len(closings) * OVERSHOOT_AFTER_S / OVERSHOOT_WINDOW_S * 2
    from scipy.special import pdtrik  # noqa: PLC0415  # 50 ms, and only analyses need it

    limit = float(pdtrik(1 - 0.001 / windows, at_most))
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
    came = view.arrivals.at
    at = np.sort(came[(came >= since) & (came < until) & ~during(came, taken_back(view.phases))])
    return int((np.searchsorted(at, at + OVERSHOOT_WINDOW_S) - np.arange(len(at))).max()) if len(at) else 0
