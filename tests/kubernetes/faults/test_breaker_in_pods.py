"""A breaker whose service runs in pods is exercised through a link inside those pods."""

from __future__ import annotations

import json
import re
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Stage

pytestmark = pytest.mark.cluster

TARGETS = Path(__file__).parents[2] / "breakers" / "targets"
TRUTH = "/tmp/truth.jsonl"
RULES = "--timeout-s 1.5 --threshold 5 --open-s 2.0"
RATE_RPS = "25"  # a pod needs some of a processor for each call
SERVES = f"exec python /code/service.py --listen 0.0.0.0:8080 --log {TRUTH} {RULES} --dependency $AT"
TOLERANCE_S, SOON_S = 0.015, 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """A service with a breaker, in pods, in front of its dependency."""

    cluster: Any
    namespace: str
    stage: Stage
    entry: str
    environ: dict[str, str]

    def kubectl(self, *words: str) -> str:
        """Run kubectl in the namespace."""
        said: str = self.cluster.kubectl("--namespace", self.namespace, *words)
        return said

    def pods(self) -> list[dict[str, Any]]:
        """Return its pods."""
        words = ("--namespace", self.namespace, "--selector", "app=shop")
        found: list[dict[str, Any]] = self.cluster.read("pods", *words)["items"]
        return found

    def start(self, *more: str, **environ: str) -> subprocess.Popen[str]:
        """Start a test of its breaker."""
        pods, towards = f"{self.namespace}/app=shop", "service/dependency:80"
        words = [
            "breaker",
            "test",
            "--entry",
            self.entry,
            "--pods",
            pods,
            "--towards",
            towards,
            "--rate",
            RATE_RPS,
        ]
        return self.stage.start("agent", *words, "--json", *more, **{**self.environ, **environ})

    def tested(self, faults: str) -> tuple[int, dict[str, Any], str]:
        """Return exit code, answer and words of such a test."""
        process = self.start("--faults", faults, "--seed", "1")
        out, said = process.communicate(timeout=200)
        return process.returncode, json.loads(out or "{}"), said

    def truth(self, pod: str, since: float) -> list[tuple[str, str, float]]:
        """Return what the breaker in *pod* did since then, by its own log; the clock is this host's."""
        lines = self.kubectl("exec", pod, "--container", "main", "--", "cat", TRUTH).splitlines()
        told = [json.loads(line) for line in lines]
        return [(each["from"], each["to"], each["at"]) for each in told if each["at"] >= since]

    def asks(self, pod: str) -> int:
        """Return the status that a program in *pod* gets from the dependency, 0 for none."""
        ask = (
            "import http.client, os; c = http.client.HTTPConnection(os.environ['AT'], timeout=2); "
            "c.request('GET', '/item?key=a'); print(c.getresponse().status)"
        )
        return int(self.kubectl("exec", pod, "--container", "main", "--", "python", "-S", "-c", ask))


def _objects(image: str, command: str, app: str, namespace: str, replicas: int) -> list[dict[str, Any]]:
    labels, meta = {"app": app}, {"name": app, "namespace": namespace}
    at = [{"name": "AT", "value": "$(DEPENDENCY_SERVICE_HOST):80"}] if app == "shop" else []
    container = {"name": "main", "image": image, "imagePullPolicy": "IfNotPresent", "env": at, "stdin": True}
    container |= {"command": ["sh", "-c", command], "ports": [{"containerPort": 8080}]}
    container |= {"readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1}}
    container |= {"resources": {"requests": {"cpu": "300m"}}}  # a share of a busy machine, and of the pod
    container |= {"volumeMounts": [{"name": "code", "mountPath": "/code"}]}
    pod = {"terminationGracePeriodSeconds": 1, "containers": [container]}
    pod |= {"volumes": [{"name": "code", "configMap": {"name": "code"}}]}
    template = {"metadata": {"labels": labels}, "spec": pod}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    ports = [{"port": 80, "targetPort": 8080}]
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": meta,
            "spec": {"selector": labels, "ports": ports},
        },
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": spec},
    ]


def _answers_soon(entry: str) -> bool:
    """Whether a program that was just started has come to its usual speed."""
    try:
        return httpx.get(entry, timeout=SOON_S).is_success
    except httpx.HTTPError:
        return False


@contextmanager
def _reached(cluster: Any) -> Iterator[str]:
    """Yield where the API server's proxy is, which calls the pods of a Service by turns."""
    words = [*cluster.program, "--kubeconfig", str(cluster.kubeconfig), "proxy", "--port=0"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"127\.0\.0\.1:\d+", process.stdout.readline())
            assert found
            yield f"http://{found[0]}"
        finally:
            process.terminate()


@pytest.fixture
def shop(
    cluster: Any, namespace: str, agent_image: str, stage: Stage, until: Callable[..., Any]
) -> Iterator[Callable[..., Shop]]:
    """Return what puts the service into so many pods and waits until it serves."""

    def open_(replicas: int) -> Shop:
        code = {each.name: each.read_text() for each in TARGETS.glob("*.py")}
        config = {"apiVersion": "v1", "kind": "ConfigMap", "data": code}
        serves = "exec python /code/dependency.py --listen 0.0.0.0:8080"
        cluster.apply(
            config | {"metadata": {"name": "code", "namespace": namespace}},
            *_objects(agent_image, serves, "dependency", namespace, 1),
        )
        cluster.apply(*_objects(agent_image, SERVES, "shop", namespace, replicas))
        for app in ("dependency", "shop"):
            words = ("rollout", "status", f"deployment/{app}", "--timeout=60s")
            cluster.kubectl("--namespace", namespace, *words, within_s=65)
        environ = {"KUBECONFIG": str(cluster.kubeconfig), "GAMEDAY_NAMESPACES": namespace}
        environ |= {"GAMEDAY_IMAGE": agent_image, "BREAKER_BASELINE_S": "4"}
        entry = f"{reached}/api/v1/namespaces/{namespace}/services/shop:80/proxy/call?key=a"
        until(lambda: all(_answers_soon(entry) for _ in range(20)), within_s=60.0)
        return Shop(cluster=cluster, namespace=namespace, stage=stage, entry=entry, environ=environ)

    with _reached(cluster) as reached:
        yield open_


def test_what_a_breaker_in_a_pod_does_is_told_as_its_own_log_has_it(shop: Callable[..., Shop]) -> None:
    """Every state in order, every transition in its bracket, with the clock of the pod allowed for."""
    service = shop(1)
    (pod,) = service.pods()
    code, told, said = service.tested("error,hang")
    assert code in (0, 1), (told.get("reason"), said)
    clock = told["clock"]
    assert 0 < clock["uncertainty_s"] < 0.1
    assert list(clock["pods"]) == [pod["metadata"]["name"]]
    stream = told["streams"][0]
    truth = service.truth(pod["metadata"]["name"], since=told["phases"][0]["began"])
    assert [(step["from"], step["to"]) for step in stream["transitions"]] == [each[:2] for each in truth]
    # The client is two proxies away: it hears late of what was decided, by less than a rejected call takes.
    tolerance_s = TOLERANCE_S + told["properties"]["fail_fast_p99_ms"]["estimate"] / 1000
    misplaced = [
        (step["after"] - at, step["before"] - at)
        for step, (*_, at) in zip(stream["transitions"], truth, strict=True)
        if not step["after"] - tolerance_s <= at <= step["before"] + tolerance_s
    ]
    assert misplaced == []
    assert {fault["kind"] for fault in told["faults"]} == {"error", "hang"}
    assert told["mapping"]["by"] == "id"
    assert service.stage.open_injections() == ()
    assert service.asks(pod["metadata"]["name"]) == 200


def test_each_of_two_pods_has_the_states_of_its_own_log(shop: Callable[..., Shop]) -> None:
    """Every told state in order, each transition in its bracket, by the clock of that pod."""
    service = shop(2)
    names = {pod["metadata"]["name"] for pod in service.pods()}
    code, told, said = service.tested("error,hang")
    assert code in (0, 1, 3), (told.get("reason"), said)  # of properties of one breaker it cannot tell
    assert set(told["clock"]["pods"]) == names
    (stream,) = told["streams"]
    assert stream["machine"]["kind"] == "replicas", stream["answer"]
    assert {each["source"] for each in stream["sources"]} == names
    assert any("open" in each["sequence"] for each in stream["sources"])
    tolerance_s = 0.1  # the client is two proxies away, and hears late of what was decided
    for each in stream["sources"]:
        steps = each["transitions"]
        if "unknown" in each["sequence"]:
            continue
        truth = service.truth(each["source"], since=told["phases"][0]["began"])
        truth = truth[: len(steps)]  # with the link its connections end, which may open it once more
        assert [(step["from"], step["to"]) for step in steps] == [one[:2] for one in truth]
        misplaced = [
            (step["after"] - at, step["before"] - at)
            for step, (*_, at) in zip(steps, truth, strict=True)
            if not step["after"] - tolerance_s <= at <= step["before"] + tolerance_s
        ]
        assert misplaced == []
    assert service.stage.open_injections() == ()
    assert [service.asks(name) for name in names] == [200, 200]


def test_a_pod_that_comes_meanwhile_ends_it(shop: Callable[..., Shop], until: Callable[..., Any]) -> None:
    """What it calls goes past the link: everything is taken out, and it is said."""
    service = shop(1)
    process = service.start("--faults", "error,hang", "--seed", "1")
    (name,) = (pod["metadata"]["name"] for pod in service.pods())
    until(lambda: service.asks(name) == 500, within_s=60.0)
    service.kubectl("scale", "deployment/shop", "--replicas=2")
    out, said = process.communicate(timeout=200)
    told = json.loads(out or "{}")
    assert told["verdict"] in ("INCONCLUSIVE", "DEVIATED"), (told, said)  # it ends with a fault in
    (new,) = (pod["metadata"]["name"] for pod in service.pods() if pod["metadata"]["name"] != name)
    assert f"{new} came after the link was made" in told["answer"] + told["reason"]
    assert service.stage.open_injections() == ()
    assert service.asks(name) == 200


def test_an_agent_that_is_killed_in_the_middle_of_a_fault_leaves_the_pods_networks_whole(
    shop: Callable[..., Shop], until: Callable[..., Any]
) -> None:
    """The lease is a minute, so that nothing but the end of the streams can be what heals."""
    service = shop(2)
    names = [pod["metadata"]["name"] for pod in service.pods()]
    service.start("--faults", "error", GAMEDAY_LEASE_S="60")
    until(lambda: [service.asks(name) for name in names] == [500, 500], within_s=60.0)
    service.stage.kill_all()
    until(lambda: [service.asks(name) for name in names] == [200, 200], within_s=10.0)

    def ended() -> bool:
        statuses = [
            status for pod in service.pods() for status in pod["status"]["ephemeralContainerStatuses"]
        ]
        return len(statuses) == 2 and all("terminated" in status["state"] for status in statuses)

    until(ended, within_s=10.0)
    code, _, errors = service.stage.gameday("heal")
    assert code == 0, errors
    assert service.stage.open_injections() == ()
