"""A NetworkPolicy isolates where the network enforces one, and goes away with nobody alive."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import threading
import time
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from agent.clients import kubernetes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Scene

pytestmark = pytest.mark.cluster

RULES = """
table inet played {{ }}
delete table inet played
table inet played {{
 chain forward {{
  type filter hook forward priority -10;
  {drops}
 }}
}}
"""


def _policies(scene: Scene) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = scene.cluster.read(
        "networkpolicies", "-n", scene.namespace, "--show-managed-fields"
    )["items"]
    return found


def _marked(scene: Scene) -> list[dict[str, Any]]:
    return list(scene.pods("gameday/isolated").values())


def _leftovers(scene: Scene) -> list[Any]:
    return [*_policies(scene), *scene.cluster.read("jobs", "-n", scene.namespace)["items"], *_marked(scene)]


def _isolate(scene: Scene, **arguments: Any) -> Any:
    where = {"namespace": scene.namespace, "selector": "app=gateway", "port": 8080}
    return scene.play("networkpolicies:isolate", **where, **arguments)


@pytest.fixture
def network(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A network that enforces policies: what a plugin does, in the forwarding of both nodes.

    The bridge of the test cluster enforces none; here the test drops, in the kernel of each node, what
    is for or from a pod that a policy selects, as long as there is the policy.
    """
    nodes = _nodes(scene)
    if not nodes:
        pytest.skip("needs the nodes of a cluster of ours (--cluster=real)")
    over = threading.Event()
    monkeypatch.setenv("KUBECONFIG", str(scene.kubeconfig))
    policies = f"/apis/networking.k8s.io/v1/namespaces/{scene.namespace}/networkpolicies"
    pods = f"/api/v1/namespaces/{scene.namespace}/pods"

    def enforce() -> None:
        had: set[str] | None = None
        with kubernetes.connect() as api:  # in this very process: kill_all ends whatever the test starts
            api.get("/version")
            connected.set()
            while not over.is_set():
                selected = api.items(pods, selector="gameday/isolated") if [*api.items(policies)] else ()
                now = {pod["status"]["podIP"] for pod in selected}
                if now == had:
                    continue
                drops = "\n  ".join(f"ip daddr {each} drop; ip saddr {each} drop;" for each in sorted(now))
                for node in nodes:
                    _nft(node, RULES.format(drops=drops))
                had = now

    connected = threading.Event()
    enforcing = threading.Thread(target=enforce)
    enforcing.start()
    assert connected.wait(20)
    yield
    over.set()
    enforcing.join()
    for node in nodes:
        _nft(node, RULES.format(drops=""))


def _nodes(scene: Scene) -> list[int]:
    """Return the pids whose network namespaces are the nodes'."""
    if scene.cluster.starter is None or shutil.which("nsenter") is None:
        return []
    nodes = []
    for child in psutil.Process(scene.cluster.starter).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            words = child.cmdline()
            if child.name() != "unshare" and len(words) > 2 and words[1].endswith("node.py"):
                nodes.append(child.pid)
    return nodes


def _nft(pid: int, script: str) -> None:
    command = ["nsenter", f"--net=/proc/{pid}/ns/net", "nft", "-f", "-"]
    environ = {"PATH": os.environ["PATH"]}
    subprocess.run(command, input=script, text=True, check=True, timeout=20, env=environ)


def test_where_the_network_enforces_nothing_it_did_not_land_and_nothing_is_left(scene: Scene) -> None:
    """The pod still answers, so it is told and taken out again: policy, Job and label."""
    told = _isolate(scene).told()
    if "error" not in told:
        pytest.skip("this cluster's network enforces NetworkPolicies")
    assert (told["error"], "enforce NetworkPolicies" in told["says"]) == ("DidNotLand", True), told
    assert _leftovers(scene) == []
    assert scene.stage.open_injections() == ()


def test_a_pod_that_does_not_answer_before_is_refused(scene: Scene) -> None:
    """Its silence afterwards would show nothing."""
    told = scene.play(
        "networkpolicies:isolate", namespace=scene.namespace, selector="app=gateway", port=9999
    ).told()
    assert (told["error"], "port 9999" in told["says"]) == ("Refused", True), told
    assert _leftovers(scene) == []


@pytest.mark.usefixtures("network")
def test_one_pod_is_cut_off_and_comes_back(scene: Scene, until: Callable[..., Any]) -> None:
    """It lands, lasts longer than its lease because it is renewed, carries its run, and heals."""
    playing = _isolate(scene)
    told = playing.told()
    assert (told.get("landed"), told.get("dose", {}).get("measured")) == (True, {"pods": 1}), told
    policy = _policies(scene)[0]
    assert policy["metadata"]["labels"]["gameday/run"]
    assert policy["metadata"]["managedFields"][0]["manager"] == "gameday"
    job = ["job", policy["metadata"]["name"], "-n", scene.namespace]
    until(lambda: scene.cluster.read(*job)["spec"]["activeDeadlineSeconds"] > 10)
    assert playing.go_on() == {"healed": ["networkpolicies.isolate"]}
    until(lambda: _leftovers(scene) == [])
    raw = f"/api/v1/namespaces/{scene.namespace}/pods/{told['victims'][0].partition('/')[2]}:8080/proxy/"
    until(lambda: "hello from" in scene.cluster.kubectl("get", "--raw", raw))


@pytest.mark.usefixtures("network")
def test_with_nobody_alive_the_cluster_itself_takes_the_policy_away(
    scene: Scene, until: Callable[..., Any]
) -> None:
    """Everything of the run is killed; within 30 s the policy is gone, and the ledger can be closed."""
    playing = _isolate(scene)
    assert playing.told()["landed"] is True
    began = time.monotonic()
    scene.stage.kill_all()
    until(lambda: not _policies(scene), within_s=60)
    assert time.monotonic() - began < 40, "30 s after the last renewal, on a machine with other work"
    assert len(_marked(scene)) == 1
    assert scene.stage.start("agent", "heal", **scene.environ).wait(60) == 0
    assert _leftovers(scene) == []
    assert scene.stage.open_injections() == ()


@pytest.mark.usefixtures("network")
def test_a_sweep_mends_what_no_ledger_knows(scene: Scene) -> None:
    """The run is dead and its state folder lost: its label is enough; a second sweep finds nothing."""
    assert _isolate(scene).told()["landed"] is True
    scene.stage.kill_all()
    shutil.rmtree(scene.stage.home)
    heal = scene.stage.start("agent", "heal", "--sweep", **scene.environ)
    _, errors = heal.communicate(timeout=60)
    assert (heal.returncode, errors.count("swept:")) == (0, 3), errors
    assert _leftovers(scene) == []
    heal = scene.stage.start("agent", "heal", "--sweep", **scene.environ)
    assert "swept:" not in heal.communicate(timeout=60)[1]
