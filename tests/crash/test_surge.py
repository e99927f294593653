"""A raised load ends by itself, whatever dies: the agent, its child, its reaper, or all but the driver."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from agent.traffic import commands, offers

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import psutil
    from conftest import Stage


@pytest.fixture
def surging(stage: Stage, until: Callable[..., Any], upstream: str) -> Path:
    """The folder of a run whose load is raised from 50 to 200 rps."""
    arguments = {"url": f"http://{upstream}/", "rate_rps": 50, "rate_max_rps": 200}
    provider = {"type": "python", "module": "agent.controls.traffic", "arguments": arguments}
    act = {"type": "python", "module": "agent.faults.traffic", "func": "surge", "arguments": {"factor": 4}}
    path = stage.experiment(
        method=[{"name": "surge", "type": "action", "provider": act, "pauses": {"after": 25}}]
    )
    definition = json.loads(path.read_text())
    definition["controls"] = [{"name": "traffic", "provider": provider}]
    path.write_text(json.dumps(definition))
    stage.start("agent", "run", str(path), "--json")
    until(lambda: [i for i in stage.open_injections() if i.landed])
    return next((stage.home / "runs").iterdir())


def _driver(stage: Stage) -> psutil.Process:
    return next(each for each in stage.processes() if "agent.traffic" in each.cmdline())


def test_when_the_run_dies_the_load_falls_back(
    stage: Stage, surging: Path, until: Callable[..., Any]
) -> None:
    """Parent and child die at once: the driver ends with their pipe, and the reaper closes the book."""
    spared = {"agent.safety.reaper", "agent.traffic"}
    # All found before the first one is killed: a parent's death ends others, and a zombie has no words.
    for each in [each for each in stage.processes() if not spared.intersection(each.cmdline())]:
        each.kill()
    until(lambda: stage.open_injections() == ())
    with pytest.raises(commands.TrafficGone):
        commands.status(surging)


def test_when_everything_but_the_driver_is_frozen_the_lease_ends_the_surge(
    stage: Stage, surging: Path, until: Callable[..., Any]
) -> None:
    """A stopped run holds its pipes open, so that the driver lives on: at the plan's rate."""
    driver = _driver(stage)
    frozen = [each for each in stage.processes() if each != driver]
    for each in frozen:
        each.suspend()
    until(lambda: offers.read(surging)[-1].why == "lease lapsed")
    now = commands.status(surging)
    assert (now["surge"], now["offer"]["rate_rps"]) == (None, 50.0)
    for each in frozen:
        each.kill()
    until(lambda: not driver.is_running())
    code, _, errors = stage.gameday("heal")
    assert code == 0, errors
    assert stage.open_injections() == ()
