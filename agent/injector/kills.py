"""Kills the first process of a container, whose PID namespace this one shares.

From inside its own PID namespace the first process takes no SIGKILL, and no signal that it does not
handle.  A tracer may ask the kernel for one, though: with ``PTRACE_O_EXITKILL`` the kernel itself kills
what was traced when the tracer ends, as it would for want of memory, and the container ends with 137.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

from agent.model import Fact, Unsupported

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agent.faults.kernel.scope import Network
    from agent.injector.orders import Kill
    from agent.model import Json

PTRACE_SEIZE = 0x4206
PTRACE_O_EXITKILL = 0x100000
"""linux/ptrace.h; ptrace(2): the tracee gets SIGKILL when the tracer exits (Linux 3.8)."""
FIRST = 1
AFTER_S = 0.2
"""The answer leaves before the whole PID namespace ends, this process included."""


class Killed:
    """One kill; see :class:`~agent.injector.breaking.Breaking`."""

    def __init__(self, order: Kill) -> None:
        self._order = order

    def check(self) -> None:
        """Refuse where the first process here is not that container's, or would ignore the signal.

        Raises:
            Unsupported: It is so.
        """
        groups = Path(f"/proc/{FIRST}/cgroup").read_text(encoding="utf-8")
        if os.getpid() == FIRST or self._order.container_id not in groups:
            raise Unsupported("unsupported: process 1 as seen from here is not the container's own")
        if self._order.signal != signal.SIGKILL and not self._is_handled():
            name = signal.Signals(self._order.signal).name
            raise Unsupported(
                f"unsupported: the container's first process does not handle {name}, so the kernel "
                "would not deliver it; signal: KILL ends it all the same"
            )

    def _is_handled(self) -> bool:
        """Whether the first process has a handler.

        Source: proc(5), /proc/pid/status: SigCgt is a mask of the signals that are caught.
        """
        status = Path(f"/proc/{FIRST}/status").read_text(encoding="utf-8")
        mask = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:"))
        return bool(int(mask, 16) >> (self._order.signal - 1) & 1)

    def put(self) -> Fact:
        """Send the signal a moment after this answer."""
        told, tell = os.pipe()
        if os.fork():
            os.close(tell)
            why = os.read(told, 200).decode()
            return Fact(holds=not why, says=why)
        os.close(told)
        try:
            why = self._attach()
            os.write(tell, why.encode())
            os.close(tell)
            if not why:
                time.sleep(AFTER_S)
                if self._order.signal != signal.SIGKILL:
                    os.kill(FIRST, self._order.signal)
        finally:
            os._exit(0)  # which kills what is traced

    def _attach(self) -> str:
        """Trace the first process if it is to be killed; return why that cannot be, "" if it is done."""
        if self._order.signal != signal.SIGKILL:
            return ""
        libc = ctypes.CDLL(None, use_errno=True)
        libc.ptrace.argtypes = [ctypes.c_long] * 4
        libc.ptrace.restype = ctypes.c_long
        if libc.ptrace(PTRACE_SEIZE, FIRST, 0, PTRACE_O_EXITKILL) == 0:
            return ""
        return f"the container's first process cannot be traced: {os.strerror(ctypes.get_errno())}"

    def renew(self) -> Fact:
        """There is nothing to keep."""
        return Fact(holds=True)

    def change(self, networks: Sequence[Network]) -> None:
        """Nothing here has peers."""

    def news(self) -> Mapping[str, Json]:
        """Return nothing."""
        return {}

    def remove(self) -> Fact | None:
        """Undo nothing: the kubelet starts the container again."""
        return None
