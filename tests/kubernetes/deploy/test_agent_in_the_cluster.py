"""The agent as `deploy/try` puts it into a cluster: it runs, reports, is replaced and killed, and mends."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ruamel.yaml import YAML

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400, func_only=True)]
DEPLOY = Path(__file__).parents[3] / "deploy"
AGENT, TARGET = "gameday-tests-agent", "gameday-tests-leaderboard"
TOKENS = "/var/run/secrets/kubernetes.io/serviceaccount"
PARTS = ((TARGET, "statefulset/shard"), (TARGET, "deployment/gateway"), (AGENT, "deployment/gameday"))
SLOW_S = 180.0
"""Pods that start and end, on a machine with other work."""
HOLDS = f"""
title: A shard that is cut off for a minute
description: Long enough for something to happen meanwhile.
extensions:
  - name: gameday
    timeout_s: 240
    after: {{workloads: [deployment/gateway], namespace: {TARGET}, settle_s: 0, debounce_s: 0}}
    blast_radius: {{count: 1}}
runtime: {{rollbacks: {{strategy: always}}}}
steady-state-hypothesis:
  title: The shards are ready
  probes:
    - name: ready
      type: probe
      tolerance: true
      provider:
        type: python
        module: probes.pods
        func: are_ready
        arguments: {{namespace: {TARGET}, selector: app=shard, count_min: 3}}
method:
  - name: cut
    type: action
    provider:
      type: python
      module: agent.faults.pod_networks
      func: partition
      arguments: {{namespace: {TARGET}, selector: app=shard, peers: [pods/app=gateway], max_duration_s: 200}}
    pauses: {{after: HOLD_S}}
rollbacks:
  - {{name: heal, type: action, provider: {{type: python, module: agent.faults, func: heal}}}}
"""

GO_ON = "/var/lib/gameday/go-on"
WAITS = f"""\
  - name: wait
    type: action
    provider:
      type: process
      path: sh
      arguments: [-c, "until [ -e {GO_ON} ]; do sleep 0.2; done"]
      timeout: 150
"""
"""An action that ends when that file is there."""


@dataclass(frozen=True, slots=True)
class Deployed:
    """An agent in its namespace, and the leaderboard in another."""

    cluster: Any
    until: Callable[..., Any]
    objects: list[dict[str, Any]]

    def kubectl(self, *words: str, stdin: str = "") -> str:
        """Run kubectl in the agent's namespace."""
        said: str = self.cluster.kubectl("--namespace", AGENT, *words, within_s=SLOW_S, stdin=stdin)
        return said

    def pod(self) -> str | None:
        """Return the name of the agent's pod, None unless there is one and it is ready."""
        found = [
            each
            for each in self.cluster.read("pods", "--namespace", AGENT)["items"]
            if each["metadata"]["labels"].get("app.kubernetes.io/name") == "gameday"
        ]
        if len(found) != 1 or "deletionTimestamp" in found[0]["metadata"]:
            return None
        ready = [c for c in found[0]["status"].get("conditions", []) if c["type"] == "Ready"]
        name: str = found[0]["metadata"]["name"]
        return name if ready and ready[0]["status"] == "True" else None

    def run(self, *words: str) -> str:
        """Run a command beside the agent, in its container."""
        return self.kubectl("exec", "deployment/gameday", "--", *words)

    def runs(self) -> list[dict[str, Any]]:
        """Return the runs, newest first."""
        found: list[dict[str, Any]] = json.loads(self.run("gameday", "runs", "--json"))
        return found

    def ended(self, before: int) -> dict[str, Any] | None:
        """Return the newest run if there are more than *before*, and it has ended."""
        found = self.runs()
        return found[0] if len(found) > before and found[0]["ended_at"] else None

    def broken(self) -> list[dict[str, Any]]:
        """Return what the ledger holds."""
        found: list[dict[str, Any]] = json.loads(self.run("gameday", "ledger", "--json"))
        return found

    def metrics(self) -> str:
        """Return what Prometheus would get."""
        ask = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8080/metrics').read().decode())"
        return self.run("python", "-c", ask)

    def experiments(self, **texts: str) -> None:
        """Make these the experiments, and wait until the agent has them, and only them."""
        data = {f"{name}.yaml": text for name, text in texts.items()}
        meta = {"name": "gameday-experiments", "namespace": AGENT}
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}
        self.kubectl("replace", "-f", "-", stdin=json.dumps(body))
        self.mount_anew()
        want = sorted(data)
        self.until(lambda: self.run("ls", "/etc/gameday/experiments").split() == want, within_s=SLOW_S)
        taken = f'gameday_experiments{{state="taken"}} {len(data)}'
        self.until(lambda: taken in self.metrics(), within_s=SLOW_S)

    def mount_anew(self) -> None:
        """Have the kubelet look at what the agent's pod mounts: a pod that changes is seen to at once."""
        if (pod := self.pod()) is not None:
            self.kubectl("annotate", "pod", pod, f"gameday/mounted={time.time()}", "--overwrite")

    def roll_out(self) -> None:
        """Roll the gateway out."""
        for words in (("restart",), ("status", "--timeout=150s")):
            where = ("--namespace", TARGET, "rollout", words[0], "deployment/gateway", *words[1:])
            self.cluster.kubectl(*where, within_s=SLOW_S)

    def injectors(self) -> list[str]:
        """Return how each ephemeral container in a shard stands: running, terminated, waiting."""
        pods = self.cluster.read("pods", "--namespace", TARGET, "--selector", "app=shard")["items"]
        return [
            next(iter(each["state"]))
            for pod in pods
            for each in pod["status"].get("ephemeralContainerStatuses", [])
        ]

    def hold(self, for_s: int, *, more: str = "") -> int:
        """Have a shard cut off by a run after a rollout; return how many runs there were before it.

        The run goes on with the actions *more*.
        """
        text = HOLDS.replace("HOLD_S", str(for_s))
        self.experiments(holds=text.replace("\nrollbacks:\n", f"\n{more}rollbacks:\n"))
        before = len(self.runs())
        self.roll_out()
        self.until(lambda: [each for each in self.broken() if each["state"] == "applied"], within_s=SLOW_S)
        self.until(lambda: "running" in self.injectors())  # the kubelet tells a second late
        return before


def _copied(folder: Path, image: str) -> Path:
    """Return a copy of `deploy/try`, after what its user would change: names and the image."""
    shutil.copytree(DEPLOY, folder / "deploy", ignore=shutil.ignore_patterns("chart", "__pycache__"))
    name, _, tag = image.rpartition(":")
    for file in (folder / "deploy").rglob("*.yaml"):
        text = file.read_text()
        text = text.replace("newName: gameday-agent, newTag: 0.1.0", f"newName: {name}, newTag: '{tag}'")
        text = text.replace("namespace: gameday}", f"namespace: {AGENT}}}")
        text = text.replace("namespace: gameday\n", f"namespace: {AGENT}\n")
        text = text.replace("namespace: gameday,", f"namespace: {AGENT},")
        text = text.replace("namespace: leaderboard", f"namespace: {TARGET}")
        text = text.replace("value: leaderboard", f"value: {TARGET}")
        if file.name == "namespaces.yaml":
            text = text.replace("name: gameday\n", f"name: {AGENT}\n")
            text = text.replace("name: leaderboard\n", f"name: {TARGET}\n")
        file.write_text(text)
    return folder / "deploy" / "try"


@pytest.fixture(scope="module")
def installed(
    cluster: Any,
    agent_image: str,
    volume: Callable[[str, str], None],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[list[dict[str, Any]]]:
    """`kubectl apply -k deploy/try`, and `delete -k` at the end, after which nothing of it is left."""
    folder = _copied(tmp_path_factory.mktemp("try"), agent_image)
    objects = YAML(typ="safe", pure=True).load_all(cluster.kubectl("kustomize", str(folder)))
    volume(AGENT, "gameday")
    try:
        cluster.kubectl("apply", "-k", str(folder))
        for namespace, what in PARTS:
            words = ("rollout", "status", what, "--timeout=280s", "--namespace", namespace)
            cluster.kubectl(*words, within_s=300.0)
        yield [each for each in objects if each]
    finally:
        words = ("delete", "-k", str(folder), "--ignore-not-found", "--timeout=170s")
        cluster.kubectl(*words, within_s=SLOW_S)


@pytest.fixture
def deployed(cluster: Any, installed: list[dict[str, Any]], until: Callable[..., Any]) -> Deployed:
    """The agent, ready, with nothing broken."""
    deployed = Deployed(cluster, until, installed)
    until(deployed.pod, within_s=SLOW_S)
    until(lambda: not deployed.broken(), within_s=SLOW_S)
    return deployed


def test_it_runs_after_a_rollout_and_files_its_report(deployed: Deployed) -> None:
    """The experiment comes from the ConfigMap, the rights from the Role, the report goes to the volume."""
    shipped = next(each for each in deployed.objects if each["kind"] == "ConfigMap")["data"]
    deployed.experiments(**{name.removesuffix(".yaml"): text for name, text in shipped.items()})
    before = len(deployed.runs())
    deployed.roll_out()
    run = deployed.until(lambda: deployed.ended(before), within_s=SLOW_S)
    assert (run["verdict"], run["recovered"]) == ("HELD", True), run["reason"]
    assert run["title"] == "The gateway survives a killed pod"
    assert "after revision" in deployed.run("gameday", "show", run["run"])
    assert deployed.run("test", "-s", run["report"]) == ""
    assert f'"run": "{run["run"]}"' in deployed.kubectl("logs", "deployment/gameday")
    assert 'gameday_last_run_held{title="The gateway survives a killed pod"} 1' in deployed.metrics()


def test_what_its_runs_leave_behind_is_buried(deployed: Deployed) -> None:
    """The first process stands in for the program: no zombie stays, and nothing can be written but state."""
    states = deployed.run("sh", "-c", "cat /proc/[0-9]*/stat | cut -d' ' -f3 | sort -u")
    assert "Z" not in states.split()
    places = "/ /opt/gameday /etc/gameday/experiments"
    tried = f"for place in {places}; do touch $place/x 2>/dev/null && echo $place; done; true"
    assert deployed.run("sh", "-c", tried) == ""


def test_a_change_of_the_configmap_is_taken_while_it_runs(deployed: Deployed) -> None:
    """Added and broken files are noticed by the agent that runs; it is not restarted for that."""
    pod = deployed.pod()
    text = HOLDS.replace("HOLD_S", "1")
    deployed.experiments(one=text, two=text.replace("title: A shard", "title: One more shard"))
    meta = {"name": "gameday-experiments", "namespace": AGENT}
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": meta,
        "data": {"one.yaml": text, "two.yaml": "{"},
    }
    deployed.kubectl("replace", "-f", "-", stdin=json.dumps(body))
    deployed.until(lambda: 'gameday_experiments{state="refused"} 1' in deployed.metrics(), within_s=SLOW_S)
    assert 'gameday_experiments{state="taken"} 1' in deployed.metrics()
    assert deployed.pod() == pod


def test_killing_its_pod_leaves_nothing_broken_and_the_next_one_reports(deployed: Deployed) -> None:
    """No grace at all, as when a node is lost: the shard is whole at once, and the next agent says why."""
    before = deployed.hold(60)
    pod = deployed.pod()
    assert pod is not None
    deployed.kubectl("delete", "pod", pod, "--grace-period=0", "--force")
    deployed.until(lambda: "running" not in deployed.injectors(), within_s=30)
    deployed.until(lambda: deployed.pod() not in (None, pod), within_s=SLOW_S)
    run = deployed.until(lambda: deployed.ended(before), within_s=SLOW_S)
    assert (run["verdict"], run["recovered"]) == ("INCONCLUSIVE", True)
    assert "its owner died" in run["reason"]
    assert "pods.partition" in deployed.run("gameday", "show", run["run"])
    assert deployed.broken() == []


def test_replacing_it_ends_the_run_healed_and_with_a_report(deployed: Deployed) -> None:
    """A rollout of the agent itself, in the middle of a fault: SIGTERM, and time enough to mend."""
    before = deployed.hold(60)
    deployed.kubectl("rollout", "restart", "deployment/gameday")
    deployed.until(lambda: "running" not in deployed.injectors(), within_s=60)
    deployed.kubectl("rollout", "status", "deployment/gameday", "--timeout=170s")
    run = deployed.until(lambda: deployed.ended(before), within_s=SLOW_S)
    assert (run["verdict"], run["recovered"]) == ("INCONCLUSIVE", True)
    assert "SIGTERM" in run["reason"]
    assert deployed.run("test", "-s", run["report"]) == ""


def test_a_token_that_is_renewed_in_its_file_is_used_from_then_on(deployed: Deployed) -> None:
    """In the middle of a run the old one ends: beats, probes and the heal go on with the new one."""
    _give_token(deployed, "first")
    deployed.kubectl("patch", "deployment", "gameday", "--patch", json.dumps(_token_from_a_secret()))
    try:
        deployed.kubectl("rollout", "status", "deployment/gameday", "--timeout=170s")
        deployed.until(deployed.pod, within_s=SLOW_S)
        before = deployed.hold(0, more=WAITS)
        _give_token(deployed, "second")
        deployed.mount_anew()
        deployed.until(lambda: deployed.run("cat", f"{TOKENS}/token") == _given["second"], within_s=90)
        deployed.kubectl("delete", "secret", "first")
        deployed.until(lambda: deployed.metrics() and not _is_good(deployed, "first"), within_s=60)
        deployed.run("touch", GO_ON)
        run = deployed.until(lambda: deployed.ended(before), within_s=SLOW_S)
        _ended_well(run)
        before = len(deployed.runs())
        deployed.experiments(holds=HOLDS.replace("HOLD_S", "1"))
        deployed.roll_out()
        run = deployed.until(lambda: deployed.ended(before), within_s=SLOW_S)
        _ended_well(run)
    finally:
        deployed.cluster.apply(*[each for each in deployed.objects if each["kind"] == "Deployment"])
        deployed.kubectl("rollout", "status", "deployment/gameday", "--timeout=170s")


def _ended_well(run: dict[str, Any]) -> None:
    """The shard was cut off and is whole again; nobody played meanwhile, which is the one thing amiss."""
    (told,) = run["injections"]
    assert (told["landed"], told["gone"], run["recovered"]) == (True, True, True), run["reason"]
    assert run["verdict"] == "HELD" or "met no traffic" in run["reason"], run["reason"]


_given: dict[str, str] = {}


def _give_token(deployed: Deployed, bound_to: str) -> None:
    """Put a token into the Secret that is mounted; it is good as long as the Secret *bound_to* is there."""
    deployed.kubectl("create", "secret", "generic", bound_to)
    words = ("--bound-object-kind", "Secret", "--bound-object-name", bound_to)
    token = deployed.kubectl("create", "token", "gameday", *words).strip()
    _given[bound_to] = token
    authority = deployed.kubectl("get", "configmap", "kube-root-ca.crt", "-o", r"jsonpath={.data.ca\.crt}")
    data = {"token": token, "ca.crt": authority, "namespace": AGENT}
    meta = {"name": "tokens", "namespace": AGENT}
    deployed.cluster.apply({"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": data})


def _is_good(deployed: Deployed, bound_to: str) -> bool:
    """Whether the API server still knows the token that was bound to *bound_to*."""
    spec = {"token": _given[bound_to]}
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec}
    said = deployed.kubectl("create", "-f", "-", "-o", "json", stdin=json.dumps(body))
    return bool(json.loads(said)["status"].get("authenticated"))


def _token_from_a_secret() -> dict[str, Any]:
    mount = {"name": "tokens", "mountPath": TOKENS, "readOnly": True}
    container = {"name": "agent", "volumeMounts": [mount]}
    volume = {"name": "tokens", "secret": {"secretName": "tokens"}}
    pod = {"automountServiceAccountToken": False, "containers": [container], "volumes": [volume]}
    return {"spec": {"template": {"spec": pod}}}
