"""The network of a pod is cut for real, seen from inside the cluster, and is whole again whoever dies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from agent.faults.cluster.rights import INSIDE, RIGHTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from conftest import Playing, Scene

    from agent.faults.cluster.rights import Right

pytestmark = pytest.mark.cluster


def _address(pod: dict[str, Any]) -> str:
    address: str = pod["status"]["podIP"]
    return address


def _cut(scene: Scene, image: str, fault: str = "pod_networks:partition", **arguments: Any) -> Playing:
    given = {"namespace": scene.namespace, "selector": "app=gateway", "peers": ["pods/app=client"]}
    return scene.play_with({"GAMEDAY_IMAGE": image}, fault, **{**given, **arguments})


def _split(scene: Scene, told: dict[str, Any]) -> tuple[str, list[str]]:
    """Return the address of the victim and those of the others."""
    (victim,) = told["victims"]
    pods = {f"{scene.namespace}/{pod['metadata']['name']}": pod for pod in scene.pods().values()}
    return _address(pods.pop(victim)), [_address(pod) for pod in pods.values()]


def test_one_pod_is_cut_off_from_the_peers_that_are_named(
    scene: Scene, agent_image: str, until: Callable[..., Any]
) -> None:
    """The client loses that pod alone, the kubelet and so the Service do not; healed, it answers again."""
    playing = _cut(scene, agent_image)
    told = playing.told()
    assert "error" not in told, told
    victim, others = _split(scene, told)
    assert not scene.answers(victim)
    assert all(scene.answers(other) for other in others)
    assert len(scene.ready()) == 3
    assert playing.go_on() == {"healed": ["pods.partition"]}
    until(lambda: scene.answers(victim))
    assert scene.stage.open_injections() == ()


def test_the_first_pods_stay_cut_off_while_the_others_are_still_to_come(
    scene: Scene, agent_image: str
) -> None:
    """The leases of those that are in are renewed, although the last takes longer than a lease to be."""
    environ = {"GAMEDAY_IMAGE": agent_image, "GAMEDAY_LEASE_S": "1", "GAMEDAY_RADIUS_COUNT": "3"}
    given = {"namespace": scene.namespace, "selector": "app=gateway", "peers": ["pods/app=client"]}
    playing = scene.play_with(environ, "pod_networks:partition", **given, quantity=3)
    told = playing.told()
    assert len(told.get("victims", ())) == 3, told
    assert not any(scene.answers(_address(pod)) for pod in scene.pods().values())
    assert playing.go_on() == {"healed": ["pods.partition"]}
    (injection,) = scene.stage.injections()
    assert injection.missed is None


def test_without_the_image_nothing_is_touched(scene: Scene) -> None:
    """A node that cannot get the image says so, and the run is told."""
    told = _cut(scene, "localhost/gameday-tests/nowhere:1").told()
    assert told["error"] == "NoInjector"
    assert "does not run: ErrImage" in told["says"]
    assert all(scene.answers(_address(pod)) for pod in scene.pods().values())


def _injectors(scene: Scene) -> list[str]:
    return [
        container["name"]
        for pod in scene.pods().values()
        for container in pod["spec"].get("ephemeralContainers", ())
    ]


def test_the_rights_of_the_table_are_enough_and_one_less_is_refused_before_the_pod_is_touched(
    scene: Scene, agent_image: str
) -> None:
    """Whoever may put a container there and may not talk to it gets no container."""
    rows = (
        RIGHTS["pods.partition, pods.drop, pods.delay, pods.fail_requests"],
        RIGHTS["pods.partition, pods.drop, pods.delay, pods.fail_requests towards service/ or pods/"],
    )
    needed = tuple(dict.fromkeys(right for row in rows for right in row))
    given = {"namespace": scene.namespace, "selector": "app=gateway", "peers": ["pods/app=client"]}
    for index, left_out in enumerate(INSIDE):
        environ = scene.account(f"less-{index}", _rules([right for right in needed if right != left_out]))
        told = scene.play_with(environ, "pod_networks:partition", **given).told()
        assert told["error"] == "Refused", told
        assert left_out.rule in told["says"]
        assert _injectors(scene) == []
    environ = scene.account("exact", _rules(needed))
    playing = scene.play_with({**environ, "GAMEDAY_IMAGE": agent_image}, "pod_networks:partition", **given)
    told = playing.told()
    assert told.get("landed") is True, told
    assert playing.go_on() == {"healed": ["pods.partition"]}


def _rules(rights: Iterable[Right]) -> list[dict[str, Any]]:
    return [
        {
            "apiGroups": [each.group],
            "resources": [f"{each.resource}/{each.subresource}".rstrip("/")],
            "verbs": [each.verb],
        }
        for each in rights
    ]


def test_a_namespace_that_admits_no_capability_is_left_alone(scene: Scene, agent_image: str) -> None:
    """Under the Pod Security Standard `baseline` the API server says no, and so do we, with its words."""
    label = "pod-security.kubernetes.io/enforce=baseline"
    scene.cluster.kubectl("label", "namespace", scene.namespace, label)
    told = _cut(scene, agent_image).told()
    assert told["error"] == "Unsupported", told
    assert "NET_ADMIN" in told["says"]
    assert _injectors(scene) == []
