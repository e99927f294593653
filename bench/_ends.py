"""What the benches of sockets share: far ends, pinning, percentiles."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@contextlib.contextmanager
def pinned(core: int) -> Iterator[None]:
    """Keep this process, and what it starts, on *core*."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextlib.contextmanager
def far_end(kind: str, core: int | None = None) -> Iterator[int]:
    """Start an end of :mod:`bench._answers`, on *core* if one is named, and give its port."""
    with contextlib.nullcontext() if core is None else pinned(core):
        end = subprocess.Popen(
            [sys.executable, "-m", "bench._answers", kind], stdout=subprocess.PIPE, text=True
        )
    with end:
        assert end.stdout is not None
        try:
            yield int(end.stdout.readline())
        finally:
            end.kill()


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which *share* of *values* lies."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]
