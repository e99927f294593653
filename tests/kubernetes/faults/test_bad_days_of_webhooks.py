"""A webhook that has to be asked (``failurePolicy: Fail``) is down itself: the API server answers 500."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from agent.clients.kubernetes import KubernetesError, connect

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Home, Scene
    from middleman import Middleman
    from webhook import Webhook

pytestmark = pytest.mark.cluster

CUT = {"selector": "app=gateway", "peers": ["pods/app=client"]}
DOWN = "failed calling webhook"


@pytest.fixture
def asked(
    scene: Scene, tmp_path: Path, webhook_at: Callable[[str, Path], Webhook], until: Callable[..., Any]
) -> Iterator[Callable[[str, str, str], Webhook]]:
    """Return a function that has the API server ask a webhook, which is up, about what is done here."""
    server = json.loads(scene.kubeconfig.read_text())["clusters"][0]["cluster"]["server"]
    name = f"{scene.namespace}-asks"
    webhook = webhook_at(server, tmp_path)
    webhook.up()

    def ask(group: str, resource: str, operation: str) -> Webhook:
        where = {"group": group, "resource": resource, "operation": operation}
        scene.cluster.apply(webhook.registered(name, scene.namespace, **where))
        until(lambda: _tried(scene, resource) is None and webhook.asked)
        webhook.asked.clear()
        return webhook

    yield ask
    scene.cluster.kubectl("delete", "validatingwebhookconfiguration", name, "--ignore-not-found")
    webhook.down()


def _tried(scene: Scene, resource: str) -> str | None:
    """Try what is done to *resource* without doing it, and return what the API server has against it."""
    pod = next(each for uid, each in scene.pods().items() if uid in scene.ready())["metadata"]["name"]
    here = f"/api/v1/namespaces/{scene.namespace}/pods/{pod}"
    scale = f"/apis/apps/v1/namespaces/{scene.namespace}/deployments/gateway/scale"
    meta = {"name": pod, "namespace": scene.namespace}
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": meta}
    place = {"kubeconfig": str(scene.kubeconfig), "context": None}
    server = json.loads(scene.kubeconfig.read_text())["clusters"][0]["cluster"]["server"]
    with connect({**place, "server": server}) as api:
        try:
            if resource == "pods/eviction":
                api.post(f"{here}/eviction", eviction, dryRun="All")
            elif resource == "pods/ephemeralcontainers":
                container = {"name": "tried", "image": "nobody"}
                body = {"spec": {"ephemeralContainers": [container]}}
                api.patch(f"{here}/ephemeralcontainers", body, dry_run=True)
            else:
                api.patch(scale, {"spec": {"replicas": 2}}, dry_run=True)
        except KubernetesError as error:
            return str(error)
    return None


def _told(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, errors = process.communicate(timeout=150)
    assert out.strip(), errors
    assert "Traceback" not in errors
    return {**json.loads(out), "errors": errors}


def _through(scene: Scene, middleman: Middleman, image: str) -> dict[str, str]:
    return {"GAMEDAY_IMAGE": image} | scene.through(middleman.config, "meddled")


def _up_at(middleman: Middleman, webhook: Webhook, part: str, number: int) -> list[str]:
    """Have *webhook* come back when *part* of a path is ordered for the time *number*; return the orders."""
    orders: list[str] = []

    def meddle(method: str, path: str) -> None:
        if method != "GET" and part in path and "dryRun" not in path:
            orders.append(path)
            if len(orders) == number:
                webhook.up()

    middleman.meddle = meddle
    return orders


def test_an_eviction_is_ordered_again_until_the_webhook_is_back_and_refused_when_it_stays_away(
    scene: Scene, middleman: Middleman, asked: Callable[[str, str, str], Webhook]
) -> None:
    """It is a refusal and no doubt: who could not be asked has let nothing through."""
    webhook = asked("", "pods/eviction", "CREATE")
    webhook.down()
    before = scene.ready()
    kill = ("pods:kill", {"selector": "app=gateway", "wait_s": 1})
    told = _told(scene.run({}, kill, hold_s=0))
    assert (told["verdict"], told["recovered"]) == ("REFUSED", True), told
    assert (DOWN in told["reason"], "nothing was killed" in told["reason"]) == (True, True), told
    assert scene.ready() == before
    orders = _up_at(middleman, webhook, "/eviction", 3)
    environ = scene.through(middleman.config, "meddled")
    told = _told(scene.run(environ, ("pods:kill", {"selector": "app=gateway", "wait_s": 30}), hold_s=0))
    assert (told["verdict"], told["recovered"], len(orders)) == ("HELD", True, 3), told
    assert len(before - scene.ready()) == 1
    assert scene.stage.open_injections() == ()


def test_an_injector_is_put_in_once_the_webhook_is_back(
    scene: Scene, agent_image: str, middleman: Middleman, asked: Callable[[str, str, str], Webhook]
) -> None:
    """The order is given again; the third one gets through, and one container is there."""
    webhook = asked("", "pods/ephemeralcontainers", "UPDATE")
    webhook.down()
    orders = _up_at(middleman, webhook, "/ephemeralcontainers", 3)
    playing = scene.play_with(
        _through(scene, middleman, agent_image), "pod_networks:partition", namespace=scene.namespace, **CUT
    )
    told = playing.told()
    assert (told.get("landed"), len(orders)) == (True, 3), told
    assert playing.go_on() == {"healed": ["pods.partition"]}
    assert sum(len(pod["spec"].get("ephemeralContainers", ())) for pod in scene.pods().values()) == 1


def test_an_injector_that_the_webhook_is_not_there_to_admit_is_told_and_nothing_is_left(
    scene: Scene, agent_image: str, asked: Callable[[str, str, str], Webhook]
) -> None:
    """INCONCLUSIVE, since nobody was hit, with the name of who is down."""
    asked("", "pods/ephemeralcontainers", "UPDATE").down()
    told = _told(scene.run({"GAMEDAY_IMAGE": agent_image}, ("pod_networks:partition", CUT), hold_s=0))
    assert (told["verdict"], told["recovered"]) == ("INCONCLUSIVE", True), told
    assert (DOWN in told["reason"], "board.gameday.test" in told["reason"]) == (True, True), told
    assert not any("ephemeralContainers" in pod["spec"] for pod in scene.pods().values())
    assert scene.stage.open_injections() == ()


def test_a_value_is_put_back_when_the_webhook_is_back_in_the_middle_of_the_healing(
    scene: Scene,
    home_of_restorers: Home,
    middleman: Middleman,
    asked: Callable[[str, str, str], Webhook],
    until: Callable[..., Any],
) -> None:
    """It was asked when the fault began and is down when it ends: the heal goes on trying, and manages."""
    webhook = asked("apps", "deployments/scale", "UPDATE")
    environ = home_of_restorers.environ | scene.through(middleman.config, "meddled")
    scale = ("deployments:scale", {"selector": "app=gateway", "replicas": 1})
    process = scene.run(environ, scale, hold_s=3)
    until(lambda: any(each.landed for each in scene.stage.open_injections()), within_s=90)
    assert webhook.asked
    webhook.down()
    orders = _up_at(middleman, webhook, "/scale", 3)
    told = _told(process)
    assert (told["verdict"], told["recovered"], len(orders) >= 3) == ("HELD", True, True), told
    assert _replicas(scene) == 3
    until(lambda: scene.leftovers(home_of_restorers.namespace) == [], within_s=60)


def test_a_value_that_nobody_may_put_back_is_not_recovered_until_its_dead_men_can(
    scene: Scene,
    home_of_restorers: Home,
    asked: Callable[[str, str, str], Webhook],
    until: Callable[..., Any],
) -> None:
    """The loudest word, with the webhook's name; the restorers do not give up, and a later heal is clean."""
    webhook = asked("apps", "deployments/scale", "UPDATE")
    given = {"namespace": scene.namespace, "selector": "app=gateway", "replicas": 1}
    playing = scene.play_with(home_of_restorers.environ, "deployments:scale", **given)
    assert playing.told().get("landed") is True
    webhook.down()
    told = playing.go_on()
    assert (told["error"], DOWN in told["says"], _replicas(scene)) == ("NotRecovered", True, 1), told
    webhook.up()
    until(lambda: _replicas(scene) == 3, within_s=60)
    assert scene.stage.start("agent", "heal", "--all", **scene.environ).wait(60) == 0
    assert scene.stage.open_injections() == ()
    until(lambda: scene.leftovers(home_of_restorers.namespace) == [], within_s=60)


def _replicas(scene: Scene) -> int:
    return int(scene.cluster.read("deployment/gateway", "-n", scene.namespace)["spec"]["replicas"])
