"""What a test adds to the calls it makes, and how long its answer takes after the last one.

Driver and link are held against a plain client that calls the same end directly, at the same rate, both
timed from the moment at which a call was due; they take turns, so that a noisy machine hits both.  The answer
is made from a recorded exercise of two minutes.
"""

from __future__ import annotations

import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.breakers.analysis import analyse, to_json
from agent.breakers.reading.recording import arrivals_of, calls_of
from agent.model import RunRecord, Verdict
from agent.report.page import html
from agent.traffic.plan import Plan
from agent.traffic.samples import RECORD, Outcome, header, read
from bench._ends import far_end, percentile
from bench._proxies import our_proxy
from bench.breakers import recording

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.breakers.streams import FaultWindow

RATE_RPS = 500.0
ROUNDS = 5
SECONDS = 4.0
SKIP_S = 1.0
"""What a round's figures leave out at its beginning: connections are made then."""
REQUEST = b"GET /rank/7 HTTP/1.1\r\nhost: bench\r\nx-request-id: 00112233445566778899aabbccddeeff\r\n\r\n"
NOTE = "a call wakes the driver and the proxy too; on two cores with other work each waits for its turn"
CALLS = 12_000
"""Two minutes at 100 calls a second."""


def main(_: Sequence[str]) -> list[dict[str, Any]]:
    """Return the rows of the table."""
    return [*_added(), *_answered()]


def _added() -> list[dict[str, Any]]:
    with far_end("answers") as port, our_proxy({"answers": port}) as side:
        plain, ours = [], []
        for _ in range(ROUNDS):
            plain.append(_direct(port))
            ours.append(_driven(side.ports["answers"]))
    rows = []
    for share, label in ((0.5, "p50"), (0.99, "p99")):
        direct = statistics.median(percentile(each, share) for each in plain) * 1000
        through = statistics.median(percentile(each, share) for each in ours) * 1000
        rows.append(
            {
                "figure": f"driver and link at {RATE_RPS:g} rps: a call's {label}, ms",
                "ours": f"{through:.3f}",
                "peer": f"{direct:.3f} (direct)",
                "ratio": round(through / direct, 2),
                "goal": "<= 1 ms more" if label == "p99" else "",
                "met": label == "p50" or through - direct <= 1.0,
                "note": NOTE,
            }
        )
    return rows


def _direct(port: int) -> list[float]:
    """Return how long calls take that leave by the clock on one connection, with nothing in between."""
    took = []
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        started = time.perf_counter()
        for number in range(int(RATE_RPS * SECONDS)):
            due = started + number / RATE_RPS
            time.sleep(max(0.0, due - time.perf_counter()))
            connection.sendall(REQUEST)
            connection.recv(4096)
            took.append(time.perf_counter() - due)
    return took[int(RATE_RPS * SKIP_S) :]


def _driven(port: int) -> list[float]:
    """Return how long the driver's calls take through the link, from the moment they were due."""
    plan = Plan(url=f"http://127.0.0.1:{port}/rank/7", rate_rps=RATE_RPS, max_duration_s=SECONDS)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "samples"
        command = [sys.executable, "-m", "agent.traffic", "--plan", json.dumps(asdict(plan))]
        subprocess.run([*command, "--out", str(out)], check=True)
        samples = read(out)
    assert all(each.outcome == Outcome.OK for each in samples)
    first = min(each.intended_at for each in samples)
    return [each.latency_s for each in samples if each.intended_at >= first + SKIP_S]


def _answered() -> list[dict[str, Any]]:
    """Time what there is to do between the last call and the answer, and then the page."""
    samples, entries, faults = _recorded()
    began = time.perf_counter()
    calls, ahead = calls_of(samples)
    found = to_json(analyse(calls, {"": arrivals_of(entries)}, faults), wall_ahead_s=ahead)
    text = json.dumps(found)
    answered = time.perf_counter() - began
    record = RunRecord(
        run="bench", experiment="bench", title="bench", started_at=0.0, ended_at=120.0, verdict=Verdict.HELD
    )
    page = html(record.with_(breaker=json.loads(text)))
    shown = time.perf_counter() - began
    assert found["answer"] in text
    assert page
    return [
        {
            "figure": f"{what} after the last of {len(calls)} calls, s",
            "ours": f"{took:.2f}",
            "peer": "-",
            "ratio": None,
            "goal": "<= 2",
            "met": took <= 2,
        }
        for what, took in (("answer", answered), ("answer and page", shown))
    ]


def _recorded() -> tuple[bytes, list[dict[str, Any]], list[FaultWindow]]:
    """Return an exercise as a run records it: the samples file, the arrival log, the faults."""
    calls, arrivals, faults = recording(CALLS)
    columns = (calls.begun, calls.ended, calls.status, calls.outcome, calls.degraded, calls.key, calls.id)
    samples = header(0.0) + b"".join(
        RECORD.pack(begun, ended - begun, 0.0, status, outcome, degraded, key, number)
        for begun, ended, status, outcome, degraded, key, number in zip(
            *(each.tolist() for each in columns), strict=True
        )
    )
    entries = [
        {
            "kind": "request",
            "peer": f"127.0.0.{source + 1}:4000",
            "id": f"{number:032x}",
            "monotonic_at": at,
            "took_s": ended - at,
            "status": status or None,
        }
        for at, ended, status, source, number in zip(
            arrivals.at.tolist(),
            arrivals.ended.tolist(),
            arrivals.status.tolist(),
            arrivals.source.tolist(),
            arrivals.id.tolist(),
            strict=True,
        )
    ]
    return samples, entries, faults
