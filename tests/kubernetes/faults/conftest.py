"""What the tests of Kubernetes faults share: processes that know the cluster, and a client inside it."""

from __future__ import annotations

import base64
import json
import socket
import ssl
import subprocess
import sys
import threading
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPSConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import pytest

from agent.faults.kubernetes_rights import RESTORER_RIGHTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from conftest import Stage

    from agent.faults.kubernetes_rights import Right

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


class Middleman:
    """An HTTP server on loopback that hands everything on to the API server, except what it is told not to.

    ``meddle`` gets method and path, and returns a status to answer with, ``"hang up"``, or None.
    """

    def __init__(self, kubeconfig: Path) -> None:
        config = json.loads(kubeconfig.read_text())
        self.meddle: Callable[[str, str], int | str | None] = lambda _method, _path: None
        self.seen: list[tuple[str, str]] = []
        cluster = config["clusters"][0]["cluster"]
        self._upstream = urlsplit(cluster["server"])
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self._tls = ssl.create_default_context(cadata=authority)
        middleman = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                middleman.answer(self)

            do_GET = do_POST = do_DELETE = do_PATCH = answer  # noqa: N815  # the names are the library's

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        cluster["server"] = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.config = config
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self) -> Self:
        """Begin to answer."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        self.seen.append((request.command, request.path))
        verdict = self.meddle(request.command, request.path)
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        if verdict == "hang up":
            request.close_connection = True
            request.connection.shutdown(socket.SHUT_RDWR)
            return
        if isinstance(verdict, int):
            status, said, kind = verdict, b'{"kind": "Status", "message": "meddled with"}', "application/json"
        else:
            status, said, kind = self._hand_on(request, body)
        if verdict == "lose the answer":
            request.close_connection = True
            request.connection.shutdown(socket.SHUT_RDWR)
            return
        request.send_response(status)
        request.send_header("Content-Type", kind)
        request.send_header("Content-Length", str(len(said)))
        request.end_headers()
        request.wfile.write(said)

    def _hand_on(self, request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, bytes, str]:
        kept = {k: v for k, v in request.headers.items() if k.lower() not in ("host", "connection")}
        upstream = HTTPSConnection(
            str(self._upstream.hostname), self._upstream.port, timeout=20, context=self._tls
        )
        with closing(upstream):
            upstream.request(request.command, request.path, body=body or None, headers=kept)
            answer = upstream.getresponse()
            return answer.status, answer.read(), answer.headers.get("Content-Type", "application/json")


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
def middleman(scene: Scene) -> Iterator[Middleman]:
    """A middleman before the API server, started."""
    with Middleman(scene.kubeconfig) as middleman:
        yield middleman
