"""What a storm shows, judged on simulated services whose outcome is known: a queue, retries, a breaker."""

from __future__ import annotations

import heapq
import json
import math
import random
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.breakers.storms import hysteresis
from agent.breakers.storms.answer import Level, to_json
from agent.breakers.storms.goodput import Load, amplification, goodput, load_of, windows
from agent.breakers.storms.storm import Judged, Name, Outcome, Phase, Rules, back, judge
from agent.traffic.samples import RECORD, header
from agent.traffic.samples import Outcome as Sampled

if TYPE_CHECKING:
    from collections.abc import Sequence

RULES = Rules()
PHASES = (
    Phase(name=Name.BASELINE, began=0.0, ended=10.0, rate_rps=75.0),
    Phase(name=Name.TRIGGER, began=10.0, ended=13.0, rate_rps=75.0),
    Phase(name=Name.WATCH, began=13.0, ended=33.0, rate_rps=75.0),
    Phase(name=Name.LOWERED, began=33.0, ended=63.0, rate_rps=8.0),
    Phase(name=Name.RESTORED, began=63.0, ended=71.0, rate_rps=75.0),
)


@dataclass(frozen=True, kw_only=True)
class Service:
    """A service that asks a first-in-first-out dependency, which works on what was given up too.

    ``surge`` multiplies the load during the trigger, ``slow`` the time that a request takes then, and
    from ``slow_again_at`` on.
    """

    retries: int = 0
    patience_s: float = 0.2
    takes_s: float = 0.01
    surge: float = 1.0
    slow: float = 1.0
    opens_for_s: float = 0.0
    queue_max: int = 10_000
    slow_again_at: float = math.inf


def simulate(service: Service, phases: Sequence[Phase] = PHASES, seed: int = 1) -> Load:
    """Return the streams of *service* over *phases*, by a simulation of each request."""
    dice = random.Random(seed)
    events = [(at, 0, call) for call, at in enumerate(_departures(phases, service, dice))]
    intended, good, arrived = [at for at, _, _ in events], [False] * len(events), []
    heapq.heapify(events)
    free_at, ends, failures, open_until = 0.0, list[float](), 0, 0.0
    trigger = phases[1]
    while events:
        at, attempt, call = heapq.heappop(events)
        if at < open_until:
            continue
        arrived.append(at)
        ends = [end for end in ends if end > at]
        if len(ends) < service.queue_max:
            begins = max(free_at, at)
            slow = trigger.began <= begins < trigger.ended or begins >= service.slow_again_at
            free_at = begins + service.takes_s * (service.slow if slow else 1.0)
            ends.append(free_at)
            in_time = free_at - at <= service.patience_s
        else:
            in_time = False
        if in_time:
            good[call], failures = True, 0
            continue
        failures += 1
        if service.opens_for_s and failures >= 5:
            open_until, failures = at + service.patience_s + service.opens_for_s, 0
        if attempt < service.retries:
            heapq.heappush(events, (at + service.patience_s, attempt + 1, call))
    return Load(intended=np.array(intended), good=np.array(good), arrived=np.sort(np.array(arrived)))


def _departures(phases: Sequence[Phase], service: Service, dice: random.Random) -> list[float]:
    found, at = [], phases[0].began
    for phase in phases:
        at = max(at, phase.began)
        factor = service.surge if phase.name is Name.TRIGGER else 1.0
        while (at := at + dice.expovariate(phase.rate_rps * factor)) < phase.ended:
            found.append(at)
        at = phase.ended
    return found


def told(service: Service, phases: Sequence[Phase] = PHASES, seed: int = 1) -> Judged:
    """Return what is told of *service*; phases that a test would not have played are left out first."""
    load = simulate(service, phases, seed)
    watch = next(phase for phase in phases if phase.name is Name.WATCH)
    if back(load, watch.began, watch.ended, RULES):
        phases = phases[: phases.index(watch) + 1]
    return judge(load, phases, RULES)


@pytest.mark.parametrize("seed", range(20))
def test_retries_that_keep_an_outage_going_are_metastable(seed: int) -> None:
    """Whatever the arrivals: four requests per call are more than the dependency bears."""
    judged = told(Service(retries=3, slow=8.0, queue_max=400), seed=seed)
    assert judged.outcome is Outcome.METASTABLE, judged.says
    assert "Retries sustain it" in judged.says


@pytest.mark.parametrize("seed", range(20))
def test_a_queue_without_retries_is_a_slow_drain(seed: int) -> None:
    """Three times the load leaves some 375 queued, and 25 a second are worked off beyond what comes."""
    judged = told(Service(surge=3.0), seed=seed)
    assert judged.outcome is Outcome.SLOW_DRAIN, judged.says
    assert judged.back is not None
    assert 4 <= judged.back.low < judged.back.high < 19
    assert "drains" in judged.says


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("retries", [0, 3])
def test_a_breaker_recovers_soon(seed: int, retries: int) -> None:
    """It keeps back what would queue up, retries or not."""
    judged = told(Service(slow=8.0, opens_for_s=1.0, retries=retries), seed=seed)
    assert judged.outcome is Outcome.RECOVERED, judged.says


def test_a_service_that_goes_bad_with_nothing_wrong_is_told_before_anything_else() -> None:
    """At three quarters of the capacity a short patience opens the breaker by itself."""
    judged = told(Service(opens_for_s=2.0, patience_s=0.012), phases=PHASES[:3])
    assert judged.outcome is Outcome.TRIPPED, judged.says
    assert "trips by itself at 75 rps" in judged.says
    assert "kept back" in judged.says


def test_a_watch_that_is_too_short_is_no_verdict() -> None:
    """A drain that is cut off looks like an outage that stays: nothing sustains it, so it is not told."""
    short = [PHASES[0], PHASES[1], replace(PHASES[2], ended=17.0)]
    short += [replace(PHASES[3], began=17.0, ended=40.0), replace(PHASES[4], began=40.0, ended=48.0)]
    judged = told(Service(surge=3.0), phases=short)
    assert judged.outcome is Outcome.INCONCLUSIVE, judged.says
    assert "watch longer" in judged.says


def test_a_trigger_that_does_no_harm_proves_nothing() -> None:
    """Never a pass where nothing was tried."""
    judged = told(Service())
    assert judged.outcome is Outcome.INCONCLUSIVE, judged.says
    assert "did no harm" in judged.says


def test_a_load_that_cannot_be_borne_again_is_no_metastability() -> None:
    """It falls again with the load alone, so the trigger was not what it took."""
    judged = told(Service(retries=3, slow=8.0, queue_max=400, slow_again_at=64.0))
    assert judged.outcome is Outcome.OVERLOADED, judged.says


def test_what_does_not_come_back_at_a_low_load_is_down() -> None:
    """Nothing is said of what sustains it."""
    judged = told(Service(slow=40.0, slow_again_at=10.0), phases=PHASES[:4])
    assert judged.outcome is Outcome.DOWN, judged.says


def test_a_baseline_of_a_few_calls_is_not_known_to_be_good() -> None:
    """Twenty good calls of twenty may hide one in ten that fails."""
    few = [replace(phase, rate_rps=2.0) for phase in PHASES[:3]]
    judged = told(Service(slow=8.0), phases=few)
    assert judged.outcome is Outcome.INCONCLUSIVE, judged.says
    assert "baseline is not known" in judged.says


@given(share=st.floats(0.0, 1.0), rate=st.integers(5, 200), seed=st.integers(0, 999))
def test_windows_are_whole_and_hold_enough_calls(share: float, rate: int, seed: int) -> None:
    """At a low rate they are longer, and each tells its own n."""
    dice = random.Random(seed)
    calls = np.arange(0.0, 20.0, 1 / rate)
    good = np.array([dice.random() < share for _ in calls])
    found = windows(Load(intended=calls, good=good, arrived=calls), 0.0, 20.0)
    assert all(window.share.n >= 39 for window in found)
    assert all(window.share.low <= window.share.estimate <= window.share.high for window in found)
    assert all(a.until == b.since for a, b in pairwise(found))


def test_the_interval_of_the_requests_per_call_covers_the_truth() -> None:
    """In 95 of a hundred, within what chance makes of 400 repetitions."""
    dice = np.random.default_rng(5)
    hits = 0
    for _ in range(400):
        calls = np.sort(dice.uniform(0, 20, dice.poisson(20 * 60)))
        arrived = np.repeat(calls, dice.integers(1, 4, len(calls)))
        found = amplification(Load(intended=calls, good=calls > 0, arrived=arrived), 0.0, 20.0)
        hits += found.low <= 2.0 <= found.high
    assert 0.92 <= hits / 400 <= 0.98


def test_shed_and_degraded_calls_are_no_goodput() -> None:
    """A fallback is honest, and no sign that what is behind it works."""
    rows = [(Sampled.OK, 0), (Sampled.OK, 1), (Sampled.SHED, 0), (Sampled.STATUS, 0), (Sampled.TIMEOUT, 0)]
    samples = header(100.0) + b"".join(
        RECORD.pack(105.0 + n, 0.1, 0.0, 200, outcome, degraded, 0, 1)
        for n, (outcome, degraded) in enumerate(rows)
    )
    load = load_of(samples + b"torn", [7.0, 6.0])
    assert load.intended.tolist() == [5.0, 6.0, 7.0, 8.0, 9.0]
    assert load.arrived.tolist() == [6.0, 7.0]
    assert goodput(load, 0.0, 20.0).estimate == 0.2
    assert load.requests(6.0, 7.0) == 1


@given(threshold=st.floats(10.0, 200.0), low=st.floats(10.0, 50.0), span=st.floats(1.0, 150.0))
def test_the_sweep_ends_with_a_narrow_bracket_around_the_truth(
    threshold: float, low: float, span: float
) -> None:
    """It begins with the least harm, never goes beyond what was given, and says what it did not try."""
    high, precision = low + span, span / 10
    tried: list[tuple[float, Outcome]] = []
    while (rate := hysteresis.next_rate(tried, low=low, high=high, precision_rps=precision)) is not None:
        assert low <= rate <= high
        tried.append((rate, Outcome.METASTABLE if rate >= threshold else Outcome.RECOVERED))
        assert len(tried) <= 7
    found = hysteresis.bracket(tried, trigger_s=3.0)
    assert found.survives_rps is None or found.survives_rps < threshold
    assert found.fails_rps is None or found.fails_rps >= threshold
    if found.survives_rps is not None and found.fails_rps is not None:
        assert found.fails_rps - found.survives_rps <= precision * 1.001
    assert tried[0][0] == low


def test_a_level_that_tells_nothing_ends_the_sweep_and_is_said() -> None:
    """The bracket is what is known so far."""
    tried = [(10.0, Outcome.RECOVERED), (90.0, Outcome.METASTABLE), (50.0, Outcome.INCONCLUSIVE)]
    assert hysteresis.next_rate(tried, low=10.0, high=90.0, precision_rps=1.0) is None
    found = hysteresis.bracket(tried, trigger_s=3.0)
    assert (found.survives_rps, found.fails_rps) == (10.0, 90.0)
    assert "at 50 rps it could not be told" in found.says


def test_the_answer_is_json_with_its_series() -> None:
    """What is not known is null, and the counts of the series add up."""
    load = simulate(Service(retries=3, slow=8.0, queue_max=400))
    level = Level(rate_rps=75.0, phases=PHASES, judged=judge(load, PHASES, RULES))
    found = json.loads(
        json.dumps(
            to_json(
                load,
                [level],
                trigger={"kind": "latency", "for_s": 3.0},
                rules=RULES,
                opened=[(5.0, 3), (40.0, 9)],
                wall_ahead_s=1000.0,
                swept=False,
            ),
            allow_nan=False,
        )
    )
    assert (found["schema"], found["outcome"]) == ("gameday/storm/1", "metastable")
    series = found["series"]
    assert len({len(series[name]) for name in ("at", "offered", "good", "requests", "open")}) == 1
    assert sum(series["offered"]) == pytest.approx(len(load.intended), abs=50)
    assert (series["open"][0], series["open"][-1]) == (0, 9)
    assert found["levels"][0]["phases"][0]["began_at"] == 1000.0
