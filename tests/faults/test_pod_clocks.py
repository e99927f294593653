"""How a pod's clock is told from exchanges: always within what is said, whatever the way took."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.faults.inside.clocks import SLEW, Clock, Exchange

moments = st.floats(min_value=0.0, max_value=0.5)


def _exchange(at: float, *, ahead_s: float, there_s: float, does_s: float, back_s: float) -> Exchange:
    heard = at + there_s + ahead_s
    told = heard + does_s
    return Exchange(asked=at, heard=heard, told=told, answered=told - ahead_s + back_s)


@given(st.floats(min_value=-1e6, max_value=1e6), moments, moments, moments)
def test_the_clock_is_within_what_the_exchange_says(
    ahead_s: float, there_s: float, does_s: float, back_s: float
) -> None:
    """However unequal the two ways are, and however long the answer took to make."""
    exchange = _exchange(100.0, ahead_s=ahead_s, there_s=there_s, does_s=does_s, back_s=back_s)
    assert abs(exchange.ahead_s - ahead_s) <= exchange.within_s + 1e-6


@given(
    st.lists(st.tuples(moments, moments), min_size=1, max_size=20), st.floats(min_value=-SLEW, max_value=SLEW)
)
def test_a_moment_is_told_within_what_is_said_though_the_clocks_drift(
    ways: list[tuple[float, float]], drift: float
) -> None:
    """Each exchange a second after the last, and the moment just before the last one."""
    clock = Clock()
    for n, (there_s, back_s) in enumerate(ways):
        at = 100.0 + n
        clock.learn(_exchange(at, ahead_s=50.0 + drift * n, there_s=there_s, does_s=0.0, back_s=back_s))
    ours = 100.0 + len(ways) - 1
    told = clock.ours(ours + 50.0 + drift * (len(ways) - 1))
    assert abs(told - ours) <= clock.worst_s + 1e-3  # a thousandth for how much it drifts within an exchange


def test_the_exchange_that_took_least_is_believed() -> None:
    """A slow one a moment ago says less than a quick one a little before."""
    clock = Clock()
    clock.learn(_exchange(100.0, ahead_s=7.0, there_s=0.001, does_s=0.0, back_s=0.001))
    clock.learn(_exchange(100.3, ahead_s=7.0, there_s=0.3, does_s=0.0, back_s=0.0))
    assert clock.ours(107.3) == pytest.approx(100.3)
    assert clock.worst_s == pytest.approx(0.001 + SLEW * 0.3, abs=1e-4)
