"""How far the rate of an exercise is raised, whether the service stands it, and what is said of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from agent.breakers.machines import recognition
from agent.breakers.machines.kinds import Kind
from agent.breakers.measures import trials
from agent.breakers.reading import rates
from agent.breakers.reading.recording import rows_of
from agent.breakers.streams import Outcome
from agent.breakers.view import course_of

if TYPE_CHECKING:
    from agent.breakers.machines.kinds import Machine
    from agent.breakers.streams import Phase
    from agent.breakers.view import View

CALLS_AN_OPEN_TIME = 50
"""From so many calls an open time on, 99 of 100 sequences of states are right (docs/accuracy.md)."""
WORTH = 1.25
"""For less than this much more it is not raised."""
STEP = 2.0
"""It is raised by at most this factor at a time."""
BY_CHANCE = 0.001
"""So many more calls that did not come out well than before, as are less likely than this, are no chance."""
SOME_CALLS = 20
"""Of fewer calls no percentile is told."""
SLOWER, SLOWER_S = 1.5, 0.005
SLOWER_P95, SLOWER_P95_S = 2.0, 0.02
LATE, LATE_S = 3.0, 0.01
"""Latencies may grow by these factors and so much more; the driver's lateness by the last, or up to that."""
MISSING = 4.0
"""So many standard deviations fewer answers than are due are missing."""
DUE_S = 0.3
"""An answer is due after three times the usual p95, and not sooner than this."""


def wanted_rps(view: View, *, rate_rps: float, most_rps: float) -> float:
    """Return the rate at which its states would be sharp, at most *most_rps*; *rate_rps* if that will do."""
    waits = [wait.low for wait in trials.proper_waits(view)]
    if not waits:
        return rate_rps
    open_s = float(np.median(waits))
    wanted = min(most_rps, math.ceil(CALLS_AN_OPEN_TIME / open_s) if open_s > 0 else most_rps)
    return wanted if wanted >= WORTH * rate_rps else rate_rps


def steps(rate_rps: float, wanted_rps: float) -> tuple[float, ...]:
    """Return the rates from *rate_rps*, which is left out, to *wanted_rps*: even factors, none too large."""
    n = max(1, math.ceil(math.log(wanted_rps / rate_rps) / math.log(STEP) - 1e-9))
    between = [rate_rps * (wanted_rps / rate_rps) ** (k / n) for k in range(1, n)]
    return (*(float(math.ceil(each)) for each in between), wanted_rps)


@dataclass(frozen=True, slots=True, kw_only=True)
class Calm:
    """How calls came out for the client while nothing was wrong; times are seconds.

    ``bad`` are those that had no plain answer, the ``shed`` ones, which could not even be sent, included.
    """

    calls: int
    bad: int
    shed: int
    p50: float
    p95: float
    lateness_p95: float


def calm_of(samples: bytes, since: float, until: float) -> Calm:
    """Return how the calls came out that were meant to leave between two monotonic moments."""
    rows, ahead = rows_of(samples)
    at = rows["intended_at"] - ahead
    rows = rows[(at >= since) & (at < until)]
    good = (rows["outcome"] == Outcome.OK) & (rows["degraded"] == 0)
    latency = rows["latency_s"][rows["outcome"] != Outcome.SHED]
    return Calm(
        calls=len(rows),
        bad=int((~good).sum()),
        shed=int((rows["outcome"] == Outcome.SHED).sum()),
        p50=_quantile(latency, 0.5),
        p95=_quantile(latency, 0.95),
        lateness_p95=_quantile(rows["lateness_s"], 0.95),
    )


def _quantile(values: Any, share: float) -> float:
    return float(np.quantile(values, share)) if len(values) else 0.0


def worse(before: Calm, samples: bytes, *, rate_rps: float, since: float, now: float) -> str:
    """Say in which way calls come out worse than *before* since they are made at *rate_rps*; "" if in none.

    Source:
        The chance of so many bad calls by the share before (its rule-of-succession estimate), binomial.
    """
    from scipy.special import bdtr  # noqa: PLC0415  # 50 ms, and only exercises that raise their rate need it

    due = now - max(DUE_S, 3 * before.p95)
    after = calm_of(samples, since, due)
    expected = rate_rps * max(0.0, due - since)
    share = (before.bad + 1) / (before.calls + 2)
    if after.shed:
        return f"{after.shed} of {after.calls} calls could not even be sent"
    if after.bad > 1 and 1 - bdtr(after.bad - 1, after.calls, share) < BY_CHANCE:
        usual = f"{before.bad} of {before.calls} before"
        return f"{after.bad} of {after.calls} calls did not come out well, and {usual}"
    if after.calls < expected - MISSING * math.sqrt(expected):
        return f"{after.calls} calls have an answer where about {expected:.0f} should"
    if after.calls < SOME_CALLS:
        return ""
    return _slower(before, after)


def _slower(before: Calm, after: Calm) -> str:
    if after.lateness_p95 > max(LATE_S, LATE * before.lateness_p95):
        return f"calls left up to {after.lateness_p95 * 1000:.0f} ms late (p95): this machine is too busy"
    if after.p50 > SLOWER * before.p50 + SLOWER_S:
        return (
            f"half of the calls took {after.p50 * 1000:.0f} ms or longer, and {before.p50 * 1000:.0f} before"
        )
    if after.p95 > SLOWER_P95 * before.p95 + SLOWER_P95_S:
        return f"calls took up to {after.p95 * 1000:.0f} ms (p95), and {before.p95 * 1000:.0f} before"
    return ""


def said(whole: View) -> tuple[str, ...]:
    """Return a sentence for each rate that was kept, or taken back."""
    found = [_taken_back(whole, each) for each in whole.phases if each.taken_back not in ("", rates.A_STEP)]
    since = rates.settled_since(whole.faults, whole.phases)
    kept = [each for each in whole.phases if each.began == since and each.rate_rps]
    return (*found, *(_kept(whole, each) for each in kept))


def _kept(whole: View, phase: Phase) -> str:
    before = [wait for wait in trials.proper_waits(whole) if wait.tried.before < phase.began]
    stays = f" once it was seen to stay open for about {_typical(before):.2f} s" if before else ""
    first = next((each.rate_rps for each in whole.phases if each.rate_rps), None)
    instead = f" instead of {first:g}" if first and first != phase.rate_rps else ""
    return f"It was called {phase.rate_rps:g} times a second{instead}{stays}; what is told is from then on."


def _typical(waits: list[trials.Wait]) -> float:
    return float(np.median([(wait.low + wait.high) / 2 for wait in waits]))


def _taken_back(whole: View, phase: Phase) -> str:
    rate = f"{phase.rate_rps:g} calls a second" if phase.rate_rps else "a higher rate"
    machine = machine_at(whole, phase)
    what = f" ({NAMES.get(machine.kind, '')}: {machine.why})" if machine.kind in NAMES else ""
    return (
        f"At {rate}, with nothing wrong, {phase.taken_back}{what}: that rate was taken back, and nothing in "
        "those seconds is taken for a breaker's doing."
    )


NAMES = {Kind.RATE_LIMITER: "a rate limiter", Kind.BULKHEAD: "a bulkhead"}
"""What may stand before a breaker, and shows only at a higher rate."""


def machine_at(whole: View, phase: Phase) -> Machine:
    """Return what decided about the calls of a *phase* whose rate was taken back; no fault was in."""
    at = whole.too_many.at
    asked = whole.too_many.where((at >= phase.began) & (at < phase.ended))
    return recognition.recognise(
        replace(
            whole,
            asked=asked,
            decisions=asked,
            faults=(),
            phases=(),
            course=course_of(whole.calls, asked, whole.baseline, ()),
        )
    )
