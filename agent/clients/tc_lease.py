"""The dead man of a queueing discipline: takes it off when nobody renews it; run with ``-m``.

netem has no timeout of its own, so a process holds the lease: of a session of its own, started
before the fault, reading one small file that whoever renews overwrites in place (no new block is
needed, so a full disk cannot end the fault early).  Times are seconds of the boot clock, which
nobody can set.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from agent.clients.tc import delete_root, qdiscs
from agent.model import GamedayError

if TYPE_CHECKING:
    from collections.abc import Sequence

POLL_S = 0.1
GIVE_UP_S = 60.0
"""How long a delete that fails is tried again."""
READY_WITHIN_S = 15.0


class NoDeadMan(GamedayError):
    """The process that ends the fault could not be started; nothing was injected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """When a fault ends unless it is renewed, and when it ends whatever is renewed (boot clock, s)."""

    until: float
    span_until: float

    def has_lapsed(self, now: float) -> bool:
        """Whether nobody renewed in time, before the span was over."""
        return self.until <= min(now, self.span_until)

    def is_over(self, now: float) -> bool:
        """Whether the fault has to be out by *now*."""
        return now >= min(self.until, self.span_until)


def boot_clock() -> float:
    """Return the seconds since this machine started, suspended time included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def begin(path: Path, *, lease_s: float, max_duration_s: float) -> None:
    """Write the lease that ends in *lease_s*, and in *max_duration_s* whatever is renewed."""
    now = boot_clock()
    path.write_text(f"{now + lease_s:020.6f} {now + max_duration_s:020.6f}\n", encoding="ascii")


def read(path: Path) -> Lease | None:
    """Return the lease, or None when there is none (any more)."""
    try:
        until, span_until = path.read_text(encoding="ascii").split()
    except (FileNotFoundError, ValueError):
        return None
    return Lease(until=float(until), span_until=float(span_until))


def renew(path: Path, *, lease_s: float) -> bool:
    """Give the lease another *lease_s* from now; False if it is over, and then it stays so."""
    lease = read(path)
    now = boot_clock()
    if lease is None or lease.is_over(now):
        return False
    with contextlib.suppress(FileNotFoundError), path.open("r+", encoding="ascii") as file:
        file.write(f"{now + lease_s:020.6f}")
        return True
    return False


def start(path: Path, *, handle: str, devices: Sequence[str]) -> None:
    """Start the process that takes qdisc *handle* off *devices* when the lease in *path* is over.

    It lives in the network namespace of this thread, and ends by itself.

    Raises:
        NoDeadMan: It did not come up.
    """
    command = [sys.executable, "-m", __name__, str(path), handle, *devices]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=READY_WITHIN_S, check=False, cwd="/"
        )
    except subprocess.TimeoutExpired:
        raise NoDeadMan(f"the dead man of {handle} did not start within {READY_WITHIN_S:g} s") from None
    if done.returncode != 0:
        raise NoDeadMan(f"the dead man of {handle} did not start: {done.stderr.strip()[-300:]}")


def watch(path: Path, *, handle: str, devices: Sequence[str]) -> None:
    """Wait until the lease is over or withdrawn, then see to it that the qdisc is off."""
    while (lease := read(path)) is not None and not lease.is_over(boot_clock()):
        time.sleep(POLL_S)
    deadline = time.monotonic() + GIVE_UP_S
    while time.monotonic() < deadline:
        with contextlib.suppress(GamedayError):
            for device in devices:
                delete_root(device, handle)
            if all(each.handle != handle for device in devices for each in qdiscs(device)):
                return
        time.sleep(POLL_S)


def main(arguments: Sequence[str]) -> None:
    """Detach from whoever started this, and watch."""
    path, handle, *devices = arguments
    if os.fork():
        os._exit(0)
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    watch(Path(path), handle=handle, devices=devices)


if __name__ == "__main__":
    main(sys.argv[1:])
