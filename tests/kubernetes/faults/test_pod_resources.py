"""Processors, memory and volumes of pods are used up for real, and free again whoever dies."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING, Any

import psutil
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Playing, Scene

pytestmark = pytest.mark.cluster

LIMITS = {"cpu": "200m", "memory": "200Mi"}
MEBI = 1 << 20


@pytest.fixture
def limited(scene: Scene, until: Callable[..., Any]) -> Scene:
    """One pod of the gateway, with limits and two volumes: in memory and on the node's disk."""
    volumes = [
        {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "32Mi"}},
        {"name": "disk", "emptyDir": {"sizeLimit": "32Mi"}},
    ]
    mounts = [{"name": each["name"], "mountPath": f"/{each['name']}"} for each in volumes]
    container = {"name": "web", "resources": {"limits": LIMITS}, "volumeMounts": mounts}
    patch = {"spec": {"replicas": 1, "template": {"spec": {"containers": [container], "volumes": volumes}}}}
    scene.kubectl("patch", "deployment/gateway", "--patch", json.dumps(patch))
    scene.kubectl("rollout", "status", "deployment/gateway", "--timeout=90s", within_s=95.0)
    until(lambda: len(scene.pods()) == 1, within_s=60.0)  # the earlier ones have gone
    return scene


def _play(
    scene: Scene, image: str, fault: str, environ: dict[str, str] | None = None, **more: Any
) -> Playing:
    given = {"namespace": scene.namespace, "selector": "app=gateway", "quantity": 1}
    return scene.play_with({"GAMEDAY_IMAGE": image, **(environ or {})}, f"pods:{fault}", **given, **more)


def _told(playing: Playing) -> dict[str, Any]:
    told = playing.told()
    assert "error" not in told, told
    measured: dict[str, Any] = told["dose"]["measured"]
    return measured


def _kill_everything(playing: Playing) -> None:
    """Kill the agent and its reaper at once, so that none of them can heal."""
    everybody = [psutil.Process(playing.process.pid)]
    everybody += everybody[0].children(recursive=True)
    for each in everybody:
        each.send_signal(signal.SIGSTOP)
    for each in everybody:
        each.kill()


def _used_kib(scene: Scene, volume: str) -> int:
    """Return how much of *volume* is used, as the pod's own container sees it."""
    said = scene.kubectl(
        "exec", "deployment/gateway", "-c", "web", "--", "stat", "-f", "-c", "%b %f %S", volume
    )
    blocks, free, size = map(int, said.split())
    return (blocks - free) * size // 1024


def _injectors_run(scene: Scene) -> bool:
    statuses = [pod["status"].get("ephemeralContainerStatuses", ()) for pod in scene.pods().values()]
    return any("running" in each["state"] for listed in statuses for each in listed)


def test_a_volume_in_memory_fills_and_is_free_again_whoever_dies(
    limited: Scene, agent_image: str, until: Callable[..., Any]
) -> None:
    """The pod's own container sees it full, sees no file, and sees it free after SIGKILL to the agent.

    The lease is a minute, so that nothing but the end of the stream can be what frees it.
    """
    assert _used_kib(limited, "/memory") < 1024
    playing = _play(
        limited, agent_image, "fill_disk", {"GAMEDAY_LEASE_S": "60"}, volume="memory", used_fraction=0.95
    )
    measured = _told(playing)
    assert 0.94 <= measured["used_fraction"] <= 0.96
    assert _used_kib(limited, "/memory") >= 0.94 * 32 * 1024
    assert limited.kubectl("exec", "deployment/gateway", "-c", "web", "--", "ls", "/memory").strip() == ""
    _kill_everything(playing)
    until(lambda: _used_kib(limited, "/memory") < 1024)


def test_a_volume_on_the_nodes_disk_is_refused(limited: Scene, agent_image: str) -> None:
    """Filling it would hit every pod of the node; a volume that is not there is told with those that are."""
    told = _play(limited, agent_image, "fill_disk", volume="disk", used_fraction=0.9).told()
    assert (told["error"], "node's disk" in told["says"]) == ("Unsupported", True)
    told = _play(limited, agent_image, "fill_disk", volume="nothing", used_fraction=0.9).told()
    assert (told["error"], "it has memory, disk" in told["says"]) == ("NoTargets", True)
    assert not _injectors_run(limited)


def test_processor_and_memory_are_used_up_to_a_share_of_the_limits(
    limited: Scene, agent_image: str, until: Callable[..., Any]
) -> None:
    """What was used is measured by the kernel's own account, and nothing runs after the healing."""
    playing = _play(limited, agent_image, "stress", cpu_fraction=0.5, memory_fraction=0.25)
    measured = _told(playing)
    assert measured["memory_bytes"] == 50 * MEBI
    assert 0 < measured["cores"] <= 0.2
    assert playing.go_on() == {"healed": ["pods.stress"]}
    until(lambda: not _injectors_run(limited))  # the kubelet tells a second late, also that it ever ran
    (injection,) = limited.stage.injections()
    assert 0 < injection.dose["measured"]["cores"] <= 0.2


def test_the_stress_ends_with_the_agent(limited: Scene, agent_image: str, until: Callable[..., Any]) -> None:
    """SIGKILL to the agent and its reaper ends the stream, and the processes with it."""
    playing = _play(limited, agent_image, "stress", {"GAMEDAY_LEASE_S": "60"}, cores=0.1)
    _told(playing)
    until(lambda: _injectors_run(limited))  # the kubelet tells a second late
    _kill_everything(playing)
    until(lambda: not _injectors_run(limited))


def test_a_share_of_a_limit_that_is_not_there_is_refused(scene: Scene, agent_image: str) -> None:
    """Half of nothing is not a dose; the message says what to give instead."""
    told = _play(scene, agent_image, "stress", cpu_fraction=0.5).told()
    assert (told["error"], "give cores instead" in told["says"]) == ("NoTargets", True)


def _replaced(scene: Scene, until: Callable[..., Any]) -> str:
    """Delete the one pod of the gateway and return the full name of the one that came in its place."""
    (before,) = scene.pods()
    name = scene.pods()[before]["metadata"]["name"]
    scene.kubectl("delete", "pod", name, "--wait=false")
    until(lambda: scene.ready() - {before}, within_s=60.0)
    (fresh,) = scene.ready() - {before}
    return f"{scene.namespace}/{scene.pods()[fresh]['metadata']['name']}"


def _followed(scene: Scene, fault: str, playing: Playing) -> tuple[Any, list[float]]:
    """Heal both injections; return who was followed, and what each injection had used."""
    assert playing.go_on() == {"healed": [fault, fault]}
    assert scene.stage.open_injections() == ()
    first, second = (each.dose["measured"] for each in scene.stage.injections())
    used = "cores" if "cores" in second else "used_fraction"
    return first["followed"], [each[used] for each in (first, second) if used in each]


def test_the_pod_that_replaces_a_victim_is_stressed_too(
    limited: Scene, agent_image: str, until: Callable[..., Any]
) -> None:
    """To the same share of its own limits, as an injection of its own that is healed with the first one."""
    playing = _play(limited, agent_image, "stress", cpu_fraction=0.5, follow=True)
    _told(playing)
    fresh = _replaced(limited, until)
    until(lambda: len([each for each in limited.stage.open_injections() if each.landed]) == 2, within_s=60.0)
    followed, used = _followed(limited, "pods.stress", playing)
    assert followed == [fresh]
    assert 0 < used[-1] <= 0.2
    until(lambda: not _injectors_run(limited))


def test_the_volume_of_the_pod_that_replaces_a_victim_is_filled_too(
    limited: Scene, agent_image: str, until: Callable[..., Any]
) -> None:
    """Each pod's own volume; the new one is free again when all of it is healed."""
    playing = _play(limited, agent_image, "fill_disk", volume="memory", used_fraction=0.95, follow=True)
    _told(playing)
    fresh = _replaced(limited, until)
    until(lambda: _used_kib(limited, "/memory") >= 0.94 * 32 * 1024, within_s=60.0)
    until(lambda: len([each for each in limited.stage.open_injections() if each.landed]) == 2, within_s=60.0)
    followed, used = _followed(limited, "pods.fill_disk", playing)
    assert followed == [fresh]
    assert 0.94 <= used[-1] <= 0.96
    until(lambda: _used_kib(limited, "/memory") < 1024)
