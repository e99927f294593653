"""One container of a pod is killed for real: the kubelet starts it again, and the pod stays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from agent.faults.cluster.rights import RIGHTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Scene

pytestmark = pytest.mark.cluster


def _kill(scene: Scene, image: str, **arguments: Any) -> Any:
    given = {"namespace": scene.namespace, "selector": "app=gateway", "container": "web"}
    return scene.play_with({"GAMEDAY_IMAGE": image}, "containers:kill", **{**given, **arguments})


def _restarts(scene: Scene) -> dict[str, int]:
    return {uid: pod["status"]["containerStatuses"][0]["restartCount"] for uid, pod in scene.pods().items()}


def test_the_container_ends_as_by_a_crash_and_its_pod_stays(scene: Scene, agent_image: str) -> None:
    """Exit code 137 from the kernel, one restart, the very same pods; healed when it is ready again."""
    before = scene.pods()
    playing = _kill(scene, agent_image)
    told = playing.told()
    assert "error" not in told, told
    assert told["dose"]["measured"] == {"containers": 1, "exit_codes": [137]}
    assert playing.go_on() == {"healed": ["containers.kill"]}
    assert set(scene.pods()) == set(before)
    assert len(scene.ready()) == 3
    assert sum(_restarts(scene).values()) == 1


def test_a_signal_that_the_process_does_not_handle_is_refused_and_nothing_ends(
    scene: Scene, agent_image: str
) -> None:
    """The kernel would drop it without a word, and the sender believe in a fault that never was."""
    told = _kill(scene, agent_image, signal="USR1").told()
    assert told["error"] == "NoInjector", told
    assert "does not handle SIGUSR1" in told["says"]
    assert sum(_restarts(scene).values()) == 0


def test_the_minimum_holds_and_a_container_that_is_not_there_is_told(scene: Scene, agent_image: str) -> None:
    """An owner that can spare none keeps all, and a wrong name kills nothing."""
    told = _kill(scene, agent_image, min_ready=3, wait_s=0.5).told()
    assert told["error"] == "Refused", told
    told = _kill(scene, agent_image, container="nobody").told()
    assert (told["error"], "no container nobody" in told["says"]) == ("NoTargets", True)
    assert sum(_restarts(scene).values()) == 0


def test_a_dead_agent_leaves_a_container_that_the_kubelet_starts_again(
    scene: Scene, agent_image: str, until: Callable[..., Any]
) -> None:
    """SIGKILL right after the kill: nobody of ours is needed for the container to come back."""
    playing = _kill(scene, agent_image)
    assert playing.told()["landed"] is True
    playing.process.kill()
    until(lambda: sum(_restarts(scene).values()) == 1 and len(scene.ready()) == 3, within_s=40.0)


def test_a_pod_that_shares_its_processes_is_left_alone(scene: Scene, agent_image: str) -> None:
    """The first process there is not the container's, and with hostPID it is the node's own."""
    patch = '{"spec": {"template": {"spec": {"shareProcessNamespace": true}}}}'
    scene.kubectl("patch", "deployment/gateway", "--patch", patch)
    scene.kubectl("rollout", "status", "deployment/gateway", "--timeout=90s", within_s=95.0)
    told = _kill(scene, agent_image).told()
    assert (told["error"], "shareProcessNamespace" in told["says"]) == ("Unsupported", True)


def test_the_rights_of_the_table_are_enough(scene: Scene, agent_image: str) -> None:
    """A service account with exactly the rights of the row kills and heals."""
    rules = [
        {
            "apiGroups": [each.group],
            "resources": [f"{each.resource}/{each.subresource}".rstrip("/")],
            "verbs": [each.verb],
        }
        for each in RIGHTS["pods.stress, pods.fill_disk, containers.kill"]
    ]
    environ = scene.account("exact", rules)
    given = {"namespace": scene.namespace, "selector": "app=gateway", "container": "web"}
    playing = scene.play_with({**environ, "GAMEDAY_IMAGE": agent_image}, "containers:kill", **given)
    told = playing.told()
    assert told.get("landed") is True, told
    assert playing.go_on() == {"healed": ["containers.kill"]}
