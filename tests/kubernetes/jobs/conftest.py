"""A gateway to break, and agents whose runs live in Jobs of another namespace, with the least rights."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from agent.faults.cluster.rights import INSIDE, RIGHTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path
    from subprocess import Popen

    from conftest import Stage

    from agent.faults.cluster.rights import Right

GROUP = "rbac.authorization.k8s.io"
INSIDE_A_JOB = "agent.jobs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Works:
    """Two namespaces: what is broken, and where the Jobs are; and the stage that agents run on."""

    cluster: Any
    namespace: str
    jobs: str
    stage: Stage
    image: str

    @property
    def environ(self) -> dict[str, str]:
        """The settings of an agent whose runs live in Jobs."""
        return {
            "KUBECONFIG": str(self.cluster.kubeconfig),
            "GAMEDAY_NAMESPACES": self.namespace,
            "GAMEDAY_EXECUTOR": "kubernetes-job",
            "GAMEDAY_IMAGE": self.image,
            "GAMEDAY_JOB_NAMESPACE": self.jobs,
            "GAMEDAY_JOB_SERVICE_ACCOUNT": "runs",
            "GAMEDAY_LOG_LEVEL": "info",
            "GATEWAY_NAMESPACE": self.namespace,
        }

    def start(self, *words: str) -> Popen[str]:
        """Start ``gameday`` with *words*."""
        return self.stage.start("agent", *words, **self.environ)

    def experiment(self, *, hold_s: float, **changes: Any) -> Path:
        """Write an experiment that cuts one pod of the gateway off from the client for *hold_s*."""
        arguments = {"namespace": self.namespace, "selector": "app=gateway", "peers": ["pods/app=client"]}
        act = {"type": "python", "module": "agent.faults.pod_networks", "func": "partition"}
        count = {"namespace": self.namespace, "selector": "app=gateway"}
        look = {"type": "python", "module": "probes.pods", "func": "count", "arguments": count}
        probe = {"name": "three", "type": "probe", "tolerance": 3, "provider": look}
        heal = {"type": "python", "module": "agent.faults", "func": "heal"}
        step = {
            "name": "cut",
            "type": "action",
            "provider": {**act, "arguments": arguments},
            "pauses": {"after": hold_s},
        }
        definition = {
            "version": "1.0.0",
            "title": "Nobody minds a gateway that the client cannot reach",
            "description": "One pod is cut off from the client.",
            "extensions": [
                {
                    "name": "gameday",
                    "timeout_s": 200,
                    "blast_radius": {"count": 1},
                    "watch": {"every_s": 0.5, "abort_after_s": 60, "look_timeout_s": 10},
                }
            ],
            "runtime": {"rollbacks": {"strategy": "always"}},
            "steady-state-hypothesis": {"title": "Three pods are there", "probes": [probe]},
            "method": [step],
            "rollbacks": [{"name": "heal", "type": "action", "provider": heal}],
            **changes,
        }
        path = self.stage.folder / "experiment.json"
        path.write_text(json.dumps(definition))
        return path

    def kubectl(self, *words: str, **more: Any) -> str:
        """Run kubectl where the Jobs are."""
        said: str = self.cluster.kubectl("--namespace", self.jobs, *words, **more)
        return said

    def job(self) -> dict[str, Any] | None:
        """Return the one Job."""
        found: list[dict[str, Any]] = self.cluster.read("jobs", "--namespace", self.jobs)["items"]
        return found[0] if found else None

    def pod(self) -> dict[str, Any]:
        """Return the pod of the one Job."""
        (found,) = self.cluster.read("pods", "--namespace", self.jobs)["items"]
        return dict(found)

    def annotations(self) -> dict[str, str]:
        """Return what the two sides wrote on the Job for each other."""
        job = self.job()
        return dict(job["metadata"].get("annotations", {})) if job else {}

    def victim(self) -> str | None:
        """Return the address of the pod that is cut off, once the client cannot reach it."""
        answers = {each: self.answers(each) for each in self.gateways()}
        cut = [address for address, answered in answers.items() if not answered]
        return cut[0] if cut else None

    def gateways(self) -> list[str]:
        """Return the addresses of the gateway's pods."""
        found = self.cluster.read("pods", "--namespace", self.namespace, "--selector", "app=gateway")
        return [pod["status"]["podIP"] for pod in found["items"]]

    def answers(self, address: str) -> bool:
        """Whether the client inside the cluster gets an answer from *address*."""
        ask = rf"printf 'GET / HTTP/1.0\r\n\r\n' | nc -w 2 {address} 8080 2>/dev/null; true"
        words = ("--namespace", self.namespace, "exec", "deployment/client", "--", "sh", "-c", ask)
        return "hello from" in self.cluster.kubectl(*words)

    def process(self, which: str) -> psutil.Process:
        """Return a process of the Job's pod, which is on this machine like its node.

        *which* is ``first`` for the container's first one, or ``run`` for the one that plays the run.
        """
        pod = self.pod()["metadata"]["name"]
        found: dict[int, psutil.Process] = {}
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if INSIDE_A_JOB in process.cmdline() and process.environ().get("HOSTNAME") == pod:
                    found[process.pid] = process
        first = next(each for each in found.values() if each.ppid() not in found)
        return first if which == "first" else next(p for p in found.values() if p.ppid() == first.pid)


def rules(rights: Iterable[Right]) -> list[dict[str, Any]]:
    """Return *rights* as the rules of a role."""
    made = []
    for each in rights:
        part = f"/{each.subresource}" if each.subresource else ""
        made.append({"apiGroups": [each.group], "resources": [each.resource + part], "verbs": [each.verb]})
    return made


@pytest.fixture
def works(
    cluster: Any, namespace: str, web: Callable[..., Any], stage: Stage, agent_image: str
) -> Iterator[Works]:
    """Three pods of a gateway, a client, and a service account for runs with no right too many."""
    yield from make(cluster, namespace, web, stage, agent_image)


@pytest.fixture
def frail_works(
    frail_cluster: Any, web: Callable[..., Any], stage: Stage, agent_image: str
) -> Iterator[Works]:
    """The same on two nodes of its own: gateway and client on the first, room for a Job on the second."""
    frail_cluster.kubectl("create", "namespace", "shop")
    frail_cluster.kubectl("cordon", "node-2")
    for works in make(frail_cluster, "shop", web, stage, agent_image):
        frail_cluster.kubectl("uncordon", "node-2")
        frail_cluster.kubectl("cordon", "node-1")
        yield works


def make(cluster: Any, namespace: str, web: Callable[..., Any], stage: Stage, image: str) -> Iterator[Works]:
    """Yield what :func:`works` is, on any cluster."""
    jobs = f"{namespace}-jobs"
    cluster.kubectl("create", "namespace", jobs)
    cluster.kubectl("--namespace", jobs, "create", "serviceaccount", "runs")
    cuts = "pods.partition, pods.drop, pods.delay, pods.fail_requests"
    far = (*RIGHTS["pods.kill"], *RIGHTS[cuts], *RIGHTS[f"{cuts} towards service/ or pods/"], *INSIDE)
    grant(cluster, namespace, jobs, rules(far))
    grant(cluster, jobs, jobs, rules(RIGHTS["a run in a Job"]))
    cluster.apply(web("gateway", namespace), web("client", namespace, replicas=1))
    for name in ("gateway", "client"):
        words = ("rollout", "status", f"deployment/{name}", "--timeout=90s", "--namespace", namespace)
        cluster.kubectl(*words, within_s=95)
    works = Works(cluster=cluster, namespace=namespace, jobs=jobs, stage=stage, image=image)
    yield works
    for started in stage.started:
        started.kill()
    cluster.kubectl("delete", "namespace", jobs, "--wait=false")


def grant(cluster: Any, namespace: str, account_of: str, rules: list[dict[str, Any]]) -> None:
    """Let the account ``runs`` do in *namespace* what *rules* say, and nothing else."""
    meta = {"name": "runs", "namespace": namespace}
    subject = {"kind": "ServiceAccount", "name": "runs", "namespace": account_of}
    role = {"apiGroup": GROUP, "kind": "ClusterRole", "name": f"runs-{namespace}"}
    cluster.apply(
        {
            "apiVersion": f"{GROUP}/v1",
            "kind": "ClusterRole",
            "metadata": {"name": f"runs-{namespace}"},
            "rules": rules,
        },
        {
            "apiVersion": f"{GROUP}/v1",
            "kind": "RoleBinding",
            "metadata": meta,
            "roleRef": role,
            "subjects": [subject],
        },
    )
