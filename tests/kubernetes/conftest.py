"""A real cluster for the whole session, and a namespace of its own for each test."""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import psutil
import pytest

from agent.clients.kubernetes import connect
from agent.faults.cluster.families import rules
from agent.faults.cluster.rights import missing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from types import ModuleType

    from middleman import Middleman
    from webhook import Webhook

    from agent.faults.cluster.rights import Right

UP = Path(__file__).parents[1] / "cluster" / "up.py"
SANDBOX = Path(__file__).parents[2] / "deploy" / "sandbox"
GROUP = "rbac.authorization.k8s.io"
UNABLE = 3
"""What ``up.py`` exits with when this machine cannot."""
COMPACT = """
import base64, json, urllib.request

def ask(path, **body):
    request = urllib.request.Request("http://127.0.0.1:2379/v3/kv/" + path, json.dumps(body).encode())
    return json.loads(urllib.request.urlopen(request, timeout=10).read())

newest = ask("range", key=base64.b64encode(b"/").decode())["header"]["revision"]
ask("compaction", revision=newest, physical=True)
"""
"""What has etcd compact, by its JSON gateway."""
OURS = {"busybox": "localhost/gameday-tests/busybox:1", "agent": "localhost/gameday-tests/agent:1"}
_numbers = itertools.count()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A Kubernetes to break things in."""

    kind: str
    """``real``: two nodes of ours; ``kwok``: nodes that only say they run pods; ``existing``: yours."""
    kubeconfig: Path
    program: tuple[str, ...]
    """What starts kubectl."""
    starter: int | None = None
    """The process that keeps a cluster of ours up."""

    def image(self, name: str) -> str:
        """Return the image called *name*: ``busybox`` or ``agent``.

        In a cluster of yours it is what ``GAMEDAY_TESTS_BUSYBOX_IMAGE`` or ``…_AGENT_IMAGE`` says.
        """
        if self.kind == "existing":
            return _OUTSIDE.get(f"GAMEDAY_TESTS_{name.upper()}_IMAGE") or f"{name}:latest"
        return OURS[name]

    def kubectl(self, *words: str, stdin: str = "", within_s: float = 30.0) -> str:
        """Return what kubectl prints; it has to succeed."""
        done = subprocess.run(
            [*self.program, "--kubeconfig", str(self.kubeconfig), *words],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=within_s,
        )
        assert done.returncode == 0, f"kubectl {' '.join(words)}: {done.stderr}"
        return done.stdout

    def read(self, *words: str) -> Any:
        """Return what ``kubectl get`` says, as data."""
        return json.loads(self.kubectl("get", *words, "-o", "json"))

    def apply(self, *objects: dict[str, Any]) -> None:
        """Create or change *objects*."""
        listed = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self.kubectl("apply", "-f", "-", stdin=json.dumps(listed))

    def cut_power(self, node: str) -> None:
        """Kill *node* as a power cut would: with everything on it, at once, without a word; it stays dead."""
        assert self.starter is not None, "only a node of a cluster of ours may be killed"
        for process in psutil.Process(self.starter).children(recursive=True):
            if process.name() != "unshare" and _is_init_of(node, process):
                process.send_signal(signal.SIGKILL)
                return
        pytest.fail(f"{node} does not run")

    def restart_api_server(self) -> None:
        """Kill the API server, and return when the next one answers; what it remembered is gone with it."""
        self._part("kube-apiserver").kill()
        deadline = time.monotonic() + 60.0
        while not self._is_ready():
            assert time.monotonic() < deadline, "the API server did not come back"

    def _is_ready(self) -> bool:
        try:
            return self.kubectl("get", "--raw", "/readyz") == "ok"
        except AssertionError:
            return False

    def compact(self) -> None:
        """Have etcd forget all revisions but the newest, as it is told to every five minutes."""
        pid = self._part("etcd").pid
        words = ["nsenter", f"--net=/proc/{pid}/ns/net", sys.executable, "-c", COMPACT]
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=20)
        assert done.returncode == 0, done.stderr

    def _part(self, name: str) -> psutil.Process:
        """Return the process of the control plane that is called so."""
        if self.starter is None:
            pytest.skip("only the control plane of a cluster of ours may be meddled with")
        inside = psutil.Process(self.starter).children(recursive=True)
        return next(each for each in inside if each.cmdline()[1:2] == [name])


def _is_init_of(node: str, process: psutil.Process) -> bool:
    words = process.cmdline()
    if len(words) < 3 or not words[1].endswith("node.py"):
        return False
    return f"node-{json.loads(words[2])['number']}" == node


_OUTSIDE = {
    name: value
    for name, value in os.environ.items()
    if name == "KUBECONFIG" or name.startswith("GAMEDAY_TESTS_")
}
"""Kept here because no test sees a ``GAMEDAY_`` variable of the outside."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Limit the tests here, not their setup: that may build, and each of its steps has a limit of its own."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(300, func_only=True))


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """The cluster that ``--cluster`` names, started if it is one of ours and gone afterwards."""
    kind = request.config.getoption("--cluster")
    needed = any("agent_image" in getattr(item, "fixturenames", ()) for item in request.session.items)
    more = [] if needed else ["--no-agent"]  # building it takes a minute after each change of the code
    with ExitStack() as stack:
        yield _existing() if kind == "existing" else stack.enter_context(_started(kind, more))


@pytest.fixture
def frail_cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A cluster for one test only, which may cut the power of a node."""
    if request.config.getoption("--cluster") != "real":
        pytest.skip("only a node of a cluster of ours may be killed")
    with _started("real", []) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def agent_image(cluster: Cluster) -> str:
    """The project's own image, as the work tree is now."""
    return cluster.image("agent")


def _existing() -> Cluster:
    kubeconfig = Path(_OUTSIDE.get("KUBECONFIG", Path.home() / ".kube" / "config"))
    kubectl = shutil.which("kubectl")
    if kubectl is None or not kubeconfig.exists():
        pytest.fail(f"--cluster=existing needs kubectl and {kubeconfig} (set KUBECONFIG)", pytrace=False)
    return Cluster(kind="existing", kubeconfig=kubeconfig, program=(kubectl,))


@contextmanager
def _started(kind: str, more: Sequence[str]) -> Iterator[Cluster]:
    process = subprocess.Popen(
        [sys.executable, str(UP), "--kind", kind, "--until-stdin-ends", "--json", *more],
        env={name: value for name, value in os.environ.items() if not name.startswith("GAMEDAY_")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    line = ""
    try:
        line = process.stdout.readline()
        if not line:
            _give_up(process.wait())
        facts = json.loads(line)
        yield Cluster(
            kind=kind,
            kubeconfig=Path(facts["kubeconfig"]),
            program=(facts["program"], "kubectl"),
            starter=process.pid,
        )
    finally:
        process.stdin.close()
        process.stdout.close()
        assert process.wait(60) == 0 or not line, "the cluster did not end as it should; see its words above"


def _give_up(code: int) -> None:
    """Skip where this machine cannot; with ``CI=true``, and where it should have worked, fail."""
    if code == UNABLE and os.environ.get("CI") != "true":
        pytest.skip("no cluster on this machine; `make test-cluster` installs what can be installed")
    pytest.fail("the cluster did not come up; its words are above", pytrace=False)


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A namespace of the test's own."""
    name = f"gameday-test-{os.getpid()}-{next(_numbers)}"
    cluster.kubectl("create", "namespace", name)
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
def leaderboard(cluster: Cluster, namespace: str, agent_image: str) -> str:
    """A namespace in which the leaderboard of ``deploy/sandbox`` is up."""
    objects = cluster.kubectl("kustomize", str(SANDBOX)).replace(
        "image: gameday-agent", f"image: {agent_image}"
    )
    cluster.kubectl("apply", "--namespace", namespace, "-f", "-", stdin=objects)
    for each in ("statefulset/shard", "deployment/gateway"):
        words = ("rollout", "status", each, "--timeout=90s", "--namespace", namespace)
        cluster.kubectl(*words, within_s=100.0)
    return namespace


@pytest.fixture
def web(cluster: Cluster) -> Any:
    """Return a function that makes the objects of a small web server, a pod or many, that is soon ready."""

    def make(name: str, namespace: str, *, replicas: int = 3, labels: dict[str, str] | None = None) -> Any:
        labels = {"app": name, **(labels or {})}
        return {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name, "namespace": namespace, "labels": labels},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": {"app": name}},
                "template": {"metadata": {"labels": labels}, "spec": _web_pod(cluster.image("busybox"))},
            },
        }

    return make


def _web_pod(image: str) -> dict[str, Any]:
    script = "echo hello from $HOSTNAME > /tmp/index.html; exec httpd -f -p 8080 -h /tmp"
    probe = {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1}
    container = {"name": "web", "image": image, "imagePullPolicy": "IfNotPresent", "args": [script]}
    container |= {"command": ["sh", "-c"], "readinessProbe": probe, "ports": [{"containerPort": 8080}]}
    container["volumeMounts"] = [{"name": "scratch", "mountPath": "/scratch"}]
    scratch = {"name": "scratch", "emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}}
    return {"terminationGracePeriodSeconds": 1, "containers": [container], "volumes": [scratch]}


def pods_of(cluster: Cluster, namespace: str, words: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Return the pods of *namespace*, narrowed by more *words* for kubectl."""
    found: list[dict[str, Any]] = cluster.read("pods", "--namespace", namespace, *words)["items"]
    return found


@dataclass(slots=True)
class Accounts:
    """Service accounts of one namespace, made with chosen rights and nothing else."""

    cluster: Any
    namespace: str
    folder: Path
    _made: list[str] = field(default_factory=list)
    _everywhere: list[str] = field(default_factory=list)

    def make(self, wanted: Mapping[str, Iterable[Right]], *, within: str | None = None) -> dict[str, Path]:
        """Make one for each name, and return kubeconfigs that are theirs.

        The rights hold in the namespace *within*, this one by default, or everywhere (``""``).
        """
        where = self.namespace if within is None else within
        kinds = ("Role", "RoleBinding") if where else ("ClusterRole", "ClusterRoleBinding")
        objects: list[dict[str, Any]] = []
        for name, rights in wanted.items():
            unique = f"{self.namespace}-{name}-{len(self._made)}"
            self._everywhere += [] if where else [unique]
            meta = {"name": unique, **({"namespace": where} if where else {})}
            subject = {"kind": "ServiceAccount", "name": name, "namespace": self.namespace}
            reference = {"apiGroup": GROUP, "kind": kinds[0], "name": unique}
            role = {"apiVersion": f"{GROUP}/v1", "kind": kinds[0], "metadata": meta, "rules": rules(rights)}
            binding = {"apiVersion": f"{GROUP}/v1", "kind": kinds[1], "metadata": meta}
            account = {"name": name, "namespace": self.namespace}
            objects += [
                {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account},
                role,
                {**binding, "roleRef": reference, "subjects": [subject]},
            ]
        self.cluster.apply(*objects)
        self._made.append(where)
        return {name: self._kubeconfig(name) for name in wanted}

    def _kubeconfig(self, name: str) -> Path:
        path = self.folder / f"{name}.kubeconfig"
        if not path.exists():
            config = json.loads(self.cluster.kubeconfig.read_text())
            config["users"][0]["user"] = {"token": self._token(name, config["clusters"][0]["cluster"])}
            path.write_text(json.dumps(config))
        return path

    def _token(self, name: str, there: Mapping[str, Any]) -> str:
        """Return a token of the account; asked for without kubectl, which would take longer than the rest."""
        account = f"/api/v1/namespaces/{self.namespace}/serviceaccounts/{name}"
        place = {"kubeconfig": str(self.cluster.kubeconfig), "context": None, "server": there["server"]}
        with connect(place) as api:
            token: str = api.post(f"{account}/token", {"spec": {}})["status"]["token"]
        return token

    def forget(self) -> None:
        """Take away what is in no namespace."""
        for kind in ("clusterrole", "clusterrolebinding"):
            if self._everywhere:
                self.cluster.kubectl("delete", kind, *self._everywhere, "--ignore-not-found")

    def less(self, rights: Sequence[Right], prefix: str = "less") -> dict[str, tuple[Right, ...]]:
        """Return *rights* with each of them left out once, by a name for an account."""
        return {
            f"{prefix}-{index}": tuple(each for each in rights if each != left_out)
            for index, left_out in enumerate(rights)
        }


@pytest.fixture
def accounts(cluster: Any, namespace: str, tmp_path: Path) -> Iterator[Accounts]:
    """Makes accounts in the test's namespace."""
    made = Accounts(cluster, namespace, tmp_path)
    yield made
    made.forget()


@pytest.fixture
def lacks(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, Sequence[Right], str | None], list[str]]:
    """Be an account from here on, and return which rights it lacks."""

    def become(kubeconfig: Path, rights: Sequence[Right], where: str | None) -> list[str]:
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
        with connect() as api:
            return missing(api, rights, where)

    return become


@pytest.fixture
def middleman(cluster: Cluster) -> Iterator[Middleman]:
    """A middleman before the API server, started."""
    with _beside("middleman").Middleman(cluster.kubeconfig) as started:
        yield started


@pytest.fixture
def webhook_at(cluster: Cluster) -> Callable[[str, Path], Webhook]:
    """Return a function that makes a webhook (its files in a folder) for the API server at a URL."""
    if cluster.starter is None:
        pytest.skip("only the API server of a cluster of ours is sure to reach this machine")

    def make(server: str, folder: Path) -> Webhook:
        with socket.create_connection((urlsplit(server).hostname, urlsplit(server).port)) as towards:
            made: Webhook = _beside("webhook").Webhook(towards.getsockname()[0], folder)
        return made

    return make


def _beside(name: str) -> ModuleType:
    """Return the module *name* of this folder, which is no package."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def skewed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], dict[str, str]]:
    """Return a function that makes the environment of processes whose wall clock is so many seconds ahead."""
    compiler = shutil.which("cc")
    if compiler is None:
        none = "no C compiler, so no clock can be shifted; `make test-cluster` installs one"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(none)
    library = tmp_path_factory.mktemp("clock") / "clock.so"
    words = ("-shared", "-fPIC", "-O2", "-o", str(library), str(Path(__file__).with_name("clock.c")), "-ldl")
    subprocess.run([str(compiler), *words], check=True)
    return lambda ahead_s: {"LD_PRELOAD": str(library), "CLOCK_AHEAD_S": str(ahead_s)}
