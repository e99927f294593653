"""Nodes are cordoned, drained and tainted for real, and are free again with nobody of the agent alive."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import experiments

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Home, Playing, Scene

pytestmark = pytest.mark.cluster

FILES = Path(experiments.__path__[0]) / "kubernetes"
BACK_WITHIN_S = 30.0
"""What is promised: from the last renewal until the node is free, with nobody alive."""


@pytest.fixture(autouse=True)
def tidy(cluster: Any) -> Iterator[None]:
    """Leave every node as it was for the next test, whatever this one did."""
    yield
    for node in cluster.read("nodes")["items"]:
        if ours := _marks(node):
            cluster.kubectl("uncordon", node["metadata"]["name"])
            pytest.fail(f"{node['metadata']['name']} was left with {ours}")


def _marks(node: dict[str, Any]) -> list[str]:
    """Return what of a fault is on *node*."""
    meta = node["metadata"]
    found = [key for key in ("gameday/run",) if key in meta.get("labels", {})]
    found += [key for key in ("gameday/mark",) if key in meta.get("annotations", {})]
    found += ["cordoned"] if node["spec"].get("unschedulable") else []
    return found + [t["key"] for t in node["spec"].get("taints", []) if t["key"] == "gameday/tainted"]


def _node(scene: Scene, name: str) -> dict[str, Any]:
    found: dict[str, Any] = scene.cluster.read("node", name)
    return found


def _busiest(scene: Scene) -> str:
    """Return the node with most pods of the gateway."""
    nodes = [pod["spec"]["nodeName"] for pod in scene.pods().values()]
    return max(sorted(set(nodes)), key=nodes.count)


def _hit(scene: Scene, home: Home, fault: str, node: str, **arguments: Any) -> Playing:
    given = {"selector": f"kubernetes.io/hostname={node}", **arguments}
    return scene.play_with(home.environ, f"nodes:{fault}", **given)


def _free(scene: Scene, name: str) -> bool:
    return _marks(_node(scene, name)) == []


def test_a_cordoned_node_gets_no_new_pod_and_is_freed(
    scene: Scene, home_of_restorers: Home, until: Callable[..., Any]
) -> None:
    """The pods there go on; new ones go elsewhere; healed, nothing of it is left."""
    node = _busiest(scene)
    before = scene.ready()
    playing = _hit(scene, home_of_restorers, "cordon", node)
    told = playing.told()
    assert (told["victims"], told["dose"]["measured"]["nodes"]) == ([f"Node {node}"], 1), told
    assert "gameday/run" in _node(scene, node)["metadata"]["labels"]
    scene.kubectl("scale", "deployment/gateway", "--replicas=6")
    until(lambda: len(scene.ready()) == 6)
    fresh = [pod for uid, pod in scene.pods().items() if uid not in before]
    assert [pod for pod in fresh if pod["spec"]["nodeName"] == node] == []
    assert before <= scene.ready()
    pods = scene.cluster.read("pods", "-n", home_of_restorers.namespace)["items"]
    assert node not in {pod["spec"].get("nodeName") for pod in pods}, "no restorer stands on a victim"
    assert playing.go_on() == {"healed": ["nodes.cordon"]}
    assert _free(scene, node)
    until(lambda: scene.leftovers(home_of_restorers.namespace) == [], within_s=60)


def test_a_drained_node_loses_its_pods_and_keeps_those_of_daemons(
    scene: Scene, home_of_restorers: Home, until: Callable[..., Any]
) -> None:
    """One after the other as the budget lets; they do not come back; a client inside sees which are gone."""
    budget = {"minAvailable": 2, "selector": {"matchLabels": {"app": "gateway"}}}
    meta = {"name": "keep-two", "namespace": scene.namespace}
    scene.cluster.apply(
        {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": meta, "spec": budget},
        _daemon(scene),
    )
    scene.kubectl("rollout", "status", "daemonset/daemon", "--timeout=60s", within_s=65)
    node = _busiest(scene)
    doomed = {uid: pod for uid, pod in scene.pods().items() if pod["spec"]["nodeName"] == node}
    daemons = scene.ready("app=daemon")
    fewest = [3]
    playing = _hit(scene, home_of_restorers, "drain", node, min_ready=0, others="leave")
    told = playing.told()
    fewest.append(len(scene.ready()))
    assert told["dose"]["measured"]["pods"] >= len(doomed), told
    assert not doomed.keys() & scene.ready()
    until(lambda: len(scene.ready()) == 3)
    until(lambda: scene.answers(next(iter(scene.pods().values()))["status"]["podIP"]))
    assert not any(scene.answers(pod["status"]["podIP"]) for pod in doomed.values())
    assert node not in {pod["spec"]["nodeName"] for pod in scene.pods().values() if "nodeName" in pod["spec"]}
    assert scene.ready("app=daemon") == daemons
    assert min(fewest) >= 2
    assert playing.go_on() == {"healed": ["nodes.drain"]}
    assert _free(scene, node)
    assert node not in {pod["spec"]["nodeName"] for pod in scene.pods().values()}


def _daemon(scene: Scene) -> dict[str, Any]:
    labels = {"app": "daemon"}
    container = {"name": "c", "image": scene.cluster.image("busybox"), "imagePullPolicy": "IfNotPresent"}
    container["args"] = ["sleep 600"]
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "daemon", "namespace": scene.namespace},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [container], "terminationGracePeriodSeconds": 0},
            },
        },
    }


def test_a_drain_that_a_budget_forbids_ends_uncordoned(scene: Scene, home_of_restorers: Home) -> None:
    """The budget is named, no pod of it is gone, and the node takes pods again."""
    budget = {"minAvailable": 3, "selector": {"matchLabels": {"app": "gateway"}}}
    meta = {"name": "keep-all", "namespace": scene.namespace}
    scene.cluster.apply(
        {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": meta, "spec": budget}
    )
    before, node = scene.ready(), _busiest(scene)
    told = _hit(scene, home_of_restorers, "drain", node, min_ready=0, others="leave", wait_s=1).told()
    assert told["error"] in ("Refused", "PartlyKilled"), told  # the client's pod may have been first
    assert "keep-all" in told["says"], told
    assert (scene.ready(), _free(scene, node)) == (before, True)


def test_a_drain_refuses_a_node_with_pods_that_nobody_named(scene: Scene, home_of_restorers: Home) -> None:
    """A pod of another namespace, an exempt one, one that nothing replaces, an owner that can spare none."""
    node = _busiest(scene)
    other = {"name": f"other-{scene.namespace[-6:]}", "namespace": "default", "labels": {"app": "other"}}
    container = {"name": "c", "image": scene.cluster.image("busybox"), "imagePullPolicy": "IfNotPresent"}
    container["args"] = ["sleep 600"]
    spec = {"containers": [container], "nodeName": node, "terminationGracePeriodSeconds": 0}
    scene.cluster.apply({"apiVersion": "v1", "kind": "Pod", "metadata": other, "spec": spec})
    told = _hit(scene, home_of_restorers, "drain", node, min_ready=0).told()
    scene.cluster.kubectl("delete", "pod", other["name"], "-n", "default", "--wait=true")
    assert (told["error"], "not in GAMEDAY_NAMESPACES" in told["says"]) == ("Refused", True), told
    meta = {"name": "bare", "namespace": scene.namespace}
    scene.cluster.apply({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})
    told = _hit(scene, home_of_restorers, "drain", node, min_ready=0).told()
    scene.kubectl("delete", "pod", "bare", "--wait=true")
    assert "allow_bare" in told["says"], told
    told = _hit(scene, home_of_restorers, "drain", node, min_ready=3).told()
    assert "can spare none" in told["says"], told
    scene.kubectl("label", "namespace", scene.namespace, "gameday/exempt=true")
    assert "gameday/exempt" in _hit(scene, home_of_restorers, "drain", node, min_ready=0).told()["says"]
    assert scene.leftovers(home_of_restorers.namespace) == []
    assert len(scene.ready()) == 3


def test_a_taint_keeps_new_pods_away_and_the_nodes_own_taints_stay(
    scene: Scene, home_of_restorers: Home, until: Callable[..., Any]
) -> None:
    """An operator's taint that comes meanwhile is there afterwards."""
    node = _busiest(scene)
    before = scene.ready()
    playing = _hit(scene, home_of_restorers, "taint", node)
    assert playing.told()["landed"] is True
    scene.cluster.kubectl("taint", "node", node, "theirs=yes:PreferNoSchedule")
    scene.kubectl("scale", "deployment/gateway", "--replicas=6")
    until(lambda: len(scene.ready()) == 6)
    fresh = [pod for uid, pod in scene.pods().items() if uid not in before]
    assert [pod for pod in fresh if pod["spec"]["nodeName"] == node] == []
    assert playing.go_on() == {"healed": ["nodes.taint"]}
    assert [each["key"] for each in _node(scene, node)["spec"]["taints"]] == ["theirs"]
    scene.cluster.kubectl("taint", "node", node, "theirs-")


def test_an_executing_taint_counts_minima_and_budgets_before(
    scene: Scene, home_of_restorers: Home, until: Callable[..., Any]
) -> None:
    """Refused while one would be broken; then the pods there go at once, and others replace them."""
    node = _busiest(scene)
    there = {uid for uid, pod in scene.pods().items() if pod["spec"]["nodeName"] == node}
    least = 3 - len(there)
    told = _hit(scene, home_of_restorers, "taint", node, effect="NoExecute", min_ready=least + 1).told()
    assert (told["error"], "min_ready" in told["says"]) == ("Refused", True), told
    budget = {"minAvailable": 3, "selector": {"matchLabels": {"app": "gateway"}}}
    meta = {"name": "keep-all", "namespace": scene.namespace}
    scene.cluster.apply(
        {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": meta, "spec": budget}
    )
    told = _hit(scene, home_of_restorers, "taint", node, effect="NoExecute", min_ready=0).told()
    assert (told["error"], "keep-all" in told["says"]) == ("Refused", True), told
    scene.kubectl("delete", "pdb", "keep-all")
    assert there <= scene.ready()
    playing = _hit(scene, home_of_restorers, "taint", node, effect="NoExecute", min_ready=0)
    assert playing.told()["landed"] is True
    until(lambda: not there & scene.ready())
    until(lambda: len(scene.ready()) == 3)
    assert playing.go_on() == {"healed": ["nodes.taint"]}
    assert _free(scene, node)


@pytest.mark.parametrize("fault", ["cordon", "taint", "drain"])
def test_with_nobody_alive_the_node_is_freed(
    scene: Scene, home_of_restorers: Home, until: Callable[..., Any], fault: str
) -> None:
    """Everything of the run is killed; a restorer on another node frees it, and the ledger can be closed."""
    node = _busiest(scene)
    more: dict[str, Any] = {"min_ready": 0, "others": "leave"} if fault == "drain" else {}
    told = _hit(scene, home_of_restorers, fault, node, **more).told()
    assert told.get("landed") is True, told
    scene.stage.kill_all()
    began = time.monotonic()
    until(lambda: _free(scene, node), within_s=BACK_WITHIN_S)
    assert time.monotonic() - began > 3, "nobody else freed it"
    assert scene.stage.start("agent", "heal", **scene.environ).wait(60) == 0
    assert scene.stage.open_injections() == ()
    until(lambda: scene.leftovers(home_of_restorers.namespace) == [], within_s=60)


def test_an_agent_that_is_killed_is_healed_by_its_reaper(
    scene: Scene, home_of_restorers: Home, until: Callable[..., Any]
) -> None:
    """SIGKILL while the node is cordoned."""
    node = _busiest(scene)
    playing = _hit(scene, home_of_restorers, "cordon", node)
    assert playing.told()["landed"] is True
    playing.process.kill()
    until(lambda: _free(scene, node), within_s=10)
    until(lambda: scene.stage.open_injections() == (), within_s=40)


def test_what_an_operator_decides_about_the_node_meanwhile_stays(
    scene: Scene, home_of_restorers: Home
) -> None:
    """Uncordoned and cordoned by them: it stays cordoned, and only our label goes."""
    node = _busiest(scene)
    playing = _hit(scene, home_of_restorers, "cordon", node)
    assert playing.told()["landed"] is True
    scene.cluster.kubectl("uncordon", node)
    scene.cluster.kubectl("cordon", node)
    assert playing.go_on() == {"healed": ["nodes.cordon"]}
    assert _marks(_node(scene, node)) == ["cordoned"]
    scene.cluster.kubectl("uncordon", node)


def test_which_nodes_may_be_hit(scene: Scene, home_of_restorers: Home) -> None:
    """Named nodes only; the control plane written out; never the last one; one fault at a node at a time."""
    node = _busiest(scene)
    environ = home_of_restorers.environ
    where = {"selector": f"kubernetes.io/hostname={node}"}
    unset = {**environ, "GAMEDAY_NODES": ""}
    assert "GAMEDAY_NODES is not set" in scene.play_with(unset, "nodes:cordon", **where).told()["says"]
    other = {**environ, "GAMEDAY_NODES": "worker-*"}
    assert "not in GAMEDAY_NODES" in scene.play_with(other, "nodes:cordon", **where).told()["says"]
    assert "would mean all" in scene.play_with(environ, "nodes:cordon", selector="").told()["says"]
    told = scene.play_with(environ, "nodes:cordon", **where, nodes_left_min=9).told()
    assert "nodes_left_min" in told["says"], told
    role = "node-role.kubernetes.io/control-plane"
    scene.cluster.kubectl("label", "node", node, f"{role}=")
    told = scene.play_with(environ, "nodes:cordon", **where).told()
    scene.cluster.kubectl("label", "node", node, f"{role}-", "gameday/exempt=true")
    assert "of the control plane" in told["says"], told
    told = scene.play_with(environ, "nodes:cordon", **where).told()
    scene.cluster.kubectl("label", "node", node, "gameday/exempt-")
    assert "gameday/exempt" in told["says"], told
    assert scene.leftovers(home_of_restorers.namespace) == []
    first = _hit(scene, home_of_restorers, "cordon", node)
    assert first.told()["landed"] is True
    told = _hit(scene, home_of_restorers, "taint", node).told()
    assert (told["error"], "under a fault of run" in told["says"]) == ("NoTargets", True), told
    first.go_on()


def test_a_sweep_frees_a_node_that_no_job_and_no_ledger_knows(scene: Scene, home_of_restorers: Home) -> None:
    """The run is dead, its state folder lost, and so are Job and Lease: the label on the node is enough."""
    node = _busiest(scene)
    assert _hit(scene, home_of_restorers, "taint", node).told()["landed"] is True
    scene.cluster.kubectl("delete", "clusterrolebinding", f"{home_of_restorers.namespace}-2")
    scene.stage.kill_all()
    scene.cluster.kubectl("delete", "namespace", home_of_restorers.namespace, "--wait=true", within_s=90)
    scene.cluster.kubectl("create", "namespace", home_of_restorers.namespace)
    shutil.rmtree(scene.stage.home)
    environ = {**scene.environ, **home_of_restorers.environ}
    heal = scene.stage.start("agent", "heal", "--sweep", **environ)
    _, errors = heal.communicate(timeout=60)
    assert (heal.returncode, f"node {node}" in errors, "put back" in errors) == (0, True, True), errors
    assert _free(scene, node)


@pytest.mark.parametrize("name", ["cordoned", "tainted", "drained"])
def test_the_experiment_holds_and_runs_under_plain_chaos_run(
    scene: Scene, home_of_restorers: Home, until: Callable[..., Any], name: str
) -> None:
    """`gameday run` and the engine alone, one after the other; the node is free after each."""
    node = _busiest(scene)
    budget = {"minAvailable": 2, "selector": {"matchLabels": {"app": "gateway"}}}
    meta = {"name": "keep-two", "namespace": scene.namespace}
    scene.cluster.apply(
        {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": meta, "spec": budget}
    )
    environ = {
        **scene.environ,
        **home_of_restorers.environ,
        "GATEWAY_NODES": f"kubernetes.io/hostname={node}",
    }
    file = str(FILES / f"survives-a-{name}-node.yaml")
    process = scene.stage.start("agent", "run", file, "--json", **environ)
    out, errors = process.communicate(timeout=150)
    told = json.loads(out)
    assert (process.returncode, told["verdict"], told["recovered"]) == (0, "HELD", True), (told, errors)
    assert _free(scene, node)
    until(lambda: len(scene.ready()) == 3)
    process = scene.stage.start("chaostoolkit", "--no-version-check", "run", file, **environ)
    assert process.wait(150) == 0
    assert (_free(scene, node), scene.stage.open_injections()) == (True, ())
