"""Who answers for a run, and whether that process still lives."""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING

from agent.clients.processes import created_at
from agent.store import Owner

if TYPE_CHECKING:
    from agent.store import RunRow

STALE_S = 15.0
"""A run of another host is taken for dead after this long without a beat."""


def this_process() -> Owner:
    """Return the identity of this very process."""
    pid = os.getpid()
    created = created_at(pid)
    assert created is not None, "this process is alive"
    return Owner(host=socket.gethostname(), pid=pid, created=created)


def is_alive(run: RunRow) -> bool:
    """Whether the owner of *run* still lives.

    On this host the process itself is looked at (its start time too: pids are reused); of another
    host only the beat is known.
    """
    if run.owner.host == socket.gethostname():
        return created_at(run.owner.pid) == run.owner.created
    return time.time() - run.beat_at < STALE_S
