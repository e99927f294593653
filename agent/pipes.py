"""Pipes as lifelines: nobody ever writes, and the end of the pipe is the end of its other side."""

from __future__ import annotations

import os
import select


def wait_for_end(pipe: int) -> None:
    """Return when the other side of *pipe* is gone.

    Polled rather than just read: the pipe is shared with processes whose event loops make it
    non-blocking for everybody.
    """
    poll = select.poll()
    poll.register(pipe, select.POLLIN | select.POLLHUP)
    while True:
        poll.poll()
        try:
            if not os.read(pipe, 4096):
                return
        except BlockingIOError:
            continue
        except OSError:
            return
