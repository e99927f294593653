"""Real services that do not ask once a call: it is said so, and their states are right all the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.targets, pytest.mark.timeout(240)]


def test_a_service_that_hedges(exercise: Callable[..., Any]) -> None:
    """One answer in eight is slow, and after 150 ms it asks a second time; that is no retry, and no bug."""
    slow = {"latency_ms": 5, "tail_ms": 400}
    came = exercise("own", kinds="error", order="hedged", rate_rps=40, timeout_s=1.0, dependency=slow)
    assert came.answer["asking"]["hedged"] > 0
    assert came.answer["asking"]["hedge_after_s"] == pytest.approx(0.15, abs=0.03)
    assert came.answer["asking"]["retried"] == 0
    assert (came.misplaced(), came.bugs) == ([], set()), came.answer["answer"]


def test_a_service_that_coalesces(exercise: Callable[..., Any]) -> None:
    """Most callers wait for somebody else's answer, and nobody kept them back."""
    came = exercise("own", kinds="error", order="coalesced", dependency={"latency_ms": 30})
    assert came.answer["asking"]["joined"] > 50
    assert (came.misplaced(), came.bugs) == ([], set()), came.answer["answer"]
