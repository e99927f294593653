"""Deployments are scaled and restarted for real; the number comes back with nobody of the agent alive."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import experiments
from agent.safety.context import new_run_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Home, Scene

pytestmark = pytest.mark.cluster

FILES = Path(experiments.__path__[0]) / "kubernetes"
BACK_WITHIN_S = 30.0
"""What is promised: from the last renewal until the number is back, with nobody alive."""


def _scale(scene: Scene, home: Home, *, environ: dict[str, str] | None = None, **arguments: Any) -> Any:
    given = {"namespace": scene.namespace, "selector": "app=gateway", "replicas": 1, **arguments}
    return scene.play_with({**home.environ, **(environ or {})}, "deployments:scale", **given)


def _replicas(scene: Scene, name: str = "gateway") -> int:
    return int(scene.cluster.read(f"deployment/{name}", "-n", scene.namespace)["spec"]["replicas"])


def _notes(scene: Scene, home: Home) -> dict[str, str]:
    lease = scene.lease(home.namespace)
    return dict(lease["metadata"].get("annotations") or {}) if lease else {}


def _only(scene: Scene) -> Any:
    """Return the one injection of the ledger, healed or not."""
    from agent.store import Store

    store = Store(scene.stage.home)
    try:
        (found,) = store.injections()
    finally:
        store.close()
    return found


def test_a_deployment_is_scaled_for_longer_than_a_lease_and_is_whole_again(
    scene: Scene, home_of_restorers: Home, until: Callable[..., Any]
) -> None:
    """Two pods stop answering a client inside; the lease is renewed; healed, nothing of it is left."""
    before = scene.pods()
    playing = _scale(scene, home_of_restorers)
    told = playing.told()
    assert told["dose"]["measured"]["replicas"] == {f"Deployment {scene.namespace}/gateway": 1}, told
    assert told["dose"]["measured"]["restorers"] >= 1
    until(lambda: len(scene.ready()) == 1)
    lost = before.keys() - scene.ready()
    until(lambda: not any(scene.answers(before[uid]["status"]["podIP"]) for uid in lost))
    until(lambda: max(map(int, _beats(scene, home_of_restorers))) >= 6, within_s=60)  # every 3 s
    assert _replicas(scene) == 1
    assert playing.go_on() == {"healed": ["deployments.scale"]}
    assert (_replicas(scene), len(scene.ready())) == (3, 3)
    assert _only(scene).missed is None
    until(lambda: scene.leftovers(home_of_restorers.namespace) == [], within_s=60)


def _beats(scene: Scene, home: Home) -> list[str]:
    return [value for key, value in _notes(scene, home).items() if value.isdigit()] or ["0"]


def test_restorers_never_share_a_node(scene: Scene, home_of_restorers: Home) -> None:
    """One may die with its node."""
    playing = _scale(scene, home_of_restorers)
    count = playing.told()["dose"]["measured"]["restorers"]
    pods = scene.cluster.read("pods", "-n", home_of_restorers.namespace)["items"]
    nodes = [pod["spec"]["nodeName"] for pod in pods]
    assert len(nodes) == len(set(nodes)) == count == 2
    playing.go_on()


def test_an_agent_that_is_killed_is_healed_by_its_reaper(
    scene: Scene, home_of_restorers: Home, until: Callable[..., Any]
) -> None:
    """SIGKILL while the fault is in: the number is back at once, and nothing is left of the restorers."""
    playing = _scale(scene, home_of_restorers)
    assert playing.told()["landed"] is True
    playing.process.kill()
    until(lambda: _replicas(scene) == 3, within_s=10)
    until(lambda: scene.stage.open_injections() == (), within_s=40)
    until(lambda: scene.leftovers(home_of_restorers.namespace) == [], within_s=60)


def test_with_nobody_alive_the_number_comes_back(
    scene: Scene, home_of_restorers: Home, until: Callable[..., Any]
) -> None:
    """Everything of the run is killed; the restorers put it back, and the next command closes the ledger."""
    playing = _scale(scene, home_of_restorers)
    assert playing.told()["landed"] is True
    scene.stage.kill_all()
    began = time.monotonic()
    until(lambda: _replicas(scene) == 3, within_s=BACK_WITHIN_S)
    took = time.monotonic() - began
    assert took > 3, "nobody else put it back"
    until(lambda: "put back by its dead man" in _notes(scene, home_of_restorers).get("gameday/ended", ""))
    until(lambda: len(scene.ready()) == 3)
    assert scene.stage.start("agent", "heal", **scene.environ).wait(60) == 0
    found = _only(scene)
    assert (found.open, "nobody had renewed its lease" in found.missed) == (False, True), found.missed
    until(lambda: scene.leftovers(home_of_restorers.namespace) == [], within_s=60)


def test_what_an_operator_set_meanwhile_is_left_alone_and_told(
    scene: Scene, home_of_restorers: Home, until: Callable[..., Any]
) -> None:
    """By the run's own healing, and by the restorers when nobody is alive."""
    playing = _scale(scene, home_of_restorers)
    assert playing.told()["landed"] is True
    scene.kubectl("scale", "deployment/gateway", "--replicas=2")
    assert playing.go_on() == {"healed": ["deployments.scale"]}
    assert _replicas(scene) == 2
    assert "2 replicas, set by kubectl" in _only(scene).missed
    until(lambda: scene.leftovers(home_of_restorers.namespace) == [], within_s=60)
    until(lambda: len(scene.ready()) == 2)
    playing = _scale(scene, home_of_restorers, environ={"GAMEDAY_RUN": ""})
    assert playing.told()["landed"] is True
    scene.kubectl("scale", "deployment/gateway", "--replicas=4")
    scene.stage.kill_all()
    until(lambda: "left so" in _notes(scene, home_of_restorers).get("gameday/ended", ""), within_s=30)
    assert _replicas(scene) == 4


def test_a_job_that_somebody_deletes_puts_the_number_back_first(
    scene: Scene, home_of_restorers: Home, until: Callable[..., Any]
) -> None:
    """Its pods are asked to end, find their Job gone, and do not wait for the lease."""
    playing = _scale(scene, home_of_restorers)
    assert playing.told()["landed"] is True
    began = time.monotonic()
    scene.cluster.kubectl(
        "delete", "jobs", "--all", "--namespace", home_of_restorers.namespace, "--wait=false"
    )
    until(lambda: _replicas(scene) == 3, within_s=30)
    assert time.monotonic() - began < 9, "before the lease would have lapsed"
    assert playing.go_on() == {"healed": ["deployments.scale"]}


def test_a_sweep_puts_back_what_no_ledger_knows(
    scene: Scene, home_of_restorers: Home, until: Callable[..., Any]
) -> None:
    """The run is dead and its state folder lost: the order that its Job carries is enough."""
    assert _scale(scene, home_of_restorers).told()["landed"] is True
    scene.stage.kill_all()
    shutil.rmtree(scene.stage.home)
    environ = {**scene.environ, **home_of_restorers.environ}
    heal = scene.stage.start("agent", "heal", "--sweep", **environ)
    _, errors = heal.communicate(timeout=60)
    assert (heal.returncode, _replicas(scene)) == (0, 3), errors
    assert f"Deployment {scene.namespace}/gateway, put back" in errors
    until(lambda: scene.leftovers(home_of_restorers.namespace) == [], within_s=60)
    heal = scene.stage.start("agent", "heal", "--sweep", **environ)
    assert "swept:" not in heal.communicate(timeout=60)[1]


def test_without_a_dead_man_nothing_is_touched(
    scene: Scene, home_of_restorers: Home, until: Callable[..., Any]
) -> None:
    """An image that cannot be pulled, an account that may not put the number back, and no account at all."""
    home = home_of_restorers.namespace
    told = _scale(scene, home_of_restorers, environ={"GAMEDAY_IMAGE": "never.invalid/gameday:1"}).told()
    assert told["error"] == "NoStandby", told
    assert "ImagePull" in told["says"], told
    scene.kubectl("delete", "rolebindings", "--all")
    told = _scale(scene, home_of_restorers).told()
    assert (told["error"], "403" in told["says"], "forbidden" in told["says"]) == ("NoStandby", True, True), (
        told
    )
    scene.cluster.kubectl("delete", "serviceaccount", "gameday-restorer", "--namespace", home)
    told = _scale(scene, home_of_restorers).told()
    assert (told["error"], "no service account" in told["says"]) == ("NoStandby", True), told
    assert _replicas(scene) == 3
    until(lambda: scene.leftovers(home) == [], within_s=60)
    assert scene.stage.open_injections() == ()


REFUSALS: list[tuple[dict[str, Any], str, str]] = [
    ({"replicas": 0}, "Refused", "min_ready"),
    ({"replicas": 1, "min_ready_fraction": 0.5}, "Refused", "min_ready"),
    ({"replicas": 3}, "Refused", "3 replicas already"),
    ({"replicas": -1}, "UsageError", "below 0"),
    ({"selector": "app=nobody"}, "NoTargets", "no Deployment matches"),
    ({"selector": ""}, "UsageError", "would mean all"),
    ({"namespace": "default"}, "Refused", "not in GAMEDAY_NAMESPACES"),
    ({"max_duration_s": 0}, "UsageError", "max_duration_s"),
]


def test_what_may_not_be_is_refused_before_anything_is_made(scene: Scene, home_of_restorers: Home) -> None:
    """The minimum, a selector that finds nobody, a namespace that nobody named, an exempt Deployment."""
    for arguments, error, says in REFUSALS:
        told = _scale(scene, home_of_restorers, **arguments).told()
        assert (told["error"], says in told["says"]) == (error, True), told
    scene.kubectl("label", "deployment/gateway", "gameday/exempt=true")
    assert "gameday/exempt" in _scale(scene, home_of_restorers).told()["says"]
    assert (_replicas(scene), scene.leftovers(home_of_restorers.namespace)) == (3, [])


@pytest.mark.parametrize("name", ["survives-fewer-gateways", "survives-a-restarted-gateway"])
def test_the_experiment_holds_and_runs_under_plain_chaos_run(
    scene: Scene, home_of_restorers: Home, until: Callable[..., Any], name: str
) -> None:
    """`gameday run` and the engine alone, one after the other; the Deployment is whole after each."""
    environ = {**scene.environ, **home_of_restorers.environ}
    file = str(FILES / f"{name}.yaml")
    process = scene.stage.start("agent", "run", file, "--json", **environ)
    out, errors = process.communicate(timeout=150)
    told = json.loads(out)
    assert (process.returncode, told["verdict"], told["recovered"]) == (0, "HELD", True), (told, errors)
    until(lambda: len(scene.ready()) == 3)
    process = scene.stage.start("chaostoolkit", "--no-version-check", "run", file, **environ)
    assert process.wait(150) == 0
    until(lambda: len(scene.ready()) == 3)
    assert scene.stage.open_injections() == ()
    until(lambda: scene.leftovers(home_of_restorers.namespace) == [], within_s=60)


def _restart(scene: Scene, **arguments: Any) -> Any:
    given = {"namespace": scene.namespace, "selector": "app=gateway", **arguments}
    return scene.play("deployments:restart", **given)


def test_a_restart_replaces_every_pod_and_is_no_deploy(scene: Scene) -> None:
    """Rolled out by the Deployment's own strategy; who runs after a deploy does not run after it."""
    from agent.schedule.rollouts import Progress, Workload, read_rollout

    before = scene.pods().keys()
    playing = _restart(scene)
    assert playing.told()["landed"] is True
    assert playing.go_on() == {"healed": ["deployments.restart"]}
    assert len(scene.ready() - before) == 3
    found = scene.cluster.read("deployment/gateway", "-n", scene.namespace)
    rollout = read_rollout(Workload(kind="deployment", namespace=scene.namespace, name="gateway"), found)
    assert (rollout.progress, rollout.undoing, rollout.revision) == (Progress.FINISHED, True, "2")


def test_a_restart_goes_on_with_nobody_alive(scene: Scene, until: Callable[..., Any]) -> None:
    """Everything of the run is killed; the controller finishes, and the next command closes the ledger."""
    before = scene.pods().keys()
    assert _restart(scene).told()["landed"] is True
    scene.stage.kill_all()
    until(lambda: len(scene.ready() - before) == 3, within_s=60)
    assert scene.stage.start("agent", "heal", **scene.environ).wait(60) == 0
    assert scene.stage.open_injections() == ()


def test_a_restart_that_would_leave_too_few_is_refused(scene: Scene) -> None:
    """By the Deployment's own strategy; also one that is paused or still being rolled out."""
    before = scene.pods().keys()
    assert "min_ready" in _restart(scene, min_ready=4).told()["says"]
    recreate = '{"spec": {"strategy": {"type": "Recreate", "rollingUpdate": null}}}'
    scene.kubectl("patch", "deployment/gateway", "--type=merge", "--patch", recreate)
    assert "would keep 0 of 3" in _restart(scene).told()["says"]
    scene.kubectl("rollout", "pause", "deployment/gateway")
    assert "is paused" in _restart(scene, min_ready=0).told()["says"]
    assert scene.pods().keys() == before


def test_a_run_id_is_no_longer_than_a_label_may_be() -> None:
    """It stands on everything that a run makes."""
    assert len(new_run_id()) <= 63
