"""One direction of one connection: bytes in, bytes out, held or slowed while a toxic says so."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.proxy.toxic import Toxic

HELD_MAX_BYTES = 1 << 20
"""A flow that holds more than this stops reading its source, so memory stays bounded."""


class Flow:
    """Carries bytes from *source* to *sink*; without a toxic straight through."""

    def __init__(self, direction: str, on_end: Callable[[], None]) -> None:
        self.direction = direction
        self.has_ended = False
        self._on_end = on_end
        self.source: asyncio.Transport | None = None
        self.sink: asyncio.Transport | None = None
        self._toxics: list[Toxic] = []
        self._held: deque[tuple[float, float, bytes | None]] = deque()
        self._held_bytes = 0
        self._free_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._sink_full = False
        self._lost = False

    def set_toxics(self, toxics: list[Toxic]) -> None:
        """Replace the toxics that hold this flow; what was held under the old ones is dated anew, or lost."""
        self._lost |= bool(self._held) and any(toxic.fields.get("held") == "lost" for toxic in self._toxics)
        self._toxics = toxics
        if self._lost:
            self._lose()
        elif self._held:
            again, self._held, self._held_bytes = self._held, deque(), 0
            self._free_at = 0.0
            for arrived, _, data in again:
                self._hold(data, arrived)
            self._release()

    def _lose(self) -> None:
        """Let nothing go on any more but the end of the stream: the far end has forgotten this connection."""
        ended = any(data is None for _, _, data in self._held)
        self._held.clear()
        self._held_bytes = 0
        self._press()
        if ended and not self.has_ended:
            self._end()

    def attach(self, sink: asyncio.Transport) -> None:
        """Carry towards *sink* from now on, beginning with what came before it was there."""
        self.sink = sink
        self._release()

    def write(self, data: bytes) -> None:
        """Carry *data*."""
        if self._lost:
            return
        if self.sink is not None and not self._toxics and not self._held:
            self.sink.write(data)
        else:
            self._hold(data, self._loop.time())
            self._arm()

    def write_eof(self) -> None:
        """Carry the end of the stream, after all that is held."""
        if self.sink is not None and not self._toxics and not self._held:
            self._end()
        else:
            self._hold(None, self._loop.time())
            self._arm()

    def sink_full(self, *, full: bool) -> None:
        """Follow the sink's pressure: a reader that stops makes the source stop."""
        self._sink_full = full
        self._press()

    def close(self) -> None:
        """Let go of everything held."""
        if self._timer:
            self._timer.cancel()
        self._held.clear()

    @property
    def is_empty(self) -> bool:
        """Whether nothing is held."""
        return not self._held

    def _hold(self, data: bytes | None, arrived: float) -> None:
        due = self._due(arrived, len(data or b""))
        self._held.append((arrived, due, data))
        self._held_bytes += len(data or b"")
        self._press()

    def _due(self, arrived: float, size: int) -> float:
        """Return when a chunk may go on, never before the one ahead of it; infinite while cut."""
        due = arrived
        for toxic in self._toxics:
            if toxic.kind == "partition":
                return float("inf")
            if toxic.kind == "delay":
                jitter = toxic.fields["jitter_ms"]
                due += (toxic.fields["latency_ms"] + toxic.dice.uniform(-jitter, jitter)) / 1000
            elif toxic.kind == "throttle":
                due = max(due, self._free_at) + size / toxic.fields["bytes_per_s"]
        self._free_at = due = max(due, self._free_at if self._held else 0.0)
        return due

    def _arm(self) -> None:
        if self.sink is None or not self._held or self._timer is not None:
            return
        if self._held[0][1] != float("inf"):
            self._timer = self._loop.call_at(self._held[0][1], self._release)

    def _release(self) -> None:
        """Let go of what is due; late by the event loop's own lateness only."""
        if self._timer:
            self._timer.cancel()
        self._timer = None
        now = self._loop.time()
        while self.sink is not None and self._held and self._held[0][1] <= now:
            arrived, _, data = self._held.popleft()
            self._held_bytes -= len(data or b"")
            for toxic in self._toxics:
                toxic.dose.hold((now - arrived) * 1000, len(data or b""))
            if data is None:
                self._end()
            elif not self.sink.is_closing():
                self.sink.write(data)
        self._press()
        self._arm()

    def _end(self) -> None:
        if self.sink is not None and not self.sink.is_closing() and self.sink.can_write_eof():
            self.sink.write_eof()
        self.has_ended = True
        self._on_end()

    def _press(self) -> None:
        if self.source is None or self.source.is_closing():
            return
        if self._sink_full or self._held_bytes > HELD_MAX_BYTES:
            self.source.pause_reading()
        else:
            self.source.resume_reading()
