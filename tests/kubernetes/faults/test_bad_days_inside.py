"""Bad days while something is done inside a pod: it goes, its node dies, the API server fails us."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from conftest import Scene
    from middleman import Middleman

pytestmark = pytest.mark.cluster

CUT = {"selector": "app=gateway", "peers": ["pods/app=client"]}
PARTITION = "pod_networks:partition"


def _ended(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, errors = process.communicate(timeout=150)
    assert out.strip(), errors
    assert "Traceback" not in errors
    return {**json.loads(out), "errors": errors}


def _address(scene: Scene, victim: str) -> str:
    (pod,) = [pod for pod in scene.pods().values() if victim.endswith(f"/{pod['metadata']['name']}")]
    address: str = pod["status"]["podIP"]
    return address


def _landed(scene: Scene, until: Callable[..., Any]) -> str:
    """Wait until a fault is in, and return whom it hit."""
    until(lambda: any(each.landed for each in scene.stage.open_injections()), within_s=60)
    (injection,) = scene.stage.open_injections()
    victim: str = injection.victims[0]
    return victim


def test_a_pod_that_is_deleted_while_its_injector_starts_is_told_and_nothing_is_left(
    scene: Scene, agent_image: str, middleman: Middleman
) -> None:
    """The container was put there, and then the pod was taken away: at once INCONCLUSIVE, with why."""
    deleted: list[str] = []

    def meddle(_method: str, path: str) -> None:
        if path.partition("?")[0].endswith("/attach") and not deleted:
            deleted.append(path.split("/")[6])
            scene.kubectl("delete", "pod", deleted[0], "--wait=true")

    middleman.meddle = meddle
    environ = {"GAMEDAY_IMAGE": agent_image} | scene.through(middleman.config, "meddled")
    told = _ended(scene.run(environ, (PARTITION, CUT), hold_s=1))
    assert (told["verdict"], told["recovered"]) == ("INCONCLUSIVE", True), told
    assert "deleted" in told["reason"], told
    assert deleted[0] in told["reason"], told
    assert scene.stage.open_injections() == ()


def test_orders_to_a_pod_are_given_again_when_the_api_server_fails_them_and_never_twice(
    scene: Scene, agent_image: str, middleman: Middleman
) -> None:
    """429, 500, a lost answer to the container; 500 and 429 to the stream: it lands, with one container."""
    container: list[int | str] = [429, 500, "lose the answer"]
    stream: list[int | str] = [500, 429]

    def meddle(_method: str, path: str) -> int | str | None:
        for left, part in ((container, "/ephemeralcontainers"), (stream, "/attach")):
            if left and part in path:
                return left.pop(0)
        return None

    middleman.meddle = meddle
    environ = {"GAMEDAY_IMAGE": agent_image} | scene.through(middleman.config, "meddled")
    playing = scene.play_with(environ, PARTITION, namespace=scene.namespace, **CUT)
    told = playing.told()
    assert told.get("landed") is True, told
    assert (container, stream) == ([], [])
    assert not scene.answers(_address(scene, told["victims"][0]))
    assert playing.go_on() == {"healed": ["pods.partition"]}
    assert sum(len(pod["spec"].get("ephemeralContainers", ())) for pod in scene.pods().values()) == 1


def test_a_token_that_expires_in_the_middle_of_a_run_ends_it_healed_and_is_named(
    scene: Scene, agent_image: str, middleman: Middleman, until: Callable[..., Any]
) -> None:
    """From then on everything new is 401; the injector itself says over its stream that it is gone."""
    environ = {"GAMEDAY_IMAGE": agent_image} | scene.through(middleman.config, "expires")
    process = scene.run(environ, (PARTITION, CUT), hold_s=4)
    victim = _address(scene, _landed(scene, until))
    assert not scene.answers(victim)
    middleman.meddle = lambda _method, _path: 401
    told = _ended(process)
    assert scene.answers(victim)
    assert (told["verdict"] in {"INCONCLUSIVE", "DEVIATED"}, told["recovered"]) == (True, True), told
    assert "token expired" in told["reason"], told
    assert scene.stage.open_injections() == ()


def test_of_two_agents_that_choose_the_same_pod_each_takes_out_its_own_fault(
    scene: Scene, agent_image: str
) -> None:
    """Both begin at the same moment; the pod is cut off until the second one has healed, too."""
    name = next(iter(scene.pods().values()))["metadata"]["name"]
    scene.kubectl("label", "pod", name, "chosen=twice")
    given = {"namespace": scene.namespace, **CUT, "selector": "chosen=twice"}
    agents = [scene.play_with({"GAMEDAY_IMAGE": agent_image}, PARTITION, **given) for _ in range(2)]
    told = [each.told() for each in agents]
    assert [each.get("landed") for each in told] == [True, True], told
    address = _address(scene, name if "/" in name else f"/{name}")
    for agent in agents:
        assert not scene.answers(address)
        assert agent.go_on() == {"healed": ["pods.partition"]}
    assert scene.answers(address)


def test_a_node_that_dies_under_a_fault_is_told_and_the_fault_has_ended_with_its_lease(
    frail_scene: Scene, agent_image: str, until: Callable[..., Any]
) -> None:
    """Nobody can look there any more: no beat has come for longer than the lease, and that is an end."""
    scene = frail_scene
    process = scene.run({"GAMEDAY_IMAGE": agent_image}, (PARTITION, CUT), hold_s=8)
    assert not scene.answers(_address(scene, _landed(scene, until)))
    scene.cluster.cut_power("node-2")
    told = _ended(process)
    assert (told["verdict"], told["recovered"]) == ("INCONCLUSIVE", True), told
    assert "the node of shop/gateway-" in told["reason"], told
    assert scene.stage.open_injections() == ()
