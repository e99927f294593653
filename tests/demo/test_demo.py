"""The first thing a new user sees."""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Stage


@pytest.mark.quiet
def test_the_demo_tells_the_truth_about_the_sandbox_and_leaves_nothing(stage: Stage) -> None:
    """Killing and partitioning are held, slowing deviates, and everything it started is stopped."""
    process = stage.start("agent", "demo")
    _, told = process.communicate(timeout=110)
    assert process.returncode == 0, told
    verdicts = re.findall(r"^(HELD|DEVIATED|INCONCLUSIVE|REFUSED)", told, re.MULTILINE)
    assert verdicts == ["HELD", "HELD", "DEVIATED"], told
    assert "latency-p95-ms" in told.replace("\n", "")
    assert len(list(stage.home.rglob("report.html"))) == 3
    assert stage.processes() == []


def test_ctrl_c_in_the_demo_heals_first(stage: Stage, until: Callable[..., Any]) -> None:
    """The fault is in when it comes; the run still has a verdict and a report, and nothing is left."""
    process = stage.start("agent", "demo")
    until(lambda: _open_faults(stage))
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 3, told
    assert "INCONCLUSIVE" in told
    assert "NOT RECOVERED" not in told
    assert len(list(stage.home.rglob("report.html"))) == 1
    assert stage.processes() == []


def _open_faults(stage: Stage) -> list[Any]:
    from agent.store import Store

    found: list[Any] = []
    for database in stage.home.rglob("gameday.db"):
        store = Store(database.parent)
        found += [each for each in store.injections(open_only=True) if each.landed]
        store.close()
    return found
