"""What the tests of Kubernetes faults share: processes that know the cluster, and a client inside it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from agent.faults.cluster.rights import RESTORER_RIGHTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from conftest import Stage

    from agent.faults.cluster.rights import Right

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

    def run(
        self, environ: dict[str, str], *faults: tuple[str, dict[str, Any]], hold_s: float
    ) -> subprocess.Popen[str]:
        """Start ``gameday run`` of *faults* (``module:name``, arguments), *hold_s* after the last one."""
        steps = [_step(fault, {"namespace": self.namespace, **given}) for fault, given in faults]
        steps[-1]["pauses"] = {"after": hold_s}
        wanted = {"namespace": self.namespace, "name": "client", "which": "wanted"}
        probe = _step("probes.deployments:replicas", wanted) | {"type": "probe", "tolerance": 1}
        watch = {"every_s": 0.5, "abort_after_s": 90, "look_timeout_s": 5}
        extension = {"timeout_s": 200, "blast_radius": {"count": 5}, "watch": watch, "recover_within_s": 5}
        definition = {
            "version": "1.0.0",
            "title": "Nobody minds",
            "description": "What happens on a bad day.",
            "extensions": [{"name": "gameday", "during": {"unsteady_s_max": 60}, **extension}],
            "runtime": {"rollbacks": {"strategy": "always"}},
            "steady-state-hypothesis": {"title": "One client is wanted", "probes": [probe]},
            "method": steps,
            "rollbacks": [_step("agent.faults:heal", {})],
        }
        path = self.stage.folder / "bad-day.json"
        path.write_text(json.dumps(definition))
        return self.stage.start("agent", "run", str(path), "--json", **{**self.environ, **environ})

    def kill(self, **arguments: Any) -> dict[str, Any]:
        """Kill pods of the gateway and heal; return the first answer and the last one under ``end``."""
        playing = self.play(
            "pods:kill", **{"namespace": self.namespace, "selector": "app=gateway", **arguments}
        )
        told = playing.told()
        return told if "error" in told else {**told, "end": playing.go_on()}

    def through(self, config: dict[str, Any], name: str) -> dict[str, str]:
        """Write *config* as a kubeconfig and return the environment that names it."""
        path = self.stage.folder / f"{name}.kubeconfig"
        path.write_text(json.dumps(config))
        return {"KUBECONFIG": str(path)}

    def account(self, name: str, rules: list[dict[str, Any]]) -> dict[str, str]:
        """Make a service account with *rules* in this namespace and return the environment to be it."""
        self.kubectl("create", "serviceaccount", name)
        meta = {"name": name, "namespace": self.namespace}
        group = "rbac.authorization.k8s.io"
        subject = {"kind": "ServiceAccount", **meta}
        binding = {
            "roleRef": {"apiGroup": group, "kind": "Role", "name": name},
            "subjects": [subject],
            "metadata": meta,
        }
        self.cluster.apply(
            {"apiVersion": f"{group}/v1", "kind": "Role", "metadata": meta, "rules": rules},
            {"apiVersion": f"{group}/v1", "kind": "RoleBinding", **binding},
        )
        config = json.loads(self.kubeconfig.read_text())
        config["users"][0]["user"] = {"token": self.kubectl("create", "token", name).strip()}
        return self.through(config, name)

    def lease(self, home: str) -> dict[str, Any] | None:
        """Return the one Lease in namespace *home*, None when there is none."""
        found = self.cluster.read("leases", "--namespace", home)["items"]
        assert len(found) < 2, found
        return dict(found[0]) if found else None

    def leftovers(self, home: str) -> list[str]:
        """Return what restorers left in namespace *home*, as kind and name."""
        listed = self.cluster.kubectl("get", "jobs,leases,pods", "--namespace", home, "--output=name")
        return sorted(listed.split())

    def answers(self, address: str) -> bool:
        """Whether a client inside the cluster gets an answer from *address*."""
        ask = rf"printf 'GET / HTTP/1.0\r\n\r\n' | nc -w 2 {address} 8080 2>/dev/null; true"
        return "hello from" in self.kubectl("exec", "deployment/client", "--", "sh", "-c", ask)


def _step(call: str, arguments: dict[str, Any]) -> dict[str, Any]:
    module, _, name = call.partition(":")
    module = module if "." in module else f"agent.faults.{module}"
    provider = {"type": "python", "module": module, "func": name, "arguments": arguments}
    return {"name": name.replace("_", "-"), "type": "action", "provider": provider}


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
    _deploy(cluster, web("gateway", namespace), web("client", namespace, replicas=1))
    return Scene(cluster=cluster, namespace=namespace, stage=stage, kubeconfig=cluster.kubeconfig)


@pytest.fixture
def frail_scene(frail_cluster: Any, web: Callable[..., Any], stage: Stage) -> Scene:
    """The same in a cluster of the test's own: the client on the first node, the gateway on the second."""
    cluster = frail_cluster
    cluster.kubectl("create", "namespace", "shop")
    for name, closed, open_ in (("client", "node-2", "node-1"), ("gateway", "node-1", "node-2")):
        cluster.kubectl("uncordon", open_)
        cluster.kubectl("cordon", closed)
        _deploy(cluster, web(name, "shop", replicas=1 if name == "client" else 3))
    return Scene(cluster=cluster, namespace="shop", stage=stage, kubeconfig=cluster.kubeconfig)


def _deploy(cluster: Any, *deployments: dict[str, Any]) -> None:
    cluster.apply(*deployments)
    for each in deployments:
        name, namespace = each["metadata"]["name"], each["metadata"]["namespace"]
        words = ("rollout", "status", f"deployment/{name}", "--timeout=90s")
        cluster.kubectl("--namespace", namespace, *words, within_s=95)


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """The namespace that restorers run in, and the environment that says so."""

    namespace: str
    environ: dict[str, str]


@pytest.fixture
def home_of_restorers(scene: Scene, agent_image: str) -> Iterator[Home]:
    """A namespace with the restorers' account, which has exactly the rights that the table names."""
    name = f"{scene.namespace}-home"
    scene.cluster.kubectl("create", "namespace", name)
    scene.cluster.kubectl("create", "serviceaccount", "gameday-restorer", "--namespace", name)
    subject = {"kind": "ServiceAccount", "name": "gameday-restorer", "namespace": name}
    group = "rbac.authorization.k8s.io"
    for index, (row, rights) in enumerate(RESTORER_RIGHTS.items()):
        where = name if "namespace" in row else scene.namespace
        whole = any(right.everywhere for right in rights)
        kind = "ClusterRole" if whole else "Role"
        meta = {"name": f"{name}-{index}", **({} if whole else {"namespace": where})}
        scene.cluster.apply(
            {"apiVersion": f"{group}/v1", "kind": kind, "metadata": meta, "rules": rules_of(rights)},
            {
                "apiVersion": f"{group}/v1",
                "kind": f"{kind}Binding",
                "metadata": meta,
                "roleRef": {"apiGroup": group, "kind": kind, "name": meta["name"]},
                "subjects": [subject],
            },
        )
    environ = {"GAMEDAY_RESTORER_NAMESPACE": name, "GAMEDAY_IMAGE": agent_image, "GAMEDAY_NODES": "*"}
    yield Home(namespace=name, environ=environ)
    for kind in ("clusterrole", "clusterrolebinding"):
        names = [f"{name}-{index}" for index in range(len(RESTORER_RIGHTS))]
        scene.cluster.kubectl("delete", kind, *names, "--ignore-not-found")
    scene.cluster.kubectl("delete", "namespace", name, "--wait=false")


def rules_of(rights: Iterable[Right]) -> list[dict[str, Any]]:
    """Return *rights* as the rules of a role."""
    return [
        {
            "apiGroups": [each.group],
            "resources": [each.resource + (f"/{each.subresource}" if each.subresource else "")],
            "verbs": [each.verb],
        }
        for each in rights
    ]


@pytest.fixture
def denial(scene: Scene, until: Callable[..., Any]) -> Iterator[Callable[[str, str, str], None]]:
    """Return a function that has the API server deny an operation on a resource, and scalings among it."""
    name = f"{scene.namespace}-denies"
    group = "admissionregistration.k8s.io"

    def deny(api_group: str, resource: str, operation: str) -> None:
        rule = {"apiGroups": [api_group], "apiVersions": ["*"], "resources": [resource]}
        rule["operations"] = [operation]
        spec = {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [rule]},
            "validations": [{"expression": "false", "message": "the change board says no"}],
        }
        here = {"matchLabels": {"kubernetes.io/metadata.name": scene.namespace}}
        binding = {
            "policyName": name,
            "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": here},
        }
        kinds = (("ValidatingAdmissionPolicy", spec), ("ValidatingAdmissionPolicyBinding", binding))
        for kind, content in kinds:
            meta = {"name": name}
            scene.cluster.apply(
                {"apiVersion": f"{group}/v1", "kind": kind, "metadata": meta, "spec": content}
            )
        until(lambda: _denied(scene, "scale", "deployment/gateway", "--replicas=2"))

    yield deny
    for kind in ("validatingadmissionpolicybinding", "validatingadmissionpolicy"):
        scene.cluster.kubectl("delete", kind, name, "--ignore-not-found")
    until(lambda: not _denied(scene, "scale", "deployment/gateway", "--replicas=2"))  # it lingers a moment


def _denied(scene: Scene, *words: str) -> bool:
    """Whether the API server denies by now what *words* for kubectl ask, as a dry run."""
    try:
        scene.kubectl(*words, "--dry-run=server")
    except AssertionError as error:
        return "change board" in str(error)
    return False
