"""The arrival log: what came over the links and when, for whoever wants to understand it later."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from typing import IO, TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KEPT_MAX = 100_000
BLOCK_MAX = 256
WAITING_MAX = 1_000
"""How many blocks wait for a slow disk; later ones push the oldest out of the file, not out of memory."""
FILE_MAX_BYTES = 64 * 1024 * 1024


class Arrivals:
    """The last entries, each with a growing ``seq``, and a bounded file beside them.

    Entries are encoded in blocks, not one by one while a request waits [0.13 us an entry instead of 2],
    and kept as JSON, which takes a fifth of the memory.  A line of ``arrivals.jsonl`` is such a block,
    a list of entries; the file is turned over to ``arrivals.1.jsonl`` when it is full.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "arrivals.jsonl"
        self._file: IO[bytes] = self._path.open("wb")
        self._fresh: list[tuple[Callable[..., dict[str, Any]], tuple[Any, ...]]] = []
        self._blocks: deque[tuple[int, int, bytes]] = deque()  # the seq ahead of it, how many, JSON
        self._unwritten: list[bytes] = []
        self._kept = self._seq = 0

    def add(self, describe: Callable[..., dict[str, Any]], *of: Any) -> None:
        """Append the entry *describe* (seq, *of*); it is called later, when the block is encoded."""
        self._fresh.append((describe, of))
        if len(self._fresh) >= BLOCK_MAX:
            self._encode()

    @property
    def seq(self) -> int:
        """The number of the last entry, 0 before the first."""
        return self._seq + len(self._fresh)

    def since(self, seq: int, limit: int) -> list[dict[str, Any]]:
        """Return up to *limit* entries after *seq*, oldest first."""
        self._encode()
        found: list[dict[str, Any]] = []
        for ahead, count, block in self._blocks:
            if ahead + count > seq and len(found) < limit:
                found += orjson.loads(block)[max(0, seq - ahead) :]
        return found[:limit]

    def take_unwritten(self) -> list[bytes]:
        """Return the blocks that no file has yet; the caller passes them to :meth:`write`, on any thread."""
        self._encode()
        blocks, self._unwritten = self._unwritten, []
        return blocks

    def write(self, blocks: list[bytes]) -> None:
        """Append *blocks* to the file; a full disk loses entries and never the link."""
        if not blocks:
            return
        with contextlib.suppress(OSError):
            self._file.write(b"\n".join([*blocks, b""]))
            self._file.flush()
            if self._file.tell() > FILE_MAX_BYTES:
                self._file.close()
                os.replace(self._path, self._path.with_suffix(".1.jsonl"))  # noqa: PTH105  # atomic rename
                self._file = self._path.open("wb")

    def close(self) -> None:
        """Write what is left and close the file."""
        self.write(self.take_unwritten())
        with contextlib.suppress(OSError):
            self._file.close()

    def _encode(self) -> None:
        if not self._fresh:
            return
        fresh, self._fresh = self._fresh, []
        entries = [describe(seq, *of) for seq, (describe, of) in enumerate(fresh, self._seq + 1)]
        block = orjson.dumps(entries)
        self._blocks.append((self._seq, len(fresh), block))
        self._unwritten.append(block)
        self._seq += len(fresh)
        self._kept += len(fresh)
        while self._kept > KEPT_MAX and len(self._blocks) > 1:
            self._kept -= self._blocks.popleft()[1]
        del self._unwritten[:-WAITING_MAX]
