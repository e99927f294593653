"""Bad days while a value is changed: clocks, webhooks, an API server that is away or slow, nodes that die."""

from __future__ import annotations

import json
import shutil
import time
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Home, Scene
    from middleman import Middleman

pytestmark = pytest.mark.cluster

BACK_WITHIN_S = 30.0


def _scale(scene: Scene, home: Home, environ: dict[str, str] | None = None, **arguments: Any) -> Any:
    given = {"namespace": scene.namespace, "selector": "app=gateway", "replicas": 1, **arguments}
    return scene.play_with({**home.environ, **(environ or {})}, "deployments:scale", **given)


def _replicas(scene: Scene) -> int:
    return int(scene.cluster.read("deployment/gateway", "-n", scene.namespace)["spec"]["replicas"])


def _beats(scene: Scene, home: Home) -> int:
    lease = scene.lease(home.namespace)
    notes = (lease["metadata"].get("annotations") or {}) if lease else {}
    return max((int(value) for value in notes.values() if value.isdigit()), default=0)


def test_an_agent_that_is_cut_off_for_half_a_minute_is_told_so(
    scene: Scene, home_of_restorers: Home, middleman: Middleman, until: Callable[..., Any]
) -> None:
    """In the middle of `gameday run`: healed and restored without it, told when it is back, never HELD."""
    environ = home_of_restorers.environ | scene.through(middleman.config, "cut-off")
    gateway = {"selector": "app=gateway"}
    cut = ("pod_networks:partition", {**gateway, "peers": ["pods/app=client"], "quantity": 2})
    process = scene.run(environ, ("deployments:scale", {**gateway, "replicas": 2}), cut, hold_s=14)
    until(lambda: sum(bool(each.landed) for each in scene.stage.open_injections()) == 2, within_s=90)
    pods = [pod["status"]["podIP"] for uid, pod in scene.pods().items() if uid in scene.ready()]
    assert not any(scene.answers(each) for each in pods)
    began = time.monotonic()
    middleman.meddle = lambda _method, _path: "hang up" if time.monotonic() - began < 30 else None
    middleman.hang_up()
    until(lambda: all(scene.answers(each) for each in pods))
    until(lambda: _replicas(scene) == 3, within_s=BACK_WITHIN_S)
    out, errors = process.communicate(timeout=150)
    told = json.loads(out)
    assert (told["verdict"] in {"INCONCLUSIVE", "DEVIATED"}, told["recovered"]) == (True, True), (
        told,
        errors,
    )
    assert scene.stage.open_injections() == ()
    memo = json.loads((scene.stage.home / "runs" / told["run"] / "record.json").read_text())
    missed = {each["fault"]: each["missed"] for each in memo["injections"]}
    assert "nobody had renewed its lease" in missed["deployments.scale"]
    assert "so its dead man ended it" in missed["pods.partition"]
    assert len(scene.ready()) == 3
    until(lambda: scene.leftovers(home_of_restorers.namespace) == [], within_s=60)


def test_an_api_server_that_is_slow_kills_no_run(
    scene: Scene, home_of_restorers: Home, middleman: Middleman, until: Callable[..., Any]
) -> None:
    """Every renewal takes longer than the reaper waits for a beat."""

    def meddle(method: str, path: str) -> None:
        if method == "PATCH" and "/leases/" in path:
            time.sleep(2.5)

    playing = _scale(scene, home_of_restorers, scene.through(middleman.config, "slow"))
    assert playing.told()["landed"] is True
    middleman.meddle = meddle
    until(lambda: _beats(scene, home_of_restorers) >= 6, within_s=60)
    assert _replicas(scene) == 1
    assert playing.go_on() == {"healed": ["deployments.scale"]}


def test_a_webhook_that_denies_is_a_refusal_that_quotes_it(
    scene: Scene, home_of_restorers: Home, denial: Callable[..., None], until: Callable[..., Any]
) -> None:
    """An eviction and a scaling: nothing was touched, and the words of who denied are in the sentence."""
    denial("*", "*/*", "*")
    before = scene.ready()
    told = _scale(scene, home_of_restorers).told()
    assert ("change board says no" in told["says"], told["error"]) == (True, "NoStandby"), told
    told = scene.play("pods:kill", namespace=scene.namespace, selector="app=gateway", wait_s=1).told()
    assert ("change board says no" in told["says"], told["error"]) == (True, "Refused"), told
    given = {"namespace": scene.namespace, "selector": "app=gateway", "peers": ["pods/app=client"]}
    told = scene.play("pod_networks:partition", **given).told()
    assert ("change board says no" in told["says"], told["error"]) == (True, "Unsupported"), told
    assert (scene.ready(), _replicas(scene)) == (before, 3)
    assert scene.stage.open_injections() == ()
    until(lambda: scene.leftovers(home_of_restorers.namespace) == [], within_s=60)


def test_a_webhook_that_denies_the_way_back_is_the_loudest_word_until_it_is_gone(
    scene: Scene, home_of_restorers: Home, denial: Callable[..., None], until: Callable[..., Any]
) -> None:
    """It came while the fault was in: not recovered, and who is in the way; gone, the restorers manage."""
    playing = _scale(scene, home_of_restorers)
    told = playing.told()
    assert told.get("landed") is True, told
    denial("apps", "deployments/scale", "UPDATE")
    told = playing.go_on()
    assert (told["error"], "change board says no" in told["says"]) == ("NotRecovered", True), told
    assert _replicas(scene) == 1
    scene.stage.kill_all()
    name = f"{scene.namespace}-denies"
    scene.cluster.kubectl("delete", "validatingadmissionpolicybinding", name)
    until(lambda: _replicas(scene) == 3, within_s=BACK_WITHIN_S)
    assert scene.stage.start("agent", "heal", "--all", **scene.environ).wait(60) == 0
    assert scene.stage.open_injections() == ()


def test_of_two_agents_that_choose_the_same_deployment_the_second_is_refused(
    scene: Scene, home_of_restorers: Home
) -> None:
    """Its fault would be put back to the first one's number."""
    playing = _scale(scene, home_of_restorers)
    assert playing.told()["landed"] is True
    told = _scale(scene, home_of_restorers, replicas=2).told()
    assert (told["error"], "another fault" in told["says"]) == ("Refused", True), told
    assert playing.go_on() == {"healed": ["deployments.scale"]}
    assert _replicas(scene) == 3


def test_a_restorer_that_dies_with_its_node_has_another_one_beside_it(
    scene: Scene, home_of_restorers: Home, until: Callable[..., Any]
) -> None:
    """A power cut takes the node of one of them, then everything of the run is killed: back all the same."""
    if scene.cluster.starter is None or len(scene.cluster.read("nodes")["items"]) < 3:
        pytest.skip("needs three nodes of ours, one of which may die")
    playing = _scale(scene, home_of_restorers)
    assert playing.told()["dose"]["measured"]["restorers"] == 2
    pods = scene.cluster.read("pods", "-n", home_of_restorers.namespace)["items"]
    scene.cluster.cut_power(pods[0]["spec"]["nodeName"])
    scene.stage.kill_all()
    shutil.rmtree(scene.stage.home)
    until(lambda: _replicas(scene) == 3, within_s=BACK_WITHIN_S)
