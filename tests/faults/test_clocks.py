"""Wall clocks of real processes, set by a command and set right again."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from agent.faults import clocks, heal
from agent.faults.clocks import ClockError
from agent.model import DidNotLand, UsageError
from agent.safety.context import current_run
from agent.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Clocked

FAILS = [sys.executable, "-c", "import sys; sys.exit('no such clock ' + sys.argv[1])", "{offset_s}"]


def step(service: Clocked, **more: Any) -> dict[str, Any]:
    """Set the service's clock 30 s ahead."""
    told: dict[str, Any] = clocks.step(
        **{"by_s": 30.0, "command": service.command, "url": service.url} | more  # type: ignore[arg-type]
    )
    return told


def test_a_step_lands_is_seen_in_the_answers_and_gone_after_heal(clocked: Clocked, home: Path) -> None:
    """Measured by the Date that the service sends; the undo is the same command with +0."""
    told = step(clocked)
    assert told["victims"] == [f"clock of {clocked.url}"]
    assert told["dose"]["measured"]["by_s"] == pytest.approx(30, abs=clocks.GRAIN_S)
    assert clocked.offset == "+30"
    assert heal() == {"healed": ["clocks.step"]}
    assert clocked.offset == "+0"
    store = Store(home)
    (injection,) = store.injections()
    store.close()
    assert injection.gone
    assert not list(current_run().folder.glob("clock-*"))


def test_a_clock_may_be_read_by_a_command(clocked: Clocked) -> None:
    """Where no answer has a Date, or not the service's."""
    told = step(clocked, url="", reading=clocked.reading, by_s=-20.0)
    assert told["dose"]["measured"]["by_s"] == pytest.approx(-20, abs=0.5)
    heal()
    assert clocked.offset == "+0"


def test_a_clock_is_set_right_by_itself_at_the_hard_end(clocked: Clocked, until: Callable[..., Any]) -> None:
    """The timer does it when nobody else is left to."""
    step(clocked, max_duration_s=2.5)
    until(lambda: clocked.offset == "+0")
    heal()


def test_the_timer_of_a_step_leaves_the_next_one_alone(clocked: Clocked, until: Callable[..., Any]) -> None:
    """It knows its own step, and that it is over."""
    step(clocked, max_duration_s=3.0)
    heal()
    since = time.monotonic()
    step(clocked, by_s=40.0)
    until(lambda: time.monotonic() > since + 4.0)
    assert clocked.offset == "+40"
    heal()
    assert clocked.offset == "+0"


@pytest.mark.parametrize(
    "wrong",
    [{"by_s": 1.0}, {"command": ["true"]}, {"command": "date {offset_s}"}, {"url": "", "reading": ()}],
)
def test_what_could_not_be_seen_or_undone_is_refused(clocked: Clocked, wrong: dict[str, Any]) -> None:
    """Before anything is touched."""
    with pytest.raises(UsageError):
        step(clocked, **wrong)
    assert clocked.offset == "+0"


def test_a_clock_that_cannot_be_read_is_not_set(clocked: Clocked) -> None:
    """Nobody could tell whether it is right again."""
    with pytest.raises(ClockError, match="cannot be read"):
        step(clocked, url="http://127.0.0.1:1/")
    assert clocked.offset == "+0"


def test_a_command_that_changes_nothing_did_not_land(clocked: Clocked) -> None:
    """It ran, and the clock did not move."""
    with pytest.raises(DidNotLand, match="moved by"):
        step(clocked, command=["true", "{offset_s}"])


def test_a_command_that_fails_says_its_words(clocked: Clocked, home: Path) -> None:
    """Its undo fails too, and so it is not recovered: the clock may be anything."""
    with pytest.raises(ClockError, match=r"no such clock \+30"):
        step(clocked, command=FAILS)
    store = Store(home)
    (injection,) = store.injections()
    store.close()
    assert injection.open
    assert "no such clock +0" in (injection.error or "")


def test_on_the_leash_no_clock_is_set(clocked: Clocked, monkeypatch: pytest.MonkeyPatch) -> None:
    """The victim and the undo are named, and that is all."""
    monkeypatch.setenv("GAMEDAY_LEASH", "1")
    said = step(clocked)
    assert said["leashed"]
    assert said["victims"] == [f"clock of {clocked.url}"]
    assert clocked.offset == "+0"
