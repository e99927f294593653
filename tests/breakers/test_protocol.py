"""How long a fault stays in, on simulated recordings that are cut off where they stand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from agent.breakers.exercise import protocol
from agent.breakers.measures import trials
from agent.breakers.simulation.simulate import Design, Truth, World, simulate
from agent.breakers.view import View, view

WORLD = World(rate_rps=100.0, fault_began=10.0, fault_ended=20.0, duration_s=25.0)


def by(truth: Truth, now: float) -> View:
    """Return what is seen of the recording by *now*, with the fault still in."""
    calls, arrivals = truth.calls, truth.arrivals
    meanwhile = replace(truth.fault, ended=np.inf)
    return view(calls.where(calls.ended < now), arrivals.where(arrivals.at < now), [meanwhile])


def test_of_what_opens_for_moments_more_is_seen_than_a_few_trials() -> None:
    """A throttle, and many another machine, looks like a breaker for a second."""
    truth = simulate(Design(open_s=0.2), WORLD)
    pace, soon = protocol.Pace(), WORLD.fault_began + 2.0
    assert len(trials.waits(by(truth, soon))) > pace.trials_in(0.2)
    assert not protocol.fault_is_enough(by(truth, soon), pace, WORLD.fault_began, soon)
    late = WORLD.fault_began + protocol.LEAST_S
    assert protocol.fault_is_enough(by(truth, late), pace, WORLD.fault_began, late)


def test_a_fault_is_over_with_the_last_trial_of_what_stays_open_longer() -> None:
    """Nothing is waited for that it would not show."""
    truth = simulate(Design(open_s=2.0), WORLD)
    pace = protocol.Pace()
    moments = [WORLD.fault_began + tenth / 10 for tenth in range(20, 80)]
    over = next(at for at in moments if protocol.fault_is_enough(by(truth, at), pace, WORLD.fault_began, at))
    tried = [wait.tried.before for wait in trials.waits(by(truth, over))]
    assert len(tried) == pace.trials_in(2.0)
    assert over - tried[-1] < 0.2
