"""Signals as a request to end: noted, never acted on inside the handler."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(slots=True)
class StopRequest:
    """Whether somebody asked to end, and why; a second request changes nothing."""

    why: str | None = None
    _pipe: tuple[int, int] = field(default_factory=os.pipe)

    def ask(self, why: str) -> None:
        """Ask to end; safe from signal handlers and threads."""
        if self.why is None:
            self.why = why
            os.write(self._pipe[1], b".")

    def fileno(self) -> int:
        """Return a descriptor that is readable once somebody asked."""
        return self._pipe[0]


def on_signals() -> StopRequest:
    """Return a request that SIGINT, SIGTERM and SIGHUP make; call in the main thread."""
    stop = StopRequest()

    def note(number: int, _: FrameType | None) -> None:
        stop.ask(f"Interrupted by {signal.Signals(number).name}")

    for each in SIGNALS:
        signal.signal(each, note)
    return stop
