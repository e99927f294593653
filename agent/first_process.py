"""What the first process of a container owes the others: to hand signals on, and to bury the dead.

The kernel gives orphans to it and ends them all when it ends.  Reapers of runs are such orphans, so it
stays until they have healed.  Imports next to nothing, since it is there all the time.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress

HANDED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
HEALING_S = 60.0
"""A reaper whose run died with the program gets so long; it heals within 20 s unless it has to wait."""
TICK_S = 0.05


def stand_in() -> None:
    """Return in a child process; this one waits for it, and ends as it ended.

    In a container the program would otherwise be the first process: nobody would collect what its
    runs leave behind, and a signal that it does not handle yet would be lost.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HANDED_ON)
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return
    for name in HANDED_ON:
        signal.signal(name, lambda number, _: _hand_on(child, number))
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    code = _bury_until(child)
    _bury_the_rest(HEALING_S)
    os._exit(code)


def _hand_on(child: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(child, number)


def _bury_until(child: int) -> int:
    """Collect whatever ends until *child* does; return what a shell would say of it."""
    while True:
        pid, status = os.wait()  # goes on by itself after a signal
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _bury_the_rest(within_s: float) -> None:
    """Collect the orphans until there are none, or *within_s* is over."""
    deadline = time.monotonic() + within_s
    with suppress(ChildProcessError):
        while time.monotonic() < deadline:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                time.sleep(TICK_S)
