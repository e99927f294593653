"""The run's own side of both dead men: it beats for the reaper and renews the platforms' leases.

Threads of the process that injects.  They never decide anything: when they stop, others heal.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import structlog

from agent import detached
from agent import settings as settings_of
from agent.model import GamedayError
from agent.safety.heal import heal
from agent.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from agent.model import Injection
    from agent.safety.context import RunContext

log = structlog.get_logger()

BEAT_S = 0.5
STORE_BEAT_S = 5.0
READY_WITHIN_S = 15.0

_started: dict[tuple[int, str], int] = {}
"""(pid, run) -> the pipe to its reaper; the pid is in the key so that a fork starts its own."""


class NoReaper(GamedayError):
    """The process that heals when this one dies could not be started; nothing was injected."""


def begin(run: RunContext, store: Store, *, preload: Sequence[str] = ()) -> None:
    """Start the reaper of *run* and this process's beats, if this is its first injection.

    *preload* names the modules that undo and check it.

    Raises:
        NoReaper: It did not come up in time; nothing was injected.
    """
    key = (os.getpid(), run.id)
    if key in _started:
        return
    _started[key] = pipe = _start_reaper(run, store, preload)
    # Each of its own: neither a platform that answers slowly nor a store that is locked for a while must
    # look like a run that hangs.
    _in_the_background("lifeline", lambda: _beat(run, pipe, store.home, preload))
    _in_the_background("leases", lambda: _keep_leases(run, store.home))
    _in_the_background("store-beats", lambda: _tell_store(run, store.home))


def _in_the_background(name: str, work: Callable[[], None]) -> None:
    threading.Thread(target=work, name=name, daemon=True).start()


def _start_reaper(run: RunContext, store: Store, preload: Sequence[str]) -> int:
    """Start the reaper in a session of its own and return the pipe that it watches."""
    read_end, write_end = os.pipe()
    parent_fd = settings_of.current().lifeline_fd
    watched = [read_end] if parent_fd is None else [read_end, parent_fd]
    command = [sys.executable, "-m", "agent.safety.reaper", "--run", run.id, "--home", str(store.home)]
    command += [
        "--pid",
        str(os.getpid()),
        "--pipes",
        ",".join(map(str, watched)),
        "--preload",
        ",".join(preload),
    ]
    if run.parent_owned:
        command.append("--group")
    with (run.folder / "reaper.log").open("ab") as errors:
        reaper = detached.start(command, stdout=subprocess.PIPE, stderr=errors, pass_fds=watched)
    os.close(read_end)
    if not _came_up(reaper):
        os.close(write_end)  # should it come up after all, it finds its run ended
        raise NoReaper(f"the reaper did not start; see {run.folder / 'reaper.log'}; nothing was injected")
    return write_end


def _came_up(reaper: subprocess.Popen[bytes]) -> bool:
    assert reaper.stdout is not None
    with reaper.stdout as said:
        ready = select.select([said], [], [], READY_WITHIN_S)[0]
        return bool(ready) and said.readline() == b"ready\n"


def _beat(run: RunContext, pipe: int, home: Path, preload: Sequence[str]) -> None:
    """Beat until this process ends."""
    store = Store(home)
    while True:
        try:
            os.write(pipe, b".")
        except BrokenPipeError:
            os.close(pipe)
            pipe = _replace_reaper(run, store, preload)
        except Exception as error:  # noqa: BLE001  # boundary: the reaper judges, not this thread
            log.warning("beat_failed", run=run.id, why=str(error))
        time.sleep(BEAT_S)


def _tell_store(run: RunContext, home: Path) -> None:
    """Tell the store now and then that this process lives, for agents that find the run later."""
    store = Store(home)
    while True:
        try:
            store.beat(run.id)
        except Exception as error:  # noqa: BLE001  # boundary: whether the run lives is not decided by this alone
            log.warning("beat_not_stored", run=run.id, why=str(error))
        time.sleep(STORE_BEAT_S)


def _keep_leases(run: RunContext, home: Path) -> None:
    """Renew the platforms' leases until this process ends."""
    store = Store(home)
    keeping: dict[str, threading.Thread] = {}
    renewed: dict[str, float] = {}
    while True:
        try:
            _renew_leases(store, run.id, renewed, keeping)
        except Exception as error:  # noqa: BLE001  # boundary: a lease that fails to renew ends its fault, which is safe
            log.warning("lease_not_renewed", run=run.id, why=str(error))
        time.sleep(BEAT_S)


def _replace_reaper(run: RunContext, store: Store, preload: Sequence[str]) -> int:
    """Start another reaper in the place of one that died; where that fails, end the run healed."""
    log.error("reaper_gone", run=run.id)
    try:
        return _start_reaper(run, store, preload)
    except (NoReaper, OSError) as error:
        log.error("run_unguarded", run=run.id, why=str(error))
        store.abort(run.id)
        heal(store, run.id)
        return os.open(os.devnull, os.O_WRONLY)


def _renew_leases(
    store: Store, run: str, renewed: dict[str, float], keeping: dict[str, threading.Thread]
) -> None:
    """Renew what is due, each in a thread of its own: a platform that hangs costs no other one its lease."""
    for injection in store.injections(run, open_only=True):
        if injection.renew is None or injection.lease_s is None or injection.applied_at is None:
            continue
        now = time.monotonic()
        is_due = now - renewed.get(injection.id, 0.0) >= injection.lease_s / 3
        if is_due and not (injection.id in keeping and keeping[injection.id].is_alive()):
            renewed[injection.id] = now
            keeping[injection.id] = threading.Thread(target=_renew, args=(injection,), daemon=True)
            keeping[injection.id].start()


def _renew(injection: Injection) -> None:
    assert injection.renew is not None
    try:
        injection.renew()
    except Exception as error:  # noqa: BLE001  # boundary: as above, and a fault's code
        log.warning("lease_not_renewed", run=injection.run, fault=injection.fault, why=str(error))
