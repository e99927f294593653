"""A clock that was set is right again by itself, whatever dies, also in the middle of setting it."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Clocked, Stage

SLOWLY = """
import sys, time
from pathlib import Path
file, offset = sys.argv[1:]
if offset != "+0":
    Path(file + ".begun").touch()
    time.sleep(1.5)
Path(file).write_text(offset)
"""


@pytest.fixture
def play(stage: Stage, clocked: Clocked) -> Callable[..., None]:
    """Start a run that sets the service's clock ahead, and stays in that for a while."""

    def start(command: list[str], *, max_duration_s: float = 60.0) -> None:
        arguments = {"by_s": 30, "command": command, "url": clocked.url, "max_duration_s": max_duration_s}
        act = {"type": "python", "module": "agent.faults.clocks", "func": "step", "arguments": arguments}
        method = [{"name": "set", "type": "action", "provider": act, "pauses": {"after": 25}}]
        stage.start("agent", "run", str(stage.experiment(method=method)), "--json")

    return start


def is_in(stage: Stage) -> list[Any]:
    """Return the injections that landed and are in."""
    return [each for each in stage.open_injections() if each.landed]


def test_when_the_run_is_killed_the_clock_is_set_right(
    stage: Stage, clocked: Clocked, play: Callable[..., None], until: Callable[..., Any]
) -> None:
    """Parent and child at once; the reaper does it and closes the book."""
    play(clocked.command)
    until(lambda: is_in(stage))
    assert clocked.offset == "+30"
    for each in [each for each in stage.processes() if "agent.safety.reaper" not in each.cmdline()]:
        each.kill()
    until(lambda: stage.open_injections() == ())
    assert clocked.offset == "+0"


def test_when_everything_is_killed_the_timer_sets_the_clock_right(
    stage: Stage, clocked: Clocked, play: Callable[..., None], until: Callable[..., Any]
) -> None:
    """The reaper too: only the timer of the step is left."""
    play(clocked.command, max_duration_s=4.0)
    until(lambda: is_in(stage))
    timer = next(each.pid for each in stage.processes() if any("set_right" in one for one in each.cmdline()))
    stage.kill_all(but=(timer,))
    assert clocked.offset == "+30"
    until(lambda: clocked.offset == "+0")
    code, _, errors = stage.gameday("heal")
    assert code == 0, errors
    assert stage.open_injections() == ()


def test_a_command_that_outlives_its_run_does_not_have_the_last_word(
    stage: Stage, clocked: Clocked, play: Callable[..., None], until: Callable[..., Any]
) -> None:
    """Killed while the clock is being set: the undo waits for the command that is still under way."""
    file = clocked.file
    play([sys.executable, "-c", SLOWLY, str(file), "{offset_s}"])
    until((file.parent / f"{file.name}.begun").exists)
    spared = {"agent.safety.reaper", SLOWLY}
    for each in [each for each in stage.processes() if not spared.intersection(each.cmdline())]:
        each.kill()
    until(lambda: stage.open_injections() == () and clocked.offset == "+0")
    runs = [json.loads(path.read_text()) for path in stage.home.glob("runs/*/record.json")]
    assert all(run.get("recovered", True) for run in runs)
