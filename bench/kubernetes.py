"""Choosing 50 of 10,000 pods, beside chaostoolkit-kubernetes, on a control plane without nodes.

The peer runs in a Python of its own, named by ``BENCH_CHAOSK8S_PYTHON``; without it the row says so.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.clients import kubernetes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

UP = Path(__file__).parents[1] / "tests" / "cluster" / "up.py"
PODS = 10_000
CHOSEN = 50
ROUNDS = 5
THREADS = 8
NAMESPACE = "bench"

PEAK = """
import json, resource, sys, time
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
"""
OURS = (
    PEAK
    + """
import agent.faults.pods
from agent.clients import kubernetes
from agent.faults.pod_choice import candidates
from agent.safety.targets import choose
idle, took = peak(), []
for _ in range({rounds}):
    began = time.perf_counter()
    with kubernetes.connect() as api:
        found = candidates(api, "{namespace}", "app=bench", allow_bare=True)
    chosen = choose(list(found.targets), quantity={chosen})
    took.append(time.perf_counter() - began)
print(json.dumps({{"took": took, "chosen": len(set(chosen)), "mb": peak() - idle}}))
"""
)
THEIRS = (
    PEAK
    + """
from kubernetes import client
from chaosk8s import create_k8s_api_client
from chaosk8s.pod.actions import _select_pods
idle, took = peak(), []
for _ in range({rounds}):
    began = time.perf_counter()
    v1 = client.CoreV1Api(create_k8s_api_client())
    chosen = _select_pods(v1, "app=bench", None, False, True, "fixed", {chosen}, "{namespace}", "alphabetic")
    took.append(time.perf_counter() - began)
names = {{each.metadata.name for each in chosen}}
print(json.dumps({{"took": took, "chosen": len(names), "mb": peak() - idle}}))
"""
)


def main(_: Sequence[str]) -> list[dict[str, Any]]:
    """Return the rows: seconds and megabytes."""
    with tempfile.TemporaryDirectory() as home, _control_plane() as kubeconfig:
        environ = {
            **os.environ,
            "KUBECONFIG": kubeconfig,
            "GAMEDAY_HOME": home,
            "GAMEDAY_NAMESPACES": NAMESPACE,
        }
        os.environ.update(environ)
        _fill()
        ours = _measured(sys.executable, OURS, environ)
        peer = os.environ.get("BENCH_CHAOSK8S_PYTHON")
        theirs = _measured(peer, THEIRS, environ) if peer else None
    name = f"choosing {CHOSEN} of {PODS} pods"
    return [
        _row(f"{name}, median s", ours["s"], theirs and theirs["s"], 1.0),
        _row(f"{name}, MB over idle", ours["mb"], theirs and theirs["mb"], 60.0),
    ]


def _row(figure: str, ours: float, theirs: float | None, most: float) -> dict[str, Any]:
    return {
        "figure": figure,
        "ours": f"{ours:.3g}",
        "peer": "-" if theirs is None else f"{theirs:.3g}",
        "ratio": "-" if theirs is None else f"{ours / theirs:.2f}",
        "goal": f"<= {most:g}",
        "met": ours <= most,
    }


@contextlib.contextmanager
def _control_plane() -> Iterator[str]:
    command = [sys.executable, str(UP), "--kind", "kwok", "--until-stdin-ends", "--json"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield json.loads(process.stdout.readline())["kubeconfig"]
    finally:
        process.stdin.close()
        process.wait(60)


def _fill() -> None:
    """Make the pods, and say of each that it is ready: no node is asked."""
    with kubernetes.connect() as api:
        api.post("/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(_make, range(THREADS)))


def _make(number: int) -> None:
    path = f"/api/v1/namespaces/{NAMESPACE}/pods"
    spec = {
        "schedulerName": "nobody",
        "automountServiceAccountToken": False,
        "containers": [{"name": "c", "image": "none", "env": [{"name": "A", "value": "b" * 200}]}],
    }
    ready = {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}
    with kubernetes.connect() as api:
        for index in range(number, PODS, THREADS):
            name = f"bench-{index:05}"
            api.post(path, {"metadata": {"name": name, "labels": {"app": "bench"}}, "spec": spec})
            api.patch(f"{path}/{name}/status", ready)


def _measured(python: str, script: str, environ: dict[str, str]) -> dict[str, float]:
    text = script.format(rounds=ROUNDS, namespace=NAMESPACE, chosen=CHOSEN)
    done = subprocess.run([python, "-c", text], env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["chosen"] == CHOSEN
    return {"s": sorted(told["took"])[ROUNDS // 2], "mb": told["mb"]}
