"""The agent in a cluster of two real nodes: what it holds while it waits, and how soon a pod is cut off.

The cluster is the test suite's own, ``deploy/try`` in it with the project's image as the work tree is.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench._clusters import AGENT, NoCluster, cluster

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench._clusters import Cluster

DEPLOY = Path(__file__).parents[1] / "deploy"
HELD_MB = 120
LANDS_WITHIN_S = 1.0
ROUNDS = 30
UP_WITHIN_S = 300.0
SETTLED_S = 5.0
"""So long after the agent is ready, or its run has ended, it is looked at."""
HELD = """
import os, pathlib
total = 0
for process in pathlib.Path("/proc").glob("[0-9]*"):
    if int(process.name) != os.getpid():
        for line in (process / "smaps_rollup").read_text().splitlines():
            total += int(line.split()[1]) if line.startswith("Pss:") else 0
print(total / 1024)
"""
"""Every process of the container but this one, shared pages shared out."""
QUIET_S = 3.0
"""Between two cuts: a kubelet that has just seen to a pod does so again only after its next look at all pods,
up to a second later, and the injector that has just ended would make it so."""
CUTS = f"""
import json
import time
from agent import settings
from agent.faults import heal, pod_networks
from agent.store import Store
where = {{"namespace": "leaderboard", "selector": "app=shard", "peers": ["pods/app=gateway"]}}
for seed in range({ROUNDS}):
    pod_networks.partition(**where, quantity=1, seed=seed, max_duration_s=60)
    heal()
    time.sleep({QUIET_S})
store = Store(settings.current().home)
print(json.dumps([each.landed_at - each.intended_at for each in store.injections()]))
"""
"""Each time counts from before the PATCH, when the injection stands in the ledger, until the check that it
landed: the kernel has dropped a packet in the pod."""


def main(_: Sequence[str]) -> list[dict[str, Any]]:
    """Return the rows: megabytes and seconds."""
    try:
        return _measured()
    except NoCluster as error:
        row = {"figure": "agent waiting in a cluster, MB", "ours": "-", "peer": "-", "ratio": None}
        return [row | {"goal": f"<= {HELD_MB}", "met": False, "note": str(error)}]


def _measured() -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder, cluster() as there:
        _install(there, Path(folder))
        time.sleep(SETTLED_S)
        before = _held_mb(there)
        _have_a_run(there)
        time.sleep(SETTLED_S)
        after = _held_mb(there)
        took = sorted(_cuts(there, folder))
    assert len(took) == ROUNDS, took
    p95 = took[int(0.95 * ROUNDS)]
    name = "pods.partition, from before its PATCH until it was seen to have landed"
    return [
        _row("agent waiting in a cluster, MB", before, HELD_MB, "{:.0f}"),
        _row("agent waiting in a cluster, after a run, MB", after, HELD_MB, "{:.0f}"),
        _row(f"{name}: p50 of {ROUNDS}, s", took[ROUNDS // 2], LANDS_WITHIN_S, "{:.2f}"),
        _row(f"{name}: p95 of {ROUNDS}, s", p95, LANDS_WITHIN_S, "{:.2f}"),
    ]


def _row(figure: str, ours: float, most: float, shown: str) -> dict[str, Any]:
    told = {"figure": figure, "ours": shown.format(ours), "peer": "-", "ratio": None}
    return told | {"goal": f"<= {most:g}", "met": ours <= most}


def _install(there: Cluster, folder: Path) -> None:
    """Apply ``deploy/try`` with the image that the nodes have, and wait until all of it is ready."""
    copy = folder / "deploy"
    shutil.copytree(DEPLOY, copy, ignore=shutil.ignore_patterns("chart", "__pycache__"))
    kustomization = copy / "try" / "kustomization.yaml"
    name, _, tag = AGENT.rpartition(":")
    text = kustomization.read_text()
    image = text.replace("newName: gameday-agent, newTag: 0.1.0", f"newName: {name}, newTag: '{tag}'")
    assert image != text, "deploy/try names its image otherwise by now"
    kustomization.write_text(image)
    objects = there.kubectl("kustomize", str(copy / "try"))
    there.kubectl("apply", "-f", "-", stdin=objects)
    # Nobody makes volumes in this cluster, and what the ledger stands on changes no figure.
    volumes = [{"name": "state", "persistentVolumeClaim": None, "emptyDir": {}}]
    patch = json.dumps({"spec": {"template": {"spec": {"volumes": volumes}}}})
    there.kubectl("patch", "deployment/gameday", "--namespace", "gameday", "--patch", patch)
    for namespace, what in (
        ("leaderboard", "statefulset/shard"),
        ("leaderboard", "deployment/gateway"),
        ("gameday", "deployment/gameday"),
    ):
        words = ("rollout", "status", what, "--timeout=280s", "--namespace", namespace)
        there.kubectl(*words, within_s=UP_WITHIN_S)


def _in_the_agent(there: Cluster, *words: str) -> str:
    return there.kubectl("exec", "deployment/gameday", "--namespace", "gameday", "--", *words)


def _held_mb(there: Cluster) -> float:
    return float(_in_the_agent(there, "python", "-c", HELD))


def _have_a_run(there: Cluster) -> None:
    """Roll the gateway out, and wait until the agent's run after it has ended."""
    there.kubectl("rollout", "restart", "deployment/gateway", "--namespace", "leaderboard")

    def has_ended() -> bool:
        runs = json.loads(_in_the_agent(there, "gameday", "runs", "--json"))
        return bool(runs and runs[0]["ended_at"])

    _until(has_ended)


def _cuts(there: Cluster, folder: str) -> list[float]:
    """Cut a shard off and heal, again and again, from a process beside the cluster; return the seconds."""
    ours = {
        "KUBECONFIG": there.kubeconfig,
        "GAMEDAY_HOME": str(Path(folder) / "home"),
        "GAMEDAY_NAMESPACES": "leaderboard",
        "GAMEDAY_IMAGE": AGENT,
        "GAMEDAY_RADIUS_COUNT": "3",
    }
    done = subprocess.run(
        [sys.executable, "-c", CUTS],
        env={**os.environ, **ours},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    told: list[float] = json.loads(done.stdout.splitlines()[-1])
    return told


def _until(holds: Callable[[], bool], *, within_s: float = 300.0) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, f"not so within {within_s:g} s"
        time.sleep(1.0)
