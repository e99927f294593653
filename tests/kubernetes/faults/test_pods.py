"""Pods are killed for real, each only while it can be spared; who dies on the way leaves nothing broken."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

import experiments

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Scene

pytestmark = pytest.mark.cluster

KILL = "survives-a-killed-gateway-pod.yaml"
FILE = Path(experiments.__path__[0]) / "kubernetes" / KILL


def _budget(scene: Scene, minimum: int) -> None:
    scene.cluster.apply(
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": "keep-them", "namespace": scene.namespace},
            "spec": {"minAvailable": minimum, "selector": {"matchLabels": {"app": "gateway"}}},
        }
    )


def test_the_experiment_holds_and_the_killed_pod_really_stops_answering(
    scene: Scene, until: Callable[..., Any]
) -> None:
    """`gameday run`: a client inside loses that one pod and no other; the Deployment is whole again."""
    before = scene.pods()
    process = scene.stage.start("agent", "run", str(FILE), "--json", **scene.environ)
    lost = until(lambda: before.keys() - scene.ready())
    assert len(lost) == 1
    until(lambda: not scene.answers(before[next(iter(lost))]["status"]["podIP"]))
    assert all(scene.answers(before[uid]["status"]["podIP"]) for uid in before.keys() - lost)
    out, errors = process.communicate(timeout=90)
    told = json.loads(out)
    assert (process.returncode, told["verdict"], told["recovered"]) == (0, "HELD", True), errors
    assert len(scene.ready()) == 3
    assert scene.stage.open_injections() == ()


def test_the_experiment_runs_under_plain_chaos_run(scene: Scene, until: Callable[..., Any]) -> None:
    """The same file, the engine alone; one pod is replaced and the ledger is closed."""
    before = scene.pods().keys()
    process = scene.stage.start("chaostoolkit", "--no-version-check", "run", str(FILE), **scene.environ)
    assert process.wait(90) == 0
    assert len(before - scene.ready()) == 1
    until(lambda: len(scene.ready()) == 3)
    assert scene.stage.open_injections() == ()


def test_a_disruption_budget_refuses_and_is_named(scene: Scene) -> None:
    """The eviction API says 429; nothing was touched and the ledger is closed."""
    _budget(scene, 3)
    before = scene.ready()
    told = scene.kill(wait_s=2)
    assert told["error"] == "Refused"
    assert "PodDisruptionBudget" in told["says"]
    assert "keep-them" in told["says"]
    assert scene.ready() == before
    assert scene.stage.open_injections() == ()


def test_a_run_that_a_budget_refuses_is_refused_as_a_whole(scene: Scene) -> None:
    """Exit code 4, the budget's name in the reason."""
    _budget(scene, 3)
    process = scene.stage.start("agent", "run", str(FILE), "--json", **scene.environ)
    out, errors = process.communicate(timeout=90)
    told = json.loads(out)
    assert (process.returncode, told["verdict"]) == (4, "REFUSED"), errors
    assert "keep-them" in told["reason"]


def test_delete_asks_no_budget_when_the_experiment_says_so(scene: Scene) -> None:
    """One pod is deleted in spite of the budget, and replaced."""
    _budget(scene, 3)
    before = scene.ready()
    told = scene.kill(by="delete", grace_period_s=0)
    assert (told["landed"], told["dose"]["measured"]) == (True, {"pods": 1})
    assert told["end"] == {"healed": ["pods.kill"]}
    assert len(scene.ready() - before) == 1


def test_the_ready_count_is_read_again_before_each_kill(scene: Scene) -> None:
    """Two of three with two to be kept: the second waits for the replacement of the first."""
    before, fewest, over = scene.ready(), [3], threading.Event()

    def look() -> None:
        while not over.is_set():
            fewest.append(len(scene.ready()))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        told = scene.kill(quantity=2, min_ready=2, wait_s=60)
    finally:
        over.set()
        looking.join()
    assert told["dose"]["measured"] == {"pods": 2}
    assert min(fewest) == 2
    assert len(before - scene.ready()) == 2


def test_without_the_time_to_wait_the_second_kill_is_refused_and_told(scene: Scene) -> None:
    """One was killed, and the answer says so; it is replaced before the ledger closes."""
    told = scene.kill(quantity=2, min_ready=2, wait_s=0)
    assert told["error"] == "PartlyKilled"
    assert "1 of 2 pods were killed" in told["says"]
    assert "has to keep 2" in told["says"]
    assert len(scene.ready()) == 3
    assert scene.stage.open_injections() == ()


REFUSALS: list[tuple[dict[str, Any], str, str]] = [
    ({"min_ready": 3}, "Refused", "can spare none"),
    ({"min_ready_fraction": 1.0}, "Refused", "can spare none"),
    ({"quantity": 4}, "NoTargets", "only 3 match"),
    ({"selector": "app=nobody"}, "NoTargets", "no pod matches"),
    ({"selector": ""}, "UsageError", "would mean all"),
    ({"selector": "app in gateway"}, "KubernetesError", "400"),
    ({"namespace": "kube-system"}, "Refused", "write it out"),
    ({"namespace": "default"}, "Refused", "not in GAMEDAY_NAMESPACES"),
    ({"wait_s": 601}, "UsageError", "wait_s"),
    ({"by": "magic"}, "UsageError", "eviction"),
]


def test_what_may_not_be_is_refused_before_anything_is_touched(scene: Scene) -> None:
    """The minimum, too few pods, no selector, a wrong one, and namespaces that nobody named."""
    before = scene.pods().keys()
    for arguments, error, says in REFUSALS:
        told = scene.kill(**arguments)
        assert (told["error"], says in told["says"]) == (error, True), told
    assert scene.pods().keys() == before


def test_the_label_exempt_keeps_every_fault_away(scene: Scene) -> None:
    """On the owner, on the namespace, or on the pods."""
    before = scene.pods().keys()
    label = "gameday/exempt"
    places = [["deployment/gateway"], ["namespace", scene.namespace], ["pod", "--selector", "app=gateway"]]
    for place in places:
        scene.kubectl("label", *place, f"{label}=true")
        told = scene.kill()
        assert label in told["says"], told
        scene.kubectl("label", *place, f"{label}-")
    assert scene.pods().keys() == before


def test_with_opt_in_only_what_is_labelled_is_hit(scene: Scene) -> None:
    """Nothing at first; with the label on the Deployment its pods."""
    with_opt_in = {"GAMEDAY_OPT_IN": "true"}
    arguments = {"namespace": scene.namespace, "selector": "app=gateway"}
    told = scene.play_with(with_opt_in, "pods:kill", **arguments).told()
    assert (told["error"], "gameday/enabled" in told["says"]) == ("NoTargets", True)
    scene.kubectl("label", "deployment/gateway", "gameday/enabled=true")
    assert scene.play_with(with_opt_in, "pods:kill", **arguments).told()["landed"] is True


def test_a_bare_pod_is_only_killed_when_the_experiment_allows_it(scene: Scene) -> None:
    """Nothing would replace it; allowed, it stays away and that is no fault left behind."""
    image = scene.cluster.image("busybox")
    container = {"name": "c", "image": image, "imagePullPolicy": "IfNotPresent", "args": ["sleep 600"]}
    scene.cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "bare", "namespace": scene.namespace, "labels": {"app": "bare"}},
            "spec": {"containers": [container], "terminationGracePeriodSeconds": 0},
        }
    )
    scene.kubectl("wait", "pod/bare", "--for=condition=Ready", "--timeout=60s", within_s=65)
    told = scene.kill(selector="app=bare")
    assert (told["error"], "allow_bare" in told["says"]) == ("NoTargets", True)
    told = scene.kill(selector="app=bare", allow_bare=True)
    assert (told["landed"], told["end"]) == (True, {"healed": ["pods.kill"]})


def test_the_radius_counts_the_pods_that_match(scene: Scene, tmp_path: Path) -> None:
    """A third of three pods is one; two are refused, and none is touched."""
    path = tmp_path / "two.yaml"
    text = FILE.read_text().replace("quantity: 1", "fraction: 0.67").replace("count: 1, ", "")
    path.write_text(text)
    before = scene.pods().keys()
    process = scene.stage.start("agent", "run", str(path), "--json", **scene.environ)
    out, errors = process.communicate(timeout=90)
    told = json.loads(out)
    assert (process.returncode, told["verdict"]) == (4, "REFUSED"), errors
    assert scene.pods().keys() == before


def test_an_agent_that_is_killed_in_the_middle_ends_healed(scene: Scene, until: Callable[..., Any]) -> None:
    """SIGKILL while the pod is away: its reaper waits for the replacement and closes the ledger."""
    playing = scene.play("pods:kill", namespace=scene.namespace, selector="app=gateway")
    assert playing.told()["landed"] is True
    playing.process.kill()
    until(lambda: scene.stage.open_injections() == (), within_s=40)
    assert len(scene.ready()) == 3


def test_when_nobody_is_left_the_cluster_heals_and_the_next_command_closes_the_ledger(
    scene: Scene, until: Callable[..., Any]
) -> None:
    """Everything of the run is killed at once, the reaper too: the controller is the dead man."""
    playing = scene.play("pods:kill", namespace=scene.namespace, selector="app=gateway")
    assert playing.told()["landed"] is True
    scene.stage.kill_all()
    until(lambda: len(scene.ready()) == 3, within_s=40)
    assert len(scene.stage.open_injections()) == 1
    heal = scene.stage.start("agent", "heal", **scene.environ)
    assert heal.wait(60) == 0
    assert scene.stage.open_injections() == ()


def test_an_owner_that_is_gone_is_healed_and_not_an_error(scene: Scene) -> None:
    """Somebody deletes the Deployment while its pod is away."""
    playing = scene.play("pods:kill", namespace=scene.namespace, selector="app=gateway")
    assert playing.told()["landed"] is True
    scene.kubectl("delete", "deployment/gateway")
    assert playing.go_on() == {"healed": ["pods.kill"]}


def test_what_is_not_replaced_in_time_is_not_recovered(scene: Scene, until: Callable[..., Any]) -> None:
    """A quota keeps the replacement away: the loudest word, with who lacks what; later it can be healed."""
    scene.kubectl("create", "quota", "none", "--hard=pods=4")
    until(lambda: scene.cluster.read("quota/none", "-n", scene.namespace)["status"].get("used"))
    scene.kubectl("patch", "quota/none", "--type=merge", "--patch", '{"spec": {"hard": {"pods": "1"}}}')
    playing = scene.play(
        "pods:kill", namespace=scene.namespace, selector="app=gateway", wait_s=0, max_duration_s=5
    )
    assert playing.told()["landed"] is True
    told = playing.go_on()
    assert (told["error"], "has 2 of 3 pods ready again" in told["says"]) == ("NotRecovered", True), told
    scene.kubectl("delete", "resourcequota/none")
    # Its controller has been refused many times and would pause longer and longer; news wakes it.
    scene.kubectl("annotate", "replicaset", "--selector", "app=gateway", "quota=gone")
    until(lambda: len(scene.ready()) == 3, within_s=60)
    assert scene.stage.start("agent", "heal", "--all", **scene.environ).wait(60) == 0
    assert scene.stage.open_injections() == ()


def test_of_two_agents_that_choose_the_same_pod_one_kills_it(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both read it, both order: the precondition makes one of them the loser, and it says so."""
    from agent.clients import kubernetes
    from agent.faults.cluster import pod_kills
    from agent.faults.cluster.pod_choice import Floor, candidates

    monkeypatch.setenv("KUBECONFIG", str(scene.kubeconfig))
    monkeypatch.setenv("GAMEDAY_NAMESPACES", scene.namespace)
    order = pod_kills.Order(
        by="eviction", grace_period_s=None, floor=Floor(count=0, fraction=None), unready=False, wait_s=5
    )
    with kubernetes.connect() as api:
        victim = next(iter(candidates(api, scene.namespace, "app=gateway").targets.values()))
    told, together = [], threading.Barrier(4)

    def kill() -> None:
        with kubernetes.connect() as mine:
            mine.get("/version")
            together.wait()
            told.append(pod_kills.kill_one(mine, victim, order))

    agents = [threading.Thread(target=kill) for _ in range(4)]
    for agent in agents:
        agent.start()
    for agent in agents:
        agent.join()
    assert [each.killed for each in told].count(True) == 1
    losers = [each for each in told if not each.killed]
    assert all(each.final and "somebody else" in each.why for each in losers)


def test_no_process_of_a_kill_outlives_it(scene: Scene) -> None:
    """The reaper goes when the run is healed and over."""
    playing = scene.play("pods:kill", namespace=scene.namespace, selector="app=gateway")
    playing.told()
    playing.go_on()
    playing.process.wait(10)
    _, alive = psutil.wait_procs(scene.stage.processes(), timeout=15)
    assert alive == []
