"""The samples file: one fixed record per finished request, appended by one driver, read by many.

Little-endian.  Header, 24 bytes: magic ``GDTRAF02``, the record size as u64, and how far the wall clock
was ahead of the monotonic one when the driver began (f64, s), so that a clock that is set meanwhile
changes nothing.  Record, 32 bytes: intended departure (f64, seconds since the epoch), latency from
there (f32, s), the driver's own lateness (f32, s), HTTP status (u16, 0 if none), outcome (u8),
degraded (u8), CRC-32 of the key (u32), the low half of the request's id (u64).  A torn last record is
left out.
"""

from __future__ import annotations

import io
import math
import struct
import zlib
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from agent.model import TrafficBin

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

FILE = "traffic.samples"
LOG = "traffic.log"
"""What the driver, or who was to start it, complained of; beside the samples."""
RECORD = struct.Struct("<dffHBBIQ")
HEADER = struct.Struct("<8sQd")
BLOCK = 4096 * RECORD.size


class Outcome(IntEnum):
    """How a request ended; everything but OK is a failure."""

    OK = 0
    STATUS = 1
    TIMEOUT = 2
    REFUSED = 3
    BROKEN = 4
    SHED = 5


def why_missing(folder: Path) -> str:
    """Return what to tell of traffic that is not there: the last word of its log, or what to look at."""
    log = folder / LOG
    said = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    return said[-1] if said else "is the control agent.controls.traffic in the experiment?"


@dataclass(frozen=True, slots=True)
class Sample:
    """One finished request; see the module for units."""

    intended_at: float
    latency_s: float
    lateness_s: float
    status: int
    outcome: int
    degraded: int
    key: int
    id: int

    @property
    def completed_at(self) -> float:
        """When the answer, or the failure, was there."""
        return self.intended_at + self.latency_s


def header(wall_ahead_s: float) -> bytes:
    """Return the head of a file whose driver began with the wall clock that far ahead of the monotonic."""
    return HEADER.pack(b"GDTRAF02", RECORD.size, wall_ahead_s)


def key_of(text: str) -> int:
    """Return the number a key is recorded under."""
    return zlib.crc32(text.encode())


def read(path: Path) -> tuple[Sample, ...]:
    """Return every sample, in the order of completion; none if the file is not there yet."""
    try:
        with path.open("rb") as file:
            return tuple(_parse(file.read()[HEADER.size :]))
    except FileNotFoundError:
        return ()


def window(path: Path, *, since: float, key: str | None = None) -> list[Sample]:
    """Return the samples completed at or after *since*, reading only the file's tail."""
    number = None if key is None else key_of(key)
    found: list[Sample] = []
    try:
        with path.open("rb") as file:
            for block in _blocks_backwards(file):
                samples = list(_parse(block))
                found += [s for s in samples if s.completed_at >= since and number in (None, s.key)]
                if samples and samples[0].completed_at < since - 1.0:
                    break
    except FileNotFoundError:
        return []
    return found


def _parse(data: bytes) -> Iterator[Sample]:
    whole = len(data) - len(data) % RECORD.size
    return (Sample(*fields) for fields in RECORD.iter_unpack(data[:whole]))


def _blocks_backwards(file: io.BufferedReader) -> Iterator[bytes]:
    end = file.seek(0, io.SEEK_END) - HEADER.size
    end -= end % RECORD.size
    while end > 0:
        begin = max(0, end - BLOCK)
        file.seek(HEADER.size + begin)
        yield file.read(end - begin)
        end = begin


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the nearest-rank percentile of *ordered*, which is not empty; 0 < share <= 1."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def bins(path: Path, width_s: float) -> tuple[TrafficBin, ...]:
    """Return the traffic in bins of *width_s* by intended departure, empty ones in between included."""
    samples = read(path)
    if not samples:
        return ()
    first = min(s.intended_at for s in samples)
    rows: dict[int, list[Sample]] = {}
    for sample in samples:
        rows.setdefault(int((sample.intended_at - first) / width_s), []).append(sample)
    return tuple(_bin(first + i * width_s, width_s, rows.get(i, ())) for i in range(max(rows) + 1))


def _bin(at: float, width_s: float, samples: Iterable[Sample]) -> TrafficBin:
    rows = list(samples)
    latencies = sorted(s.latency_s * 1000 for s in rows)
    p50, p95, p99 = ((percentile(latencies, q) if latencies else None) for q in (0.5, 0.95, 0.99))
    return TrafficBin(
        at=at,
        width_s=width_s,
        n=len(rows),
        ok=sum(s.outcome == Outcome.OK for s in rows),
        degraded=sum(s.degraded for s in rows),
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
    )
