"""Departures under a rate that changes, without a clock."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.traffic.pace import Pace

RATES = st.floats(1.0, 5000.0)
CHANGES = st.lists(st.tuples(st.floats(0.01, 3.0), st.one_of(st.just(0.0), RATES)), max_size=5)


def departures(pace: Pace, until: float) -> list[float]:
    """Return the departures before *until*."""
    found = []
    while pace.due < until:
        found.append(pace.due)
        pace.advance()
    return found


@given(rate=RATES, changes=CHANGES)
def test_as_many_leave_as_the_integral_of_the_rate_says(
    rate: float, changes: list[tuple[float, float]]
) -> None:
    """No request is skipped or repeated by a change, however many there are."""
    pace, at, now, expected = Pace(rate, arrivals="clock", seed=0), 0.0, rate, 0.0
    for after, to in changes:
        pace.change(at + after, to)
        expected += now * after
        at, now = at + after, to
    expected += now * 1.0
    found = departures(pace, at + 1.0)
    assert abs(len(found) - expected) <= 1.001
    assert found == sorted(found)


@given(arrivals=st.sampled_from(["clock", "poisson"]), rate=RATES, seed=st.integers(0, 99))
def test_departures_repeat_with_the_seed_and_never_go_back(arrivals: str, rate: float, seed: int) -> None:
    """Two runs of a plan leave at the same times."""
    first, second = (departures(Pace(rate, arrivals=arrivals, seed=seed), 50 / rate) for _ in range(2))
    assert first == second == sorted(first)


def test_without_a_change_the_spacing_is_exact() -> None:
    """The thousandth request is due at a thousand spacings, with no error that adds up."""
    pace = Pace(7.0, arrivals="clock", seed=0)
    assert departures(pace, 200.0) == [n / 7.0 for n in range(1400)]


def test_a_pause_has_no_departure_and_ends() -> None:
    """Nothing is due while the rate is 0, and what was nearly due is not forgotten."""
    pace = Pace(10.0, arrivals="clock", seed=0)
    pace.change(0.95, 0.0)
    assert len(departures(pace, 100.0)) == 10
    assert pace.due == math.inf
    pace.change(100.0, 10.0)
    assert pace.due == pytest.approx(100.05)


def test_a_change_that_comes_late_counts_from_its_moment() -> None:
    """A driver that lags behind still owes what was due before the change."""
    pace = Pace(100.0, arrivals="clock", seed=0)
    pace.change(1.0, 1000.0)
    assert len(departures(pace, 2.0)) == pytest.approx(1100, abs=1)


@given(seed=st.integers(0, 2**32), to=RATES)
def test_poisson_departures_before_a_change_do_not_depend_on_it(seed: int, to: float) -> None:
    """The same seed repeats them, change or not; and afterwards they are as many as the rate says."""
    plain, changed = (Pace(200.0, arrivals="poisson", seed=seed) for _ in range(2))
    changed.change(1.0, to)
    assert departures(plain, 1.0) == departures(changed, 1.0)
    rest = departures(changed, 2.0)
    assert abs(len(rest) - to) < 7 * math.sqrt(to) + 5


def test_poisson_gaps_have_the_spread_of_an_exponential() -> None:
    """Mean and standard deviation are alike, before a change and after it."""
    pace = Pace(500.0, arrivals="poisson", seed=3)
    pace.change(20.0, 2000.0)
    for mean, until in ((1 / 500, 20.0), (1 / 2000, 25.0)):
        gaps = [b - a for a, b in itertools.pairwise(departures(pace, until))]
        spread = math.sqrt(sum((gap - mean) ** 2 for gap in gaps) / len(gaps))
        assert spread == pytest.approx(mean, rel=0.1)
