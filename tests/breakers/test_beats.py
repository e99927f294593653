"""Active checks over the same link, told by their beat alone where a service passes no ids on."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.breakers.reading.beats import LATE_S, beat_of, on_beat
from agent.breakers.reading.mapping import match
from agent.breakers.simulation.simulate import Design, World, simulate
from agent.breakers.view import view


def moments(
    rate_rps: float, lasts_s: float, seed: int, silences: tuple[tuple[float, float], ...] = ()
) -> list[float]:
    """Return when calls come at random, and none within *silences*."""
    dice, at, found = random.Random(seed), 0.0, []
    while (at := at + dice.expovariate(rate_rps)) < lasts_s:
        if not any(since <= at < until for since, until in silences):
            found.append(at)
    return found


@settings(deadline=None, max_examples=25)
@given(
    period_s=st.floats(0.3, 5.0),
    phase=st.floats(0.0, 0.3),
    rate_rps=st.floats(10, 150),
    seed=st.integers(0, 10_000),
)
def test_a_beat_is_found_between_calls_that_come_at_random(
    period_s: float, phase: float, rate_rps: float, seed: int
) -> None:
    """Whatever its period, early or late by milliseconds, if it has a dozen beats while nobody else calls."""
    dice = random.Random(seed)
    quiet_s = 12 * period_s
    lasts_s = 10.0 + quiet_s + 10.0
    checks = np.arange(phase, lasts_s, period_s)
    checks += np.array([dice.gauss(0.0, LATE_S / 6) for _ in checks])
    calls = moments(rate_rps, lasts_s, seed, silences=((10.0, 10.0 + quiet_s),))
    at = np.sort(np.concatenate([calls, checks]))
    beat = beat_of(at)
    assert beat is not None
    assert beat.period_s == pytest.approx(period_s, abs=0.002)
    inside = (at > 10.0 + period_s) & (at < 10.0 + quiet_s - period_s)
    assert on_beat(beat, at)[inside].all()


@settings(deadline=None, max_examples=25)
@given(rate_rps=st.floats(0.5, 100), seed=st.integers(0, 10_000))
def test_calls_at_random_have_no_beat(rate_rps: float, seed: int) -> None:
    """However many they are, with and without seconds in which there are none."""
    assert beat_of(np.array(moments(rate_rps, 60.0, seed))) is None
    assert beat_of(np.array(moments(rate_rps, 60.0, seed, silences=((20.0, 30.0), (40.0, 50.0))))) is None


def test_trials_after_a_constant_open_time_are_no_beat() -> None:
    """They come soon after it is over, but with a call each, and begin anew with each fault."""
    truth = simulate(
        Design(open_s=1.0), World(rate_rps=100.0, passes_ids_on=False, fault_ended=30.0, duration_s=45.0)
    )
    assert match(truth.calls, truth.arrivals).beat is None


def test_checks_are_nobodys_calls() -> None:
    """A breaker whose dependency is checked actively over the same link has the states that it has."""
    world = World(checks_every_s=0.7, passes_ids_on=False, rate_rps=60.0, fault="hang", duration_s=45.0)
    truth = simulate(Design(), world)
    seen = view(truth.calls, truth.arrivals, truth.faults)
    assert seen.mapping.beat is not None
    assert seen.mapping.beat.period_s == pytest.approx(0.7, abs=0.002)
    assert seen.course.sequence == truth.sequence()
