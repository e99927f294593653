"""Pods that are replaced while their network is cut, and peers by other names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Playing, Scene

pytestmark = pytest.mark.cluster


def _cut(scene: Scene, image: str, environ: dict[str, str] | None = None, **arguments: Any) -> Playing:
    given = {"namespace": scene.namespace, "selector": "app=gateway", "peers": ["pods/app=client"]}
    return scene.play_with(
        {"GAMEDAY_IMAGE": image, **(environ or {})}, "pod_networks:partition", **{**given, **arguments}
    )


def _told(playing: Playing) -> dict[str, Any]:
    told = playing.told()
    assert "error" not in told, told
    return told


def _replace(scene: Scene, victim: str, until: Callable[..., Any]) -> dict[str, Any]:
    """Delete the pod called *victim* and return the ready one that came in its place."""
    before = set(scene.pods())
    scene.kubectl("delete", "pod", victim.rpartition("/")[2], "--wait=false")
    until(lambda: len(scene.ready()) == 3 and scene.ready() - before, within_s=60.0)
    (uid,) = scene.ready() - before
    return scene.pods()[uid]


def _measured(scene: Scene) -> dict[str, Any]:
    first = scene.stage.injections()[0]
    return {**first.dose["measured"], "missed": first.missed}


def test_the_pod_that_replaces_a_victim_is_cut_off_too(
    scene: Scene, agent_image: str, until: Callable[..., Any]
) -> None:
    """It is an injection of its own in the ledger, within the radius, and is healed with the first one."""
    playing = _cut(scene, agent_image, follow=True)
    (victim,) = _told(playing)["victims"]
    fresh = _replace(scene, victim, until)
    address = fresh["status"]["podIP"]
    until(lambda: not scene.answers(address), within_s=60.0)
    assert playing.go_on() == {"healed": ["pods.partition", "pods.partition"]}
    assert scene.answers(address)
    assert scene.stage.open_injections() == ()
    measured = _measured(scene)
    assert measured["gone"] == [victim]
    assert measured["followed"] == [f"{scene.namespace}/{fresh['metadata']['name']}"]


def test_what_may_not_be_followed_is_reported(
    scene: Scene, agent_image: str, until: Callable[..., Any]
) -> None:
    """Beyond the radius nobody is hit, and the dose says who came instead and why it was let alone."""
    playing = _cut(scene, agent_image, {"GAMEDAY_RADIUS_COUNT": "1"}, follow=True)
    (victim,) = _told(playing)["victims"]
    fresh = _replace(scene, victim, until)
    assert scene.answers(fresh["status"]["podIP"])
    assert playing.go_on() == {"healed": ["pods.partition"]}
    measured = _measured(scene)
    name = f"{scene.namespace}/{fresh['metadata']['name']}"
    assert list(measured["not_followed"]) == [name]
    assert "went away while it lasted" in measured["missed"]


def test_several_pods_are_cut_off_at_once_and_the_others_are_not(scene: Scene, agent_image: str) -> None:
    """Two of three, and a victim that is gone without `follow` is told."""
    playing = _cut(scene, agent_image, quantity=2)
    victims = _told(playing)["victims"]
    assert len(victims) == 2
    for pod in scene.pods().values():
        is_hit = f"{scene.namespace}/{pod['metadata']['name']}" in victims
        assert scene.answers(pod["status"]["podIP"]) is not is_hit
    assert playing.go_on() == {"healed": ["pods.partition"]}
    assert all(scene.answers(pod["status"]["podIP"]) for pod in scene.pods().values())


def test_a_service_stands_for_its_own_address_and_its_endpoints(scene: Scene, agent_image: str) -> None:
    """The client reaches neither the Service nor the pods behind it, and both again afterwards."""
    scene.kubectl("expose", "deployment/gateway", "--port=8080", "--name=front")
    front = scene.cluster.read("service", "front", "--namespace", scene.namespace)["spec"]["clusterIP"]
    behind = next(iter(scene.pods().values()))["status"]["podIP"]
    assert scene.answers(front)
    playing = _cut(
        scene, agent_image, selector="app=client", peers=["service/front"], direction="egress", port=8080
    )
    _told(playing)
    assert not scene.answers(front)
    assert not scene.answers(behind)
    assert playing.go_on() == {"healed": ["pods.partition"]}
    assert scene.answers(front)
