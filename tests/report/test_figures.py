"""The key figures."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from agent.model import Look, RunRecord
from agent.report.figures import coverage, figures, share

if TYPE_CHECKING:
    from collections.abc import Sequence


def look(at: float, steady: bool | None) -> Look:
    """Return a look that took 10 ms."""
    return Look(at=at, ended_at=at + 0.01, steady=steady, readings=())


def with_looks(record: RunRecord, looks: Sequence[Look]) -> RunRecord:
    """Return *record*, its fault in from 110 to 120, with other looks and no traffic."""
    one = replace(record.injections[0], intended_at=109.9, applied_at=110.0, landed_at=110.1, healed_at=120.0)
    return record.with_(
        started_at=100.0,
        ended_at=140.0,
        injections=(one,),
        looks=tuple(looks),
        traffic=(),
        marks=(),
        activities=(),
    )


def every_half_second(unsteady: set[float], unknown: set[float] = frozenset()) -> list[Look]:  # type: ignore[assignment]
    """Return looks from 100 to 140, steady but at the times named."""
    times = [100 + k / 2 for k in range(80)]
    return [look(t, None if t in unknown else t not in unsteady) for t in times]


def test_detection_counts_from_applied_to_the_end_of_the_first_unsteady_look(
    stories: dict[str, RunRecord],
) -> None:
    """An unsteady look before the fault detects nothing."""
    told = figures(with_looks(stories["held"], every_half_second({105.0, 112.0, 112.5})))
    assert told.detect_s == pytest.approx(2.01)
    assert told.unsteady_s == pytest.approx(1.0)


def test_recovery_counts_to_the_look_after_which_it_stayed_steady(stories: dict[str, RunRecord]) -> None:
    """A steady look between two unsteady ones is no recovery, and an unknown one is not steady."""
    told = figures(with_looks(stories["held"], every_half_second({120.0, 121.0}, {122.0})))
    assert told.recover_s == pytest.approx(2.51)


def test_no_recovery_is_claimed_without_a_steady_last_look(stories: dict[str, RunRecord]) -> None:
    """Nobody looked after the heal, or the last look was not steady: no figure."""
    looks = every_half_second(set())
    assert figures(with_looks(stories["held"], looks[:30])).recover_s is None
    assert figures(with_looks(stories["held"], [*looks, look(140.0, None)])).recover_s is None


def test_a_fault_that_is_still_in_has_no_recovery(stories: dict[str, RunRecord]) -> None:
    """The window stays open to the last moment of the record."""
    told = figures(stories["not_recovered"])
    assert told.fault is not None
    assert not told.fault.closed
    assert told.recover_s is None


def test_a_gap_in_the_looks_belongs_to_nobody() -> None:
    """When the watch fell silent, its last answer is not stretched over the silence."""
    spells = coverage([look(0, True), look(1, True), look(2, False), look(30, True), look(31, True)])
    assert [s.end for s in spells] == pytest.approx([1, 2, 5, 31, 32])


def test_unsteady_and_unknown_time_never_exceed_the_fault(stories: dict[str, RunRecord]) -> None:
    """Seconds are counted inside the fault only."""
    for record in stories.values():
        told = figures(record)
        if told.unsteady_s is not None:
            assert told.fault_s is not None
            assert told.unsteady_s + (told.unknown_s or 0) <= told.fault_s + 1e-6


@given(st.integers(1, 3000), st.data())
def test_the_interval_is_the_exact_binomial_one(n: int, data: st.DataObject) -> None:
    """The bounds are those of scipy's binomtest, and hold the ratio between them."""
    k = data.draw(st.integers(0, n))
    made = share(k, n)
    exact = binomtest(k, n).proportion_ci(method="exact")
    assert made is not None
    assert (made.low, made.high) == pytest.approx((exact.low, exact.high), abs=1e-9)
    assert made.low <= made.ratio <= made.high


def test_nothing_counted_is_no_ratio() -> None:
    """No sample, or more successes than samples, gives no figure rather than a wrong one."""
    assert share(0, 0) is None
    assert share(3, 2) is None


def test_each_request_is_counted_once(stories: dict[str, RunRecord]) -> None:
    """Before, during and after add up to the whole run."""
    told = figures(stories["deviated"])
    assert [s.name for s in told.stretches] == ["before", "during the fault", "after"]
    assert sum(s.n for s in told.stretches) == told.requests == sum(b.n for b in stories["deviated"].traffic)
