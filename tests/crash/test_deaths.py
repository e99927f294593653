"""A run may die at any step; what it broke does not stay broken."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import time
from typing import TYPE_CHECKING, Any

import psutil
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Stage

STEPS = ["before_record", "after_record", "after_apply", "landing", "before_heal", "during_heal"]


@pytest.mark.parametrize("step", STEPS)
def test_a_run_that_dies_at_any_step_is_healed_and_judged_by_its_parent(stage: Stage, step: str) -> None:
    """The child is killed at the step; the parent heals, reports INCONCLUSIVE, and leaves nothing open."""
    code, told, errors = stage.gameday("run", str(stage.experiment(die_at=step)), "--json")
    assert (code, told["verdict"], told["recovered"]) == (3, "INCONCLUSIVE", True), errors
    assert not stage.broken.exists()
    assert stage.open_injections() == ()


@pytest.mark.parametrize("step", STEPS)
def test_under_plain_chaos_run_the_reaper_heals_a_death_at_any_step(
    stage: Stage, step: str, until: Callable[..., Any]
) -> None:
    """`chaos run` itself is killed at the step, and nobody is left but the reaper."""
    path = stage.experiment(die_at=step)
    chaos = stage.start("chaostoolkit", "--no-version-check", "run", str(path))
    assert chaos.wait(60) == -signal.SIGKILL
    until(lambda: not stage.broken.exists() and stage.open_injections() == ())


@pytest.mark.parametrize("who", ["parent", "child", "both", "both groups"])
def test_whoever_is_killed_while_the_fault_is_in_it_goes_away(
    stage: Stage, who: str, until: Callable[..., Any]
) -> None:
    """SIGKILL to parent, child, or both with their process groups; the reaper is in neither."""
    parent = stage.start("agent", "run", str(stage.experiment(hold_s=25)), "--json")
    until(lambda: [i for i in stage.open_injections() if i.landed])
    child = _child_of(stage)
    if who in ("child", "both", "both groups"):
        child.kill()
    if who in ("parent", "both"):
        parent.kill()
    if who == "both groups":
        os.killpg(parent.pid, signal.SIGKILL)
    until(lambda: not stage.broken.exists() and stage.open_injections() == ())
    until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


def test_when_even_the_reaper_is_killed_the_next_command_heals(
    stage: Stage, until: Callable[..., Any]
) -> None:
    """Everything of the run dies at once; `gameday heal` finds the record and mends."""
    stage.start("agent", "run", str(stage.experiment(hold_s=25)), "--json")
    until(lambda: [i for i in stage.open_injections() if i.landed])
    stage.kill_all()
    until(lambda: not stage.processes())
    assert stage.broken.exists()
    code, _, errors = stage.gameday("heal")
    assert code == 0, errors
    assert not stage.broken.exists()
    assert stage.open_injections() == ()


def test_a_run_that_is_stopped_by_sigstop_is_healed(stage: Stage, until: Callable[..., Any]) -> None:
    """The child is neither dead nor alive; its beats stop, and that is enough."""
    stage.start("agent", "run", str(stage.experiment(hold_s=25)), "--json")
    until(lambda: [i for i in stage.open_injections() if i.landed])
    _child_of(stage).suspend()
    until(lambda: not stage.broken.exists() and stage.open_injections() == ())


def test_a_store_that_somebody_has_locked_holds_up_no_healing(
    stage: Stage, until: Callable[..., Any]
) -> None:
    """A process that is stopped in the middle of a write holds the lock for ever; undoing needs none."""
    stage.start("agent", "run", str(stage.experiment(hold_s=25)), "--json")
    until(lambda: [i for i in stage.open_injections() if i.landed])
    child = _child_of(stage)
    with contextlib.closing(sqlite3.connect(stage.home / "gameday.db")) as locked:
        locked.execute("BEGIN IMMEDIATE")
        child.kill()
        until(lambda: not stage.broken.exists(), within_s=4.8)  # less than the lock is waited for
    until(lambda: stage.open_injections() == ())


def test_a_store_that_is_locked_for_a_while_ends_no_healthy_run(
    stage: Stage, until: Callable[..., Any]
) -> None:
    """Who writes to it waits, and the beats go on: a backup, or a slow disk, is no run that hangs."""
    process = stage.start("agent", "run", str(stage.experiment(hold_s=12)), "--json")
    until(lambda: [i for i in stage.open_injections() if i.landed])
    with contextlib.closing(sqlite3.connect(stage.home / "gameday.db")) as locked:
        locked.execute("BEGIN IMMEDIATE")
        since = time.monotonic()  # the store is told every 5 s, and a reaper is patient for 2 s
        until(lambda: time.monotonic() - since > 8.0)
    out, errors = process.communicate(timeout=40)
    assert json.loads(out)["verdict"] == "HELD", (out, errors)


def test_a_fault_ends_after_its_longest_duration_though_the_run_goes_on(
    stage: Stage, until: Callable[..., Any]
) -> None:
    """max_duration_s is a hard end, whatever the method still waits for."""
    stage.start("agent", "run", str(stage.experiment(hold_s=25, max_duration_s=1.0)), "--json")
    until(stage.broken.exists)
    until(lambda: not stage.broken.exists() and stage.open_injections() == ())
    assert _child_of(stage).is_running()


def test_a_slow_undo_of_an_overdue_fault_is_no_silence_of_the_run(
    stage: Stage, until: Callable[..., Any]
) -> None:
    """While the reaper undoes for longer than its patience with beats, it does not take the run for dead."""
    path = stage.experiment(hold_s=25, max_duration_s=1.0, die_at="slow_heal")
    stage.start("agent", "run", str(path), "--json")
    until(stage.broken.exists)
    child = _child_of(stage)
    until(lambda: not stage.broken.exists() and stage.open_injections() == ())
    assert child.is_running()
    assert child.status() != psutil.STATUS_ZOMBIE


def test_a_reaper_that_dies_is_replaced(stage: Stage, until: Callable[..., Any]) -> None:
    """The run is never left unguarded: the next death is healed as well."""
    stage.start("agent", "run", str(stage.experiment(hold_s=25)), "--json")
    until(lambda: [i for i in stage.open_injections() if i.landed])
    first, child = _reaper_of(stage), _child_of(stage)
    assert first
    first.kill()
    until(lambda: (now := _reaper_of(stage)) and now.pid != first.pid)
    child.kill()
    until(lambda: not stage.broken.exists() and stage.open_injections() == ())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_parent_ends_healed_and_with_a_report(
    stage: Stage, number: signal.Signals, until: Callable[..., Any]
) -> None:
    """The first signal heals and reports, and a second one does not skip that."""
    parent = stage.start("agent", "run", str(stage.experiment(hold_s=25)), "--json")
    until(lambda: [i for i in stage.open_injections() if i.landed])
    parent.send_signal(number)
    parent.send_signal(number)
    out, errors = parent.communicate(timeout=30)
    assert parent.returncode == 3, errors
    assert number.name in out
    assert not stage.broken.exists()


def test_halt_stops_a_running_run_and_refuses_the_next(stage: Stage, until: Callable[..., Any]) -> None:
    """The kill switch heals what is in, and nothing starts until it is lifted."""
    path = str(stage.experiment(hold_s=25))
    parent = stage.start("agent", "run", path, "--json")
    until(lambda: [i for i in stage.open_injections() if i.landed])
    assert stage.gameday("halt", "--reason", "fire")[0] == 0
    out, errors = parent.communicate(timeout=30)
    assert parent.returncode == 3, errors
    assert "fire" in out
    assert not stage.broken.exists()
    code, told, _ = stage.gameday("run", path, "--json")
    assert (code, told["verdict"]) == (4, "REFUSED")
    assert stage.gameday("resume")[0] == 0


def test_the_watch_heals_in_the_middle_of_a_blocking_pause(stage: Stage) -> None:
    """The steady state is lost, the abort rule is met, and nobody waits for the 25 s to be over."""
    path = stage.experiment(
        hold_s=25,
        probe={"func": "is_whole", "arguments": {"path": str(stage.broken)}},
        gameday={"watch": {"every_s": 0.1, "abort_after_s": 0.2}},
    )
    code, told, errors = stage.gameday("run", str(path), "--json", timeout_s=22)
    assert (code, told["verdict"], told["aborted"]) == (1, "DEVIATED", True), errors
    assert told["injections"][0]["gone"] is True
    assert not stage.broken.exists()


def test_a_run_whose_owner_lives_is_left_alone(stage: Stage, until: Callable[..., Any]) -> None:
    """`gameday heal` beside a run that goes on heals nothing of it."""
    parent = stage.start("agent", "run", str(stage.experiment(hold_s=25)), "--json")
    until(lambda: [i for i in stage.open_injections() if i.landed])
    assert stage.gameday("heal")[0] == 0
    assert stage.broken.exists()
    parent.terminate()
    parent.communicate(timeout=30)
    assert not stage.broken.exists()


def _child_of(stage: Stage) -> psutil.Process:
    """Return the process that plays: the reaper knows its pid."""
    reaper = _reaper_of(stage)
    assert reaper, "there is no reaper"
    words = reaper.cmdline()
    return psutil.Process(int(words[words.index("--pid") + 1]))


def _reaper_of(stage: Stage) -> psutil.Process | None:
    for process in stage.processes():
        with contextlib.suppress(psutil.Error):
            if "agent.safety.reaper" in process.cmdline():
                return process
    return None
