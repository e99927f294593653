"""Processor time and memory that are used up, by processes of their own, until the lease is over.

They are in the cgroup of this container, not of one that was there before: what is under pressure is the
pod, as far as its limits go, and beyond them the node.
"""

from __future__ import annotations

import ctypes
import math
import mmap
import os
import signal
import struct
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from agent.model import Fact

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from agent.faults.kernel.scope import Network
    from agent.injector.orders import Stress
    from agent.model import Json

SLOT_S = 0.02
CHUNK_BYTES = 8 << 20
LOOK_S = 0.05
MEASURED_S = 0.5
ALLOCATED_WITHIN_S = 8.0
LEAST = 0.5
"""A share of what was asked for that is smaller missed its dose."""
PR_SET_PDEATHSIG = 1
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = mmap.PAGESIZE
_UNTIL, _MEMORY = slice(0, 8), slice(8, 16)


class Stressed:
    """Burners and one that holds memory; see :class:`~agent.injector.breaking.Breaking`."""

    def __init__(self, order: Stress) -> None:
        self._order = order
        self._shared = mmap.mmap(-1, 16)
        """When they have to end, on the monotonic clock, and how much memory is held."""
        self._burners: list[int] = []
        self._holder: int | None = None
        self._began = 0.0
        self._hard_end = 0.0
        self._used_s = 0.0

    def check(self) -> None:
        """Nothing can be known beforehand: what is too much is seen when it is tried."""

    def put(self) -> Fact:
        """Start the processes, and measure what they get."""
        with suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text(
                "1000", encoding="ascii"
            )  # we go first, not the pod's own
        self._began = time.monotonic()
        self._hard_end = self._began + self._order.max_duration_s
        self._beat()
        if self._order.cores:
            number = math.ceil(self._order.cores)
            share = self._order.cores / number
            self._burners = [self._start(lambda: self._burn(share)) for _ in range(number)]
        if self._order.memory_bytes:
            self._holder = self._start(self._hold)
        return self._landed()

    def _landed(self) -> Fact:
        deadline = time.monotonic() + ALLOCATED_WITHIN_S
        why = self._dead()
        while not why and self._held_bytes() < self._order.memory_bytes and time.monotonic() < deadline:
            self._beat()
            time.sleep(LOOK_S)
            why = self._dead()
        time.sleep(max(0.0, self._began + MEASURED_S - time.monotonic()))
        if not why and self._held_bytes() < self._order.memory_bytes:
            why = f"only {self._held_bytes()} bytes were to be had within {ALLOCATED_WITHIN_S:g} s"
        if not why and self._order.cores and not self._cores():
            why = "no processor time was to be had"
        return Fact(holds=not why, says=why or "", measured=self._measured())

    def renew(self) -> Fact:
        """Let them go on; one that is dead ends all of it."""
        why = self._dead()
        self._beat()
        return Fact(holds=why is None, says=why or "")

    def change(self, networks: Sequence[Network]) -> None:
        """Nothing here has peers."""

    def news(self) -> Mapping[str, Json]:
        """Return nothing; what was used is told at the end."""
        return {}

    def remove(self) -> Fact | None:
        """Kill them; the kernel takes the memory back."""
        measured, cores = self._measured(), self._cores()
        for pid in self._pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in self._pids():
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)
        short = cores < LEAST * self._order.cores
        says = f"got {cores:g} of {self._order.cores:g} cores" if short else ""
        return Fact(holds=not says, says=says, measured=measured)

    def _measured(self) -> dict[str, Json]:
        measured: dict[str, Json] = {"cores": self._cores()} if self._order.cores else {}
        return measured | ({"memory_bytes": self._held_bytes()} if self._order.memory_bytes else {})

    def _cores(self) -> float:
        """Return how many processors' time was used so far."""
        self._used_s = max(self._used_s, sum(map(_used_s, self._burners)))
        return round(self._used_s / max(SLOT_S, time.monotonic() - self._began), 3)

    def _pids(self) -> list[int]:
        return [*self._burners, *([self._holder] if self._holder else [])]

    def _dead(self) -> str | None:
        for pid in self._pids():
            with suppress(ChildProcessError):
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    what = "the process that holds the memory" if pid == self._holder else "a burner"
                    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
                    return f"{what} was killed{' (out of memory?)' if killed else ''}"
        return None

    def _start(self, work: Callable[[], None]) -> int:
        """Return the process that does *work*, and nothing beyond the lease or this process's end."""
        pid = os.fork()
        if pid:
            return pid
        try:
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)
            work()
        finally:
            os._exit(0)

    def _beat(self) -> None:
        until = min(time.monotonic() + self._order.lease_s, self._hard_end)
        self._shared[_UNTIL] = struct.pack("d", until)

    def _may_go_on(self) -> bool:
        (until,) = struct.unpack("d", self._shared[_UNTIL])
        return time.monotonic() < float(until)

    def _held_bytes(self) -> int:
        return int.from_bytes(self._shared[_MEMORY], "little")

    def _burn(self, share: float) -> None:
        """Use *share* of one processor: busy until so much of the time since the beginning was used."""
        began, used = time.monotonic(), time.process_time()
        while self._may_go_on():
            slot_ends = time.monotonic() + SLOT_S
            while time.monotonic() < slot_ends and time.process_time() - used < share * (
                time.monotonic() - began
            ):
                pass
            time.sleep(max(0.0, slot_ends - time.monotonic()) if share < 1 else 0.0)

    def _hold(self) -> None:
        """Take the memory in pieces, a page at a time, so that it is really there."""
        pieces = []
        held = 0
        while held < self._order.memory_bytes and self._may_go_on():
            size = min(CHUNK_BYTES, self._order.memory_bytes - held)
            piece = mmap.mmap(-1, size)
            for at in range(0, size, PAGE):
                piece[at] = 1
            pieces.append(piece)
            held += size
            self._shared[_MEMORY] = held.to_bytes(8, "little")
        while self._may_go_on():
            time.sleep(LOOK_S)


def _used_s(pid: int) -> float:
    """Return the processor time that *pid* has used; 0 when it is gone.

    Source: proc(5), /proc/pid/stat: fields 14 and 15, counted behind the name in brackets.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS
