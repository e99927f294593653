"""Real breakers, seen from outside and held against what they wrote down themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.targets, pytest.mark.timeout(240)]

EVERYTHING = "error,hang,slow,refuse,reset,not-found"
FOUND = {
    "outer-timeout-not-counted": ("error,hang", "timeouts-not-counted"),
    "500-returned-is-success": ("error,hang", "errors-not-counted"),
    "slow-never-counted": ("error,hang,slow", "slow-never-counted"),
    "lock-serialises": ("error,hang", "serialises-calls"),
    "half-open-stampede": ("error,hang", "half-open-stampede"),
    "half-open-waiters": ("error,hang", "half-open-waiters"),
    "stuck-half-open": ("error", "stuck"),
    "never-closes-under-traffic": ("error,pause", "closes-only-in-quiet"),
    "late-success-closes": ("error,late-success", "late-success-closes"),
    "late-failure-rearms": ("error,hang", "late-failure-rearms"),
    "late-trial-reopens": ("error,hang,late-failure", "relapses-on-late-failures"),
    "open-time-from-call-start": ("error,hang", "open-time-from-call-start"),
    "retries-inside": ("error,hang", "retries-multiply"),
    "retries-outside-open-error": ("error", "rejections-wait"),
    "fallback-swallows": ("error", "fallback-hides-failures"),
    "new-breaker-per-request": ("error,hang", "never-opens"),
    "4xx-counted": ("error,not-found", "client-errors-open-it"),
    "4xx-resets": ("error,interleaved", "client-errors-mask-failures"),
    "caller-cancel-counted": ("error,hang,slow,cancel", "cancelled-calls-open-it"),
    "overhang": ("error,hang", "results-counted-late"),
    "bulkhead-counted": ("error,hang,slow,burst", "full-bulkhead-opens-it"),
    "tumbling-window-min-volume": ("error,low-rate", "needs-a-rate-to-open"),
    "active-check-overrides": ("error,hang,slow,not-found", "active-check-overrides"),
    "wrong-layer": ("error", "never-opens"),
}
"""A bug that is written into the service -> what makes it visible, and the finding that must come of it."""
FOLLOWS = {
    "fallback-swallows": {"never-opens"},
    "slow-never-counted": {"no-timeout"},
    "late-trial-reopens": {"half-open-stampede"},
}
"""What is true besides, as a consequence."""
PATIENT = {"late-success-closes": 0.5, "late-trial-reopens": 0.8}
"""Services that wait longer, so that more is under way when the breaker changes."""


def test_a_correct_breaker_is_seen_as_it_is_and_nothing_is_found(exercise: Callable[..., Any]) -> None:
    """Every state and transition of its own log, under each kind of fault, and no finding."""
    came = exercise("own", kinds=EVERYTHING)
    assert came.sequence == ["closed", *(step.to for step in came.truth)], came.answer["answer"]
    assert came.misplaced() == []
    assert came.bugs == set()
    assert came.answer["machine"]["kind"] == "breaker"
    assert came.told["verdict"] == "HELD"
    assert came.answer["properties"]["failures_to_open"]["estimate"] == 5
    wait = came.answer["properties"]["time_to_half_open_s"]
    assert wait["low"] - 0.02 <= 1.0 <= wait["high"] + 0.02


def test_a_library_of_the_field_is_seen_as_it_is(exercise: Callable[..., Any]) -> None:
    """The `circuitbreaker` package: its stampede, and the open time that late failures prolong.

    A success that comes in late closes it from open, at times; seen from outside its call was a trial.
    """
    came = exercise("circuitbreaker", kinds="error,hang,slow,refuse,reset")
    told = ["closed"]
    for step in came.truth:
        told += ["half_open", "closed"] if (step.was, step.to) == ("open", "closed") else [step.to]
    assert came.sequence == told, came.answer["answer"]
    assert came.bugs - {"late-success-closes"} == {"half-open-stampede", "late-failure-rearms"}
    assert came.told["verdict"] == "DEVIATED"
    assert "Half-open stampede" in came.told["reason"]


def test_nothing_is_found_on_a_correct_breaker_in_the_extra_phases(exercise: Callable[..., Any]) -> None:
    """Two faults at once, other rates, impatient callers: the detectors know what bends counts and times."""
    came = exercise("own", kinds="error,hang,slow,late-success,interleaved,cancel,burst,low-rate")
    assert came.bugs == set(), came.answer["answer"]
    assert came.answer["skipped"] == {}
    played = {each["kind"] for each in came.answer["phases"]}
    assert played >= {"late-success", "interleaved", "cancel", "burst", "low-rate"}
    assert all(each["purpose"] for each in came.answer["phases"])


@pytest.mark.parametrize("bug", FOUND)
def test_a_bug_that_is_written_in_is_found_and_nothing_else(exercise: Callable[..., Any], bug: str) -> None:
    """The finding has its name, and no other bug is blamed."""
    kinds, finding = FOUND[bug]
    came = exercise("own", kinds=kinds, bug=bug, timeout_s=PATIENT.get(bug, 0.3))
    assert came.bugs == {finding} | FOLLOWS.get(bug, set()), came.answer["answer"]
    assert came.answer["machine"]["three_state"], came.answer["machine"]
    assert came.told["verdict"] == "DEVIATED"


def test_a_bulkhead_around_a_breaker_is_not_taken_for_its_states(exercise: Callable[..., Any]) -> None:
    """It is full, and turns calls away, and the breaker inside learns nothing of it: its own log says so."""
    came = exercise("own", kinds="error,hang,slow,burst", bug="bulkhead-outside")
    assert came.bugs == set(), came.answer["answer"]
    assert came.sequence == ["closed", *(step.to for step in came.truth)], came.answer["answer"]
    assert any("no more than 10 calls in at a time" in note for note in came.answer["notes"])


def test_a_breaker_beside_an_active_check_is_not_blamed_for_it(exercise: Callable[..., Any]) -> None:
    """The check is answered while calls fail, and nothing comes of it: no finding; its requests are noted."""
    came = exercise("own", kinds="error,hang", bug="active-check-watched")
    assert came.bugs == set(), came.answer["answer"]
    assert any("checked actively" in note for note in came.answer["notes"])
