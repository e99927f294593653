"""What the inference costs: calls a second of analysis, and how that grows.

The recording is a breaker's, simulated once and laid end to end; ids of its calls stay unique.
"""

from __future__ import annotations

import resource
import time
from typing import Any

import numpy as np

from agent.breakers.analysis import analyse
from agent.breakers.simulation.simulate import Design, World, simulate
from agent.breakers.streams import Arrivals, Calls, FaultWindow

SIZES = (10_000, 100_000, 1_000_000)
EPISODE_S = 40.0


def recording(size: int) -> tuple[Calls, Arrivals, list[FaultWindow]]:
    """Return a recording of about *size* calls: the same story again and again."""
    truth = simulate(Design(), World(rate_rps=100, duration_s=EPISODE_S))
    times = max(1, size // len(truth.calls))
    calls = {name: np.tile(getattr(truth.calls, name), times) for name in Calls.__slots__}
    arrivals = {name: np.tile(getattr(truth.arrivals, name), times) for name in Arrivals.__slots__}
    later = [np.repeat(np.arange(times), len(each)) for each in (truth.calls, truth.arrivals)]
    for columns, names, which in ((calls, ("begun", "ended"), 0), (arrivals, ("at", "ended"), 1)):
        for name in names:
            columns[name] = columns[name] + later[which] * EPISODE_S
        columns["id"] = columns["id"] + later[which].astype("u8") * np.uint64(10_000_000)
    faults = [
        FaultWindow(
            kind="error", began=truth.fault.began + i * EPISODE_S, ended=truth.fault.ended + i * EPISODE_S
        )
        for i in range(times)
    ]
    return Calls(**calls), Arrivals(**arrivals), faults


def main(_: list[str]) -> list[dict[str, Any]]:
    """Return the rows."""
    rows, took = [], {}
    for size in SIZES:
        calls, arrivals, faults = recording(size)
        began = time.perf_counter()
        (stream,) = analyse(calls, {"": arrivals}, faults).judged
        took[size] = time.perf_counter() - began
        assert len(stream.view.course.transitions) > len(faults)
        rows.append(
            {
                "figure": f"analysis of {len(calls)} calls, s",
                "ours": f"{took[size]:.3g}",
                "peer": "-",
                "ratio": None,
                "goal": "<= 5" if size == SIZES[-1] else "",
                "met": took[size] <= 5,
            }
        )
    growth = took[SIZES[-1]] / took[SIZES[-2]]
    # n log n from 10^5 to 10^6 calls is a factor of 12; noise may double it.
    rows.append(
        {
            "figure": "ten times the calls cost, times",
            "ours": f"{growth:.1f}",
            "peer": "-",
            "ratio": None,
            "goal": "<= 24 (n log n: 12)",
            "met": growth <= 24,
        }
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    rows.append(
        {
            "figure": "analysis of a million calls, resident MB at most",
            "ours": f"{peak:.0f}",
            "peer": "-",
            "ratio": None,
            "goal": "<= 500",
            "met": peak <= 500,
        }
    )
    return rows
