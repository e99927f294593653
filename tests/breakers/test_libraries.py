"""Libraries of the field as they come: the bugs that they are known for, and no others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.targets, pytest.mark.timeout(240)]


def test_a_library_with_its_timeout_outside_counts_no_timeout(exercise: Callable[..., Any]) -> None:
    """`circuitbreaker` sees a cancelled call, and takes it for a success."""
    came = exercise("circuitbreaker", kinds="error,hang", bug="outer-timeout-not-counted")
    assert came.bugs == {"timeouts-not-counted"}, came.answer["answer"]


def test_a_late_success_closes_a_library_of_the_field(exercise: Callable[..., Any]) -> None:
    """`circuitbreaker` closes from open when a call from before comes out well, as its log has it."""
    came = exercise("circuitbreaker", kinds="error,late-success", timeout_s=0.5)
    assert ("open", "closed") in {(step.was, step.to) for step in came.truth}
    assert came.bugs == {"late-success-closes"}, came.answer["answer"]


def test_pybreaker_guards_its_calls_with_a_lock(exercise: Callable[..., Any]) -> None:
    """One call at a time, whoever waits."""
    came = exercise("pybreaker", kinds="error,hang")
    assert came.bugs == {"serialises-calls"}, came.answer["answer"]


def test_aiobreaker_knows_no_limit_while_half_open(exercise: Callable[..., Any]) -> None:
    """Everybody is let in when it tries again, and failures that come in late prolong the open time."""
    came = exercise("aiobreaker", kinds="error,hang")
    assert came.bugs == {"half-open-stampede", "late-failure-rearms"}, came.answer["answer"]


def test_trials_of_purgatory_that_fail_late_open_it_again(exercise: Callable[..., Any]) -> None:
    """They were let in together; the first good one closes it, and the others still hang and fail then."""
    came = exercise("purgatory", kinds="error,hang,late-failure", timeout_s=0.8)
    assert came.bugs == {"half-open-stampede", "relapses-on-late-failures"}, came.answer["answer"]


def test_late_trials_of_resilient_circuit_open_it_again(exercise: Callable[..., Any]) -> None:
    """Ten results close it, and what the other trials come to counts in the closed state."""
    came = exercise("resilient-circuit", kinds="error,hang,late-failure", timeout_s=0.8)
    assert came.bugs == {"half-open-stampede", "relapses-on-late-failures"}, came.answer["answer"]
