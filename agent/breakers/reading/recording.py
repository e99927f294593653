"""From what a run records to the two streams: the traffic's samples and the link's arrival log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from agent.breakers.streams import Arrivals, Calls, Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

HEADER = np.dtype([("magic", "S8"), ("size", "<u8"), ("wall_ahead_s", "<f8")])
RECORD = np.dtype(
    [
        ("intended_at", "<f8"),
        ("latency_s", "<f4"),
        ("lateness_s", "<f4"),
        ("status", "<u2"),
        ("outcome", "u1"),
        ("degraded", "u1"),
        ("key", "<u4"),
        ("id", "<u8"),
    ]
)
"""The samples file as :mod:`agent.traffic.samples` describes it."""
ID_DIGITS = 16


def calls_of(samples: bytes) -> tuple[Calls, float]:
    """Return the calls in a samples file, and how far the wall clock was ahead when it began.

    Calls that were never sent are left out.
    """
    rows, ahead = rows_of(samples)
    return _calls(rows[rows["outcome"] != Outcome.SHED], ahead), ahead


def rows_of(samples: bytes) -> tuple[Any, float]:
    """Return the whole records of a samples file, and how far its wall clock was ahead."""
    if len(samples) < HEADER.itemsize:
        return np.empty(0, RECORD), 0.0
    ahead = float(np.frombuffer(samples, HEADER, count=1)["wall_ahead_s"][0])
    whole = (len(samples) - HEADER.itemsize) // RECORD.itemsize
    return np.frombuffer(samples, RECORD, count=whole, offset=HEADER.itemsize), ahead


def _calls(rows: Any, ahead: float) -> Calls:
    intended = rows["intended_at"] - ahead
    return Calls(
        begun=intended + rows["lateness_s"],
        ended=intended + rows["latency_s"].astype("f8"),
        outcome=rows["outcome"].astype("i8"),
        status=rows["status"].astype("i8"),
        degraded=rows["degraded"].astype(bool),
        key=rows["key"].astype("i8"),
        id=rows["id"].astype("u8"),
    )


def peers_of(entries: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    """Return the addresses, or pods, that the requests among *entries* came from, the first first."""
    return tuple(dict.fromkeys(_peer(each) for each in entries if each["kind"] == "request"))


def _peer(entry: dict[str, Any]) -> str:
    return str(entry["peer"]).rpartition(":")[0]


def arrivals_of(entries: Sequence[dict[str, Any]], peers: Sequence[str] | None = None) -> Arrivals:
    """Return the requests among the arrival log's *entries*; *peers* number the sources, if given."""
    requests = [each for each in entries if each["kind"] == "request"]
    numbers = {peer: number for number, peer in enumerate(peers_of(requests) if peers is None else peers)}
    at = np.array([each["monotonic_at"] for each in requests], "f8")
    return Arrivals(
        at=at,
        ended=at + np.array([each["took_s"] for each in requests], "f8"),
        status=np.array([each["status"] or 0 for each in requests], "i8"),
        source=np.array([numbers[_peer(each)] for each in requests], "i8"),
        id=np.array([id_of(each["id"]) for each in requests], "u8"),
    )


def id_of(propagated: str) -> int:
    """Return the low half of a propagated id, 0 where there is none or one that is not ours.

    It is an ``x-request-id`` of hex digits, or the trace in a ``traceparent``.

    Source:
        W3C Trace Context, section 3.2 (``version-traceid-parentid-flags``).
    """
    parts = propagated.split("-")
    text = parts[1] if len(parts) == 4 else propagated.replace("-", "")
    try:
        return int(text[-ID_DIGITS:], 16)
    except ValueError:
        return 0
