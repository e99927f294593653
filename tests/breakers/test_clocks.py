"""Breakers whose services have a wall clock of their own, which is set ahead and back while they are open."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.targets, pytest.mark.timeout(240)]


OPEN_S = 3.0
"""Long beside the time that it takes to set a clock."""


@pytest.mark.parametrize("name", ["own", "aiobreaker", "nginx"])
def test_a_breaker_that_looks_at_the_wall_clock_is_found(exercise: Callable[..., Any], name: str) -> None:
    """It tries at once when the clock is ahead, not at all while it is behind; and ends closed."""
    bug = {"bug": "wall-clock"} if name == "own" else {}
    came = exercise(name, kinds="error,clock-step", own_clock=True, open_s=OPEN_S, **bug)
    assert came.bugs == {"follows-wall-clock"}, came.answer["answer"]
    assert came.truth[-1].to == "closed", (came.truth, came.answer["phases"], came.answer["skipped"])


@pytest.mark.parametrize("name", ["own", "circuitbreaker"])
def test_a_breaker_with_a_monotonic_clock_is_not_blamed(exercise: Callable[..., Any], name: str) -> None:
    """The same steps, which its open time does not follow."""
    came = exercise(name, kinds="error,clock-step", own_clock=True, open_s=OPEN_S)
    assert came.bugs == set(), came.answer["answer"]
    steps = [each["clock_s"] for each in came.answer["phases"] if each.get("clock_s")]
    assert len(steps) == 3
