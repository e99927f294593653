"""Kills and pauses processes that carry a name in their environment (``GAMEDAY_PROCESS``)."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent import detached
from agent import settings as settings_of
from agent.clients.processes import HOME, NAME, Named, is_alive, is_stopped, named, send
from agent.model import Call, Fact, NoTargets, UsageError
from agent.safety.context import run_folder
from agent.safety.door import inject
from agent.safety.targets import Choice

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agent.model import Json

CHECK_WITHIN_S = 2.0
POLL_S = 0.02


def kill(
    *,
    selector: str,
    quantity: int | None = None,
    fraction: float | None = None,
    seed: int | None = None,
    restart: list[str] | None = None,
    max_duration_s: float = 60.0,
) -> dict[str, Json]:
    """Kill named processes, each with its whole tree, by SIGKILL.

    Args:
        selector: Glob over names, such as ``sandbox/shard-*``.
        quantity: How many names; give this or *fraction*, or neither for one.
        fraction: Which share of the matching names, rounded down.
        seed: Repeats the choice.
        restart: Argument list that starts the process again, for one that no supervisor restarts.
        max_duration_s: How long the replacement may take before the fault counts as not recovered.

    Returns:
        ``{"victims": ["sandbox/shard-2"], "landed": true, "dose": {"measured": {"processes": 1}}}``

    Raises:
        NoTargets: No name matches.  Nothing was killed.
        RadiusExceeded: More would be hit than the run may hit.  Nothing was killed.

    Undo:
        Waits for the supervisor's replacement, or runs *restart* once; harmless if it is back.

    Dead man:
        The supervisor that restarts what dies, or the reaper, which runs *restart*.
    """
    home = settings_of.current().home
    choice = Choice(quantity=quantity, fraction=fraction, seed=seed)
    victims, processes, population = _choose(selector, choice, home)
    names: list[Json] = list(victims)
    killed: list[Json] = [_json(each) for each in processes]
    arguments: dict[str, Json] = {"names": names, "killed": killed, "home": str(home)}
    return inject(
        fault="processes.kill",
        victims=victims,
        population=population,
        apply=lambda: send(processes, signal.SIGKILL),
        undo=Call(func=f"{__name__}:bring_back", arguments={**arguments, "restart": list(restart or [])}),
        landed_check=Call(func=f"{__name__}:are_dead", arguments={"killed": killed}),
        gone_check=Call(func=f"{__name__}:are_back", arguments=arguments),
        max_duration_s=max_duration_s,
        asked={"processes": len(processes)},
    )


def pause(
    *,
    selector: str,
    quantity: int | None = None,
    fraction: float | None = None,
    seed: int | None = None,
    max_duration_s: float = 60.0,
) -> dict[str, Json]:
    """Stop named processes, each with its whole tree, by SIGSTOP: alive, and silent.

    Args:
        selector: Glob over names, such as ``sandbox/shard-*``.
        quantity: How many names; give this or *fraction*, or neither for one.
        fraction: Which share of the matching names, rounded down.
        seed: Repeats the choice.
        max_duration_s: The processes go on after this, whatever happens, > 0.

    Returns:
        ``{"victims": [...], "landed": true, "dose": {"measured": {"processes": 1, "stopped_s": 8.0}}}``

    Raises:
        NoTargets: No name matches.  Nothing was stopped.
        RadiusExceeded: More would be hit than the run may hit.  Nothing was stopped.

    Undo:
        SIGCONT to those very processes; harmless to one that runs or is dead.

    Dead man:
        The reaper; and a timer process of its own session that continues them after
        *max_duration_s*.
    """
    home = settings_of.current().home
    choice = Choice(quantity=quantity, fraction=fraction, seed=seed)
    victims, processes, population = _choose(selector, choice, home)
    stopped: list[Json] = [_json(each) for each in processes]

    def apply() -> None:
        _start_timer(stopped, max_duration_s)
        send(processes, signal.SIGSTOP)

    return inject(
        fault="processes.pause",
        victims=victims,
        population=population,
        apply=apply,
        undo=Call(
            func=f"{__name__}:go_on",
            arguments={"stopped": stopped, "since": time.time(), "max_duration_s": max_duration_s},
        ),
        landed_check=Call(func=f"{__name__}:are_stopped", arguments={"stopped": stopped}),
        gone_check=Call(func=f"{__name__}:are_going", arguments={"stopped": stopped}),
        max_duration_s=max_duration_s,
        asked={"processes": len(processes)},
    )


# undo and checks: what the ledger names


def bring_back(*, names: list[str], killed: list[dict[str, Any]], home: str, restart: list[str]) -> None:
    """Run *restart* for each name that has not come back; without it the supervisor does the work."""
    if not restart:
        return
    with (run_folder(Path(home), ".") / "restart.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several rescuers at once restart it once
        for name in names:
            if not _back(name, killed, Path(home)):
                _start(name, restart, home)
                _until(lambda name=name: bool(_back(name, killed, Path(home))))  # type: ignore[misc]


def are_dead(*, killed: list[dict[str, Any]]) -> Fact:
    """Tell whether every one of the very processes is dead; a zombie is."""
    processes = [Named(**each) for each in killed]
    _until(lambda: not any(map(is_alive, processes)))
    alive = [each.pid for each in processes if is_alive(each)]
    says = f"still alive: {alive}" if alive else ""
    return Fact(holds=not alive, says=says, measured={"processes": len(processes) - len(alive)})


def are_back(*, names: list[str], killed: list[dict[str, Any]], home: str) -> Fact:
    """Tell whether every name is carried again by a live process that is not one of the killed."""
    missing = [name for name in names if not _back(name, killed, Path(home))]
    says = f"nobody has restarted {', '.join(missing)} yet" if missing else ""
    return Fact(holds=not missing, says=says)


def go_on(*, stopped: list[dict[str, Any]], since: float, max_duration_s: float) -> Fact:
    """Continue the stopped processes; say so if the timer had to do it first."""
    processes = [Named(**each) for each in stopped]
    lapsed = time.time() - since
    early = lapsed < max_duration_s and not any(map(is_stopped, processes))
    send(processes, signal.SIGCONT)
    says = "the processes were going on again before the heal" if early else ""
    stopped_s = round(min(lapsed, max_duration_s), 3)
    return Fact(holds=not early, says=says, measured={"stopped_s": stopped_s})


def are_stopped(*, stopped: list[dict[str, Any]]) -> Fact:
    """Tell whether every one of the very processes is stopped."""
    processes = [Named(**each) for each in stopped]
    _until(lambda: all(map(is_stopped, processes)))
    going = [each.pid for each in processes if not is_stopped(each)]
    says = f"not stopped: {going}" if going else ""
    return Fact(holds=not going, says=says, measured={"processes": len(processes) - len(going)})


def are_going(*, stopped: list[dict[str, Any]]) -> Fact:
    """Tell whether none of the very processes is stopped; a dead one is not."""
    processes = [Named(**each) for each in stopped]
    _until(lambda: not any(map(is_stopped, processes)))
    still = [each.pid for each in processes if is_stopped(each)]
    return Fact(holds=not still, says=f"still stopped: {still}" if still else "")


def _choose(selector: str, choice: Choice, home: Path) -> tuple[tuple[str, ...], list[Named], int]:
    """Return the chosen names, their processes, and how many names their group has."""
    if "/" not in selector:
        raise UsageError(f"selector {selector!r} names no group; write it as <group>/<name>")
    found = named(selector, home=home)
    if not found:
        raise NoTargets(f"no process carries {NAME}={selector}; nothing was touched")
    victims = choice.of([each.name for each in found])
    group = selector.partition("/")[0]
    population = len({each.name for each in named(f"{group}/*", home=home)})
    return victims, [each for each in found if each.name in victims], population


def _back(name: str, killed: list[dict[str, Any]], home: Path) -> Sequence[Named]:
    dead = {(each["pid"], each["create_time"]) for each in killed}
    return [each for each in named(name, home=home) if (each.pid, each.create_time) not in dead]


def _start(name: str, restart: list[str], home: str) -> None:
    detached.start(restart, environ={**os.environ, NAME: name, HOME: home})


_TIMER = """
import json, sys, time
from agent.faults.processes import go_on
stopped, s = json.loads(sys.argv[1]), float(sys.argv[2])
time.sleep(s)
go_on(stopped=stopped, since=0.0, max_duration_s=s)
"""


def _start_timer(stopped: list[Json], max_duration_s: float) -> None:
    """Start the process that continues the stopped ones when nobody else is left to do it."""
    detached.start([sys.executable, "-c", _TIMER, json.dumps(stopped), str(max_duration_s)])


def _json(process: Named) -> dict[str, Json]:
    return {"name": process.name, "pid": process.pid, "create_time": process.create_time}


def _until(condition: Callable[[], bool]) -> None:
    """Wait until *condition* holds or the time for a check is over."""
    deadline = time.monotonic() + CHECK_WITHIN_S
    while not condition() and time.monotonic() < deadline:
        time.sleep(POLL_S)
