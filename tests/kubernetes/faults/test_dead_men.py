"""How soon a fault in a pod is gone when nobody heals it any more, as a client inside the cluster sees it."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import psutil
    from conftest import Scene
    from middleman import Middleman

pytestmark = pytest.mark.cluster

LATENCY_MS = 700
FAULTS: dict[str, dict[str, Any]] = {
    "partition": {},
    "drop": {"loss_fraction": 0.95},
    "delay": {"latency_ms": LATENCY_MS, "port": 8080, "direction": "ingress"},
    "fail_requests": {"status": 503, "port": 8080, "direction": "ingress"},
}
KILLED_S, SILENT_S = 2.0, 7.0
"""What must be is 0.5 s and 6 s, and is so where little else runs; this machine may have other work."""
ASK = """
import asyncio, json, sys, time

async def ask(address):
    began = time.monotonic()
    try:
        async with asyncio.timeout(1.5):
            reader, writer = await asyncio.open_connection(address, 8080)
            writer.write(b"GET / HTTP/1.1\\r\\nhost: x\\r\\nconnection: close\\r\\n\\r\\n")
            first = await reader.readline()
            writer.close()
    except (OSError, TimeoutError):
        return
    print(json.dumps([address, time.monotonic() - began, first.decode()]), flush=True)

async def main():
    asked = set()
    while True:
        for address in sys.argv[1:]:
            asked.add(task := asyncio.ensure_future(ask(address)))
            task.add_done_callback(asked.discard)
        await asyncio.sleep(0.1)

asyncio.run(main())
"""


@dataclass(slots=True)
class Watcher:
    """When each address last answered as it does without a fault, by the clock here."""

    well: dict[str, list[float]] = field(default_factory=dict)

    def hear(self, process: subprocess.Popen[str]) -> None:
        """Take in what the client inside prints."""
        assert process.stdout is not None
        for line in process.stdout:
            address, took_s, said = json.loads(line)
            if took_s < LATENCY_MS / 2000 and " 200 " in said:
                self.well.setdefault(address, []).append(time.monotonic())

    def since(self, address: str, began: float) -> float | None:
        """Return how long after *began* the address was well, None if it is not yet."""
        return next((at - began for at in self.well.get(address, ()) if at > began), None)


@pytest.fixture
def watcher(scene: Scene, agent_image: str) -> Callable[..., Any]:
    """Return a context in which a client inside the cluster asks addresses all the time."""
    container = {"name": "watcher", "image": agent_image, "imagePullPolicy": "IfNotPresent"}
    container["command"] = ["sleep", "3600"]
    spec = {"terminationGracePeriodSeconds": 0, "containers": [container]}
    meta = {"name": "watcher", "namespace": scene.namespace, "labels": {"app": "watcher"}}
    scene.cluster.apply({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})
    scene.kubectl("wait", "pod/watcher", "--for=condition=Ready", "--timeout=60s", within_s=65)

    @contextmanager
    def watching(*addresses: str) -> Iterator[Watcher]:
        words = ("exec", "watcher", "--", "python", "-c", ASK, *addresses)
        command = [*scene.cluster.program, "--kubeconfig", str(scene.kubeconfig), "-n", scene.namespace]
        watcher = Watcher()
        outside = {name: value for name, value in os.environ.items() if name != "GAMEDAY_HOME"}
        with subprocess.Popen([*command, *words], env=outside, stdout=subprocess.PIPE, text=True) as process:
            thread = threading.Thread(target=watcher.hear, args=(process,))
            thread.start()
            try:
                yield watcher
            finally:
                process.kill()
                thread.join()

    return watching


@pytest.fixture
def chosen(scene: Scene, until: Callable[..., Any]) -> dict[str, str]:
    """One pod for each fault, with a label that says which; their addresses."""
    scene.kubectl("scale", "deployment/gateway", f"--replicas={len(FAULTS)}")
    until(lambda: len(scene.ready()) == len(FAULTS), within_s=60)
    addresses = {}
    for fault, pod in zip(FAULTS, scene.pods().values(), strict=True):
        scene.kubectl("label", "pod", pod["metadata"]["name"], f"hit={fault}")
        addresses[fault] = pod["status"]["podIP"]
    return addresses


def _all_in(scene: Scene, environ: dict[str, str]) -> None:
    """Have an agent for each fault."""
    where = {"namespace": scene.namespace, "peers": ["pods/app=watcher"]}
    for fault, given in FAULTS.items():
        agent = scene.play_with(environ, f"pod_networks:{fault}", **where, selector=f"hit={fault}", **given)
        told = agent.told()
        assert told.get("landed") is True, told


def _gone_after_s(
    watcher: Watcher, chosen: dict[str, str], began: float, until: Callable[..., Any]
) -> dict[str, float]:
    """Return for each fault how many seconds after *began* its victim was well."""
    until(lambda: all(watcher.since(each, began) for each in chosen.values()))
    return {fault: round(watcher.since(each, began) or 0.0, 2) for fault, each in chosen.items()}


def test_every_fault_in_a_pod_is_gone_when_its_agents_are_dead_or_cut_off(
    scene: Scene,
    agent_image: str,
    watcher: Callable[..., Any],
    chosen: dict[str, str],
    middleman: Middleman,
    until: Callable[..., Any],
) -> None:
    """Cut off in silence the lease ends it; then SIGKILL to all at once, when the lease is a minute."""
    image = {"GAMEDAY_IMAGE": agent_image}
    with watcher(*chosen.values()) as seen:
        until(lambda: all(seen.since(each, 0.0) for each in chosen.values()))
        _all_in(scene, image | scene.through(middleman.config, "silent"))
        cut_off = time.monotonic()
        middleman.silent.set()
        silent = _gone_after_s(seen, chosen, cut_off, until)
        scene.stage.kill_all()
        _all_in(scene, image | {"GAMEDAY_LEASE_S": "60"})
        killed_at = _kill_at_once(scene)
        killed = _gone_after_s(seen, chosen, killed_at, until)
    assert max(silent.values()) < SILENT_S, silent
    assert max(killed.values()) < KILLED_S, killed


def _kill_at_once(scene: Scene) -> float:
    """SIGKILL to every process of the agents, all frozen first so that none can heal; return when."""
    everybody: list[psutil.Process] = []
    while fresh := [each for each in scene.stage.processes() if each not in everybody]:
        everybody += fresh
        for each in fresh:
            each.suspend()
    began = time.monotonic()
    for each in everybody:
        each.kill()
    return began
