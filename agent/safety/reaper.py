"""The process that heals a run when the run itself cannot: ``python -m agent.safety.reaper``.

It lives in a session of its own and reads pipes whose other ends the run's processes hold.  When one
ends, or the beats on the first one stop while something is broken, it sees to it that the run can do
nothing more, heals it from the ledger, and looks again a little later for calls that were in flight.
While the run lives it ends each fault that has lasted for its ``max_duration_s``.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import selectors
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from agent import log as log_of
from agent import settings as settings_of
from agent.safety.heal import heal, is_overdue
from agent.safety.recover import close_book
from agent.store import Store, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

log = structlog.get_logger()

SILENCE_S = 2.0
"""Four missed beats: a run that is stopped or hangs is healed within three seconds."""
SECOND_LOOKS_S = (0.3, 2.0)
ENDED = "its process ended"


def main(argv: Sequence[str] | None = None) -> int:
    """Watch the pipes until they end, then heal."""
    parser = argparse.ArgumentParser(prog="agent.safety.reaper")
    parser.add_argument("--run", required=True)
    parser.add_argument("--home", required=True, type=Path)
    parser.add_argument("--pid", required=True, type=int)
    parser.add_argument("--pipes", required=True)
    parser.add_argument("--group", action="store_true")
    parser.add_argument("--preload", default="")
    options = parser.parse_args(argv)
    log_of.configure(settings_of.current())
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)  # only the end of the run ends its reaper
    store = Store(options.home)
    for module in filter(None, options.preload.split(",")):
        importlib.import_module(module)  # ahead of time, so that healing starts within milliseconds
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdout.close()
    os.close(1)
    why = _wait(
        [int(fd) for fd in options.pipes.split(",")],
        meanwhile=lambda: _end_overdue(store, options.run),
        is_broken=lambda: _is_broken(store, options.run),
    )
    _reap(store, options.run, pid=options.pid, group=options.group, why=why)
    return 0


def _wait(pipes: Sequence[int], *, meanwhile: Callable[[], None], is_broken: Callable[[], bool]) -> str:
    """Return why the wait ended: a pipe closed, or the beats stopped; call *meanwhile* twice a second.

    Silence counts only while something is broken: an interpreter that takes its time to end, or that is
    short of a processor, harms nobody then, and killing it would.
    """
    with selectors.DefaultSelector() as selector:
        for index, fd in enumerate(pipes):
            os.set_blocking(fd, False)
            selector.register(fd, selectors.EVENT_READ, index)
        heard = time.monotonic()
        while time.monotonic() - heard < SILENCE_S:
            for key, _ in selector.select(SILENCE_S / 4):
                if not os.read(key.fd, 4096):
                    return ENDED if key.data == 0 else "its parent ended"
                heard = time.monotonic()
            busy_since = time.monotonic()
            meanwhile()
            heard += time.monotonic() - busy_since  # nobody listened meanwhile: no silence of the run
            if time.monotonic() - heard >= SILENCE_S and not is_broken():
                heard = time.monotonic()
    return f"no beat for {SILENCE_S:g} s"


def _is_broken(store: Store, run: str) -> bool:
    """Whether the ledger holds something open, or cannot be read."""
    try:
        return bool(store.injections(run, open_only=True))
    except StoreUnavailable:
        return True


def _end_overdue(store: Store, run: str) -> None:
    """Heal what has lasted for its ``max_duration_s``; one try, since there is one every half second."""
    with contextlib.suppress(StoreUnavailable):
        heal(store, run, only=is_overdue, within_s=0.0, final=False)


def _reap(store: Store, run: str, *, pid: int, group: bool, why: str) -> None:
    broken = bool(store.injections(run, open_only=True))
    if why == ENDED and not broken:
        close_book(store, run, why=ENDED, clean=True)
        return
    _kill(pid, group=group)  # first: stopped in the middle of a write, it would hold the store's lock
    result = heal(store, run)
    with contextlib.suppress(StoreUnavailable):  # after the healing, which needs no lock to undo
        store.abort(run)
    if broken or result.healed:
        log.warning("run_reaped", run=run, why=why, healed=result.healed, left=result.left)
        for pause in SECOND_LOOKS_S:
            time.sleep(pause)
            result = heal(store, run)
    close_book(store, run, why=why, clean=result.clean)


def _kill(pid: int, *, group: bool) -> None:
    """End what is left of the run; the reaper is its child, so the pid cannot have been reused yet."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if group and os.getpgid(pid) == pid:
            os.killpg(pid, signal.SIGKILL)
        elif os.getppid() == pid:
            os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
