"""The traffic driver beside k6's ``constant-arrival-rate``: both on one pinned core, the target on another.

k6 is found as ``K6``, on PATH, or in Go's bin folder (``go install go.k6.io/k6@v1.8.1``).  It tells
no lateness of its own, so it is held to the rate only, which is in its favour.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from agent.traffic.plan import Plan
from agent.traffic.samples import Outcome, percentile, read
from bench._ends import far_end, pinned

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    type Holds = Callable[[str, float], bool]

TRIAL_S = 4.0
SKIP_S = 1.0
"""What a trial's figures leave out at its beginning: connections are made then."""
LATENESS_MAX_S = 0.002
RATES = [round(1000 * 1.07**step) for step in range(60)]
CPU_RPS = 500.0
SCRIPT = """
import http from 'k6/http';
export const options = {discardResponseBodies: true, scenarios: {load: {executor: 'constant-arrival-rate',
  rate: +__ENV.RATE, timeUnit: '1s', duration: __ENV.SECONDS + 's', preAllocatedVUs: 200, maxVUs: 400}}};
export default function () { http.get(__ENV.URL); }
"""


def main(_: Sequence[str]) -> list[dict[str, Any]]:
    """Return the rows of the table."""
    cores = sorted(os.sched_getaffinity(0))
    with far_end("answers", cores[-1]) as port, pinned(cores[0]):
        url = f"http://127.0.0.1:{port}/"
        ours, our_cpu = _highest(_we_hold, url), _cpu(_our_command, url)
        k6 = _k6()
        theirs, their_cpu = (_highest(_k6_holds, url), _cpu(_k6_command, url)) if k6 else (None, None)
    ratio = round(ours / theirs, 2) if theirs else None
    peer_cpu = f"{their_cpu:.1f} %" if their_cpu is not None else "no k6 here"
    return [
        {
            "figure": "driver on one core: highest rate held, rps",
            "ours": ours,
            "peer": theirs or "no k6 here",
            "ratio": ratio,
            "goal": ">= 1.8 times",
            "met": ratio is not None and ratio >= 1.8,
        },
        {
            "figure": "driver: share of a core at 500 rps",
            "ours": f"{our_cpu:.1f} %",
            "peer": peer_cpu,
            "ratio": round(our_cpu / their_cpu, 2) if their_cpu else None,
            "goal": "<= 15 %",
            "met": our_cpu <= 15,
        },
    ]


def _k6() -> str | None:
    return os.environ.get("K6") or shutil.which("k6", path=f"{os.environ['PATH']}:{Path.home()}/go/bin")


def _highest(holds: Holds, url: str) -> int:
    """Return the highest of RATES that is held twice; every lower one is taken to be held too."""
    low, high = -1, len(RATES)
    while high - low > 1:
        middle = (low + high) // 2
        if holds(url, RATES[middle]) or holds(url, RATES[middle]):
            low = middle
        else:
            high = middle
    return RATES[low] if low >= 0 else 0


def _our_command(url: str, rate_rps: float, seconds: float, out: str) -> tuple[list[str], dict[str, str]]:
    plan = Plan(url=url, rate_rps=rate_rps, max_duration_s=seconds, timeout_s=1.0)
    return [sys.executable, "-m", "agent.traffic", "--plan", json.dumps(asdict(plan)), "--out", out], {}


def _we_hold(url: str, rate_rps: float) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "samples"
        command, _ = _our_command(url, rate_rps, TRIAL_S, str(out))
        subprocess.run(command, check=True, timeout=60)
        samples = read(out)
    first = min(s.intended_at for s in samples) + SKIP_S
    counted = [s for s in samples if first <= s.intended_at]
    in_time = [s for s in counted if s.outcome == Outcome.OK and s.completed_at < first + TRIAL_S - SKIP_S]
    late_s = percentile(sorted(s.lateness_s for s in counted), 0.99)
    held = len(in_time) / (rate_rps * (TRIAL_S - SKIP_S))
    print(f"  ours {rate_rps}: {held:.3f} of it, lateness p99 {late_s * 1000:.2f} ms", flush=True)
    return held >= 0.99 and late_s <= LATENESS_MAX_S


def _k6_command(url: str, rate_rps: float, seconds: float, out: str) -> tuple[list[str], dict[str, str]]:
    script = Path(out).with_suffix(".js")
    script.write_text(SCRIPT)
    k6 = _k6()
    assert k6 is not None
    command = [k6, "run", "--quiet", "--no-usage-report", "--summary-export", out, str(script)]
    return command, {"URL": url, "RATE": str(int(rate_rps)), "SECONDS": str(int(seconds))}


def _k6_holds(url: str, rate_rps: float) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "summary.json"
        command, environ = _k6_command(url, rate_rps, TRIAL_S, str(out))
        quiet = subprocess.DEVNULL
        subprocess.run(command, check=True, timeout=60, env=os.environ | environ, stdout=quiet, stderr=quiet)
        metrics = json.loads(out.read_text())["metrics"]
    held = metrics["http_reqs"]["count"] / (rate_rps * TRIAL_S)
    print(f"  k6 {rate_rps}: {held:.3f} of it", flush=True)
    return held >= 0.99


def _cpu(command_of: Callable[..., tuple[list[str], dict[str, str]]], url: str) -> float:
    """Return the share of a core in percent, between the first second and the last."""
    with tempfile.TemporaryDirectory() as folder:
        command, environ = command_of(url, CPU_RPS, TRIAL_S + 4, f"{folder}/out")
        quiet = subprocess.DEVNULL
        with subprocess.Popen(command, env=os.environ | environ, stdout=quiet, stderr=quiet) as process:
            time.sleep(SKIP_S * 2)
            watched, began = psutil.Process(process.pid), time.monotonic()
            before = watched.cpu_times()
            time.sleep(TRIAL_S)
            after, took_s = watched.cpu_times(), time.monotonic() - began
    return 100 * (after.user + after.system - before.user - before.system) / took_s
