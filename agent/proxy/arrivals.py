"""The arrival log: what came over the links and when, for whoever wants to understand it later."""

from __future__ import annotations

import json
import os
from collections import deque
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

RING = 100_000
FILE_MAX_BYTES = 64 * 1024 * 1024


class Arrivals:
    """A ring of the last entries, each with a growing ``seq``, and a bounded file beside it.

    The file ``arrivals.jsonl`` is turned over to ``arrivals.1.jsonl`` when it is full.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "arrivals.jsonl"
        self._ring: deque[dict[str, Any]] = deque(maxlen=RING)
        self._pending: list[dict[str, Any]] = []
        self._seq = 0
        self._file: IO[str] = self._path.open("w", encoding="utf-8")

    def add(self, entry: dict[str, Any]) -> None:
        """Append *entry*; it reaches the file at the next :meth:`flush`."""
        self._seq += 1
        entry["seq"] = self._seq
        self._ring.append(entry)
        if len(self._pending) < RING:
            self._pending.append(entry)

    def since(self, seq: int, limit: int) -> list[dict[str, Any]]:
        """Return up to *limit* entries after *seq*, oldest first."""
        first = self._ring[0]["seq"] if self._ring else 0
        skip = max(0, seq + 1 - first)
        return [self._ring[i] for i in range(skip, min(len(self._ring), skip + limit))]

    def flush(self) -> None:
        """Write what is pending; a full disk loses entries and never the link."""
        pending, self._pending = self._pending, []
        if not pending:
            return
        try:
            self._file.write("".join(json.dumps(entry) + "\n" for entry in pending))
            self._file.flush()
            if self._file.tell() > FILE_MAX_BYTES:
                self._file.close()
                os.replace(self._path, self._path.with_suffix(".1.jsonl"))  # noqa: PTH105  # atomic rename
                self._file = self._path.open("w", encoding="utf-8")
        except OSError:
            return
