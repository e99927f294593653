"""What the tests of Kubernetes faults share: processes that know the cluster, and a client inside it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Stage

PLAY = Path(__file__).with_name("play.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A deployment in a namespace of its own, and processes that may break it."""

    cluster: Any
    namespace: str
    stage: Stage
    kubeconfig: Path

    @property
    def environ(self) -> dict[str, str]:
        """The environment of everything under test."""
        return {
            **self.stage.environ,
            "KUBECONFIG": str(self.kubeconfig),
            "GAMEDAY_NAMESPACES": self.namespace,
            "GAMEDAY_RADIUS_COUNT": "5",
            "GATEWAY_NAMESPACE": self.namespace,
        }

    def kubectl(self, *words: str, **more: Any) -> str:
        """Run kubectl in the namespace."""
        said: str = self.cluster.kubectl("--namespace", self.namespace, *words, **more)
        return said

    def pods(self, selector: str = "app=gateway") -> dict[str, dict[str, Any]]:
        """Return the pods by uid."""
        found = self.cluster.read("pods", "--namespace", self.namespace, "--selector", selector)["items"]
        return {pod["metadata"]["uid"]: pod for pod in found}

    def ready(self, selector: str = "app=gateway") -> set[str]:
        """Return the uids of the pods that are ready and not ending."""
        return {uid for uid, pod in self.pods(selector).items() if is_ready(pod)}

    def play(self, fault: str, **arguments: Any) -> Playing:
        """Start a process that injects *fault*; its answers are read with :meth:`Playing.told`."""
        return self.play_with({}, fault, **arguments)

    def play_with(self, environ: dict[str, str], fault: str, **arguments: Any) -> Playing:
        """Start a process as :meth:`play` does, with more in its environment."""
        process = subprocess.Popen(
            [sys.executable, str(PLAY), f"agent.faults.{fault}", json.dumps(arguments)],
            env={**self.environ, **environ},
            cwd=self.stage.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.stage.started.append(process)
        return Playing(process)

    def kill(self, **arguments: Any) -> dict[str, Any]:
        """Kill pods of the gateway and heal; return the first answer and the last one under ``end``."""
        playing = self.play(
            "pods:kill", **{"namespace": self.namespace, "selector": "app=gateway", **arguments}
        )
        told = playing.told()
        return told if "error" in told else {**told, "end": playing.go_on()}

    def answers(self, address: str) -> bool:
        """Whether a client inside the cluster gets an answer from *address*."""
        ask = rf"printf 'GET / HTTP/1.0\r\n\r\n' | nc -w 2 {address} 8080 2>/dev/null; true"
        return "hello from" in self.kubectl("exec", "deployment/client", "--", "sh", "-c", ask)


@dataclass(frozen=True, slots=True)
class Playing:
    """A process that has injected, or was refused, and waits."""

    process: subprocess.Popen[str]

    def told(self) -> dict[str, Any]:
        """Return its next answer."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.process.stderr.read() if self.process.stderr else ""
        found: dict[str, Any] = json.loads(line)
        return found

    def go_on(self) -> dict[str, Any]:
        """Let it heal; return what it says to that."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.told()


def is_ready(pod: dict[str, Any]) -> bool:
    """Whether a pod serves and nobody has asked it to end."""
    conditions = pod["status"].get("conditions", [])
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
    return ready and "deletionTimestamp" not in pod["metadata"]


@pytest.fixture
def scene(cluster: Any, namespace: str, web: Callable[..., Any], stage: Stage) -> Scene:
    """Three ready pods of a gateway, and a client that asks them from inside."""
    client = web("client", namespace, replicas=1)
    cluster.apply(web("gateway", namespace), client)
    for name in ("gateway", "client"):
        cluster.kubectl(
            "--namespace", namespace, "rollout", "status", f"deployment/{name}", "--timeout=90s", within_s=95
        )
    return Scene(cluster=cluster, namespace=namespace, stage=stage, kubeconfig=cluster.kubeconfig)
