"""Choosing 50 of 10,000 pods, beside chaostoolkit-kubernetes, on a control plane without nodes.

The peer runs in a Python of its own, named by ``BENCH_CHAOSK8S_PYTHON``; without it the row says so.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING, Any

from agent.clients import kubernetes
from agent.schedule.rollouts import Progress, Workload, read_rollout
from bench._clusters import NoCluster, cluster

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.clients.kubernetes import Api

PODS = 10_000
CHOSEN = 50
ROUNDS = 5
NAMESPACE = "bench"
DEPLOYMENTS = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
OWNERS = 10
ROLLOUTS = 1_000

PEAK = """
import json, resource, sys, time
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
"""
OURS = (
    PEAK
    + """
import agent.faults.pods
from agent.clients import kubernetes
from agent.faults.cluster.pod_choice import candidates
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


FOLLOWS = f"""
import json, sys, threading, time
from queue import SimpleQueue
from agent.schedule.follow import Follower
from agent.schedule.rollouts import Progress
names = frozenset(f"shop-{{n}}" for n in range({ROLLOUTS}))
news = SimpleQueue()
Follower("{NAMESPACE}", "deployment", wanted=lambda: names, news=news, over=threading.Event()).start()
def hear(revision):
    missing = set(names)
    while missing:
        rollout = news.get(timeout=600).rollout
        if rollout and rollout.revision == revision and rollout.progress is Progress.FINISHED:
            missing.discard(rollout.workload.name)
hear("1")
print("all seen", flush=True)
began = time.process_time()
hear("2")
print(json.dumps({{"at": time.monotonic(), "cpu": time.process_time() - began}}), flush=True)
"""


def main(_: Sequence[str]) -> list[dict[str, Any]]:
    """Return the rows: seconds and megabytes."""
    try:
        return _compared()
    except NoCluster as error:
        row = {
            "figure": f"choosing {CHOSEN} of {PODS} pods, median s",
            "ours": "-",
            "peer": "-",
            "ratio": "-",
        }
        return [row | {"goal": "<= 1", "met": False, "note": str(error)}]


def _compared() -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as home, cluster("--kind", "kwok", "--nodes", "10") as there:
        environ = {
            **os.environ,
            "KUBECONFIG": there.kubeconfig,
            "GAMEDAY_HOME": home,
            "GAMEDAY_NAMESPACES": NAMESPACE,
        }
        os.environ.update(environ)
        _fill()
        ours = _measured(sys.executable, OURS, environ)
        peer = os.environ.get("BENCH_CHAOSK8S_PYTHON")
        theirs = _measured(peer, THEIRS, environ) if peer else None
        followed = _followed(environ)
    name = f"choosing {CHOSEN} of {PODS} pods"
    return [
        _row(f"{name}, median s", ours["s"], theirs and theirs["s"], 1.0),
        _row(f"{name}, MB over idle", ours["mb"], theirs and theirs["mb"], 60.0),
        _row(f"{ROLLOUTS} rollouts followed with one watch: last one's delay, s", followed["s"], None, 1.0),
        _row(f"{ROLLOUTS} rollouts followed with one watch: processor s", followed["cpu"], None, 5.0),
    ]


def _followed(environ: dict[str, str]) -> dict[str, float]:
    """Roll many Deployments out at once; return how long after the API showed all as done we knew it."""
    names = [f"shop-{number}" for number in range(ROLLOUTS)]
    with kubernetes.connect() as api:
        for name in names:
            _deploy(api, name, app="shop", replicas=1)
        _until_finished(api, "1")
        with subprocess.Popen(
            [sys.executable, "-c", FOLLOWS], env=environ, stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"all seen\n"
            for name in names:
                api.patch(
                    f"{DEPLOYMENTS}/{name}", {"spec": {"template": {"metadata": {"labels": {"v": "2"}}}}}
                )
            shown = _until_finished(api, "2")
            told: dict[str, float] = json.loads(process.stdout.readline())
    return {"s": max(0.0, told["at"] - shown), "cpu": told["cpu"]}


def _until_finished(api: Api, revision: str) -> float:
    """Return the monotonic time at which every rollout was first seen finished by asking."""
    while True:
        began, finished = time.monotonic(), 0
        for each in api.items(DEPLOYMENTS, selector="app=shop"):
            workload = Workload(kind="deployment", namespace=NAMESPACE, name=each["metadata"]["name"])
            rollout = read_rollout(workload, each)
            finished += rollout.revision == revision and rollout.progress is Progress.FINISHED
        if finished == ROLLOUTS:
            return began


def _row(figure: str, ours: float, theirs: float | None, most: float) -> dict[str, Any]:
    return {
        "figure": figure,
        "ours": f"{ours:.3g}",
        "peer": "-" if theirs is None else f"{theirs:.3g}",
        "ratio": "-" if theirs is None else f"{ours / theirs:.2f}",
        "goal": f"<= {most:g}",
        "met": ours <= most,
    }


def _fill() -> None:
    """Make the pods, by Deployments as anybody's are, and wait until all say that they are ready."""
    with kubernetes.connect() as api:
        api.post("/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
        for number in range(OWNERS):
            _deploy(api, f"bench-{number}", app="bench", replicas=PODS // OWNERS)
        while sum(each["status"].get("readyReplicas", 0) for each in api.items(DEPLOYMENTS)) < PODS:
            time.sleep(1.0)


def _deploy(api: Api, name: str, *, app: str, replicas: int) -> None:
    labels = {"app": app, "name": name}
    container = {"name": "c", "image": "none", "env": [{"name": "A", "value": "b" * 200}]}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    meta = {"name": name, "labels": {"app": app}}
    api.post(DEPLOYMENTS, {"metadata": meta, "spec": spec})


def _measured(python: str, script: str, environ: dict[str, str]) -> dict[str, float]:
    text = script.format(rounds=ROUNDS, namespace=NAMESPACE, chosen=CHOSEN)
    done = subprocess.run([python, "-c", text], env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["chosen"] == CHOSEN
    return {"s": sorted(told["took"])[ROUNDS // 2], "mb": told["mb"]}
