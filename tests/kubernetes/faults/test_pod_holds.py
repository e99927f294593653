"""Requests to a pod are slowed or fail for real, seen from inside the cluster, and are well again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import Playing, Scene

pytestmark = pytest.mark.cluster

LATENCY_MS = 700


def _play(
    scene: Scene, image: str, fault: str, environ: dict[str, str] | None = None, **arguments: Any
) -> Playing:
    given = {"namespace": scene.namespace, "selector": "app=gateway", "peers": ["pods/app=client"]}
    given |= {"port": 8080, "direction": "ingress", **arguments}
    return scene.play_with({"GAMEDAY_IMAGE": image, **(environ or {})}, f"pod_networks:{fault}", **given)


def _delay(
    scene: Scene, image: str, environ: dict[str, str] | None = None, **arguments: Any
) -> dict[str, Any]:
    playing = _play(scene, image, "delay", environ, latency_ms=LATENCY_MS, **arguments)
    told = playing.told()
    assert "error" not in told, told
    return {**told, "playing": playing}


def _addresses(scene: Scene, told: dict[str, Any]) -> tuple[str, list[str]]:
    """Return the address of the only victim and those of the others."""
    (victim,) = told["victims"]
    pods = {f"{scene.namespace}/{pod['metadata']['name']}": pod for pod in scene.pods().values()}
    hit: str = pods.pop(victim)["status"]["podIP"]
    return hit, [pod["status"]["podIP"] for pod in pods.values()]


def _took_s(scene: Scene, address: str) -> float:
    """Return how long a request of the client's to *address* takes, as the client sees it."""
    ask = (
        "read a b < /proc/uptime; "
        rf"printf 'GET / HTTP/1.0\r\n\r\n' | nc -w 5 {address} 8080 >/dev/null 2>&1; "
        "read c d < /proc/uptime; echo $a $c"
    )
    before, after = scene.kubectl("exec", "deployment/client", "--", "sh", "-c", ask).split()
    return float(after) - float(before)


def _status(scene: Scene, address: str) -> str:
    ask = rf"printf 'GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n' | nc -w 3 {address} 8080; true"
    return scene.kubectl("exec", "deployment/client", "--", "sh", "-c", ask).partition("\r\n")[0]


def _dose(scene: Scene) -> dict[str, Any]:
    (injection,) = scene.stage.injections()
    measured: dict[str, Any] = injection.dose["measured"]
    return {**measured, "missed": injection.missed}


def test_one_pod_is_slow_for_the_peers_that_are_named(scene: Scene, agent_image: str) -> None:
    """A request to it takes as much longer as was asked for, to the others it does not; healed, none does."""
    told = _delay(scene, agent_image)
    measured = told["dose"]["measured"]
    assert measured["by"] in ("netem", "proxy")
    victim, others = _addresses(scene, told)
    assert LATENCY_MS / 1000 - 0.02 <= _took_s(scene, victim) < 3.0
    assert min(_took_s(scene, other) for other in others) < LATENCY_MS / 1000 / 2
    assert len(scene.ready()) == 3
    assert told["playing"].go_on() == {"healed": ["pods.delay"]}
    assert _took_s(scene, victim) < LATENCY_MS / 1000 / 2
    dose = _dose(scene)
    assert dose["missed"] is None
    assert dose["by"] == measured["by"]
    if dose["by"] == "proxy":
        assert dose["held_p50_ms"] >= LATENCY_MS - 1
        log = scene.stage.home / "runs"
        (arrivals,) = log.glob("*/pods.arrivals.jsonl")
        assert any(json.loads(line)["kind"] == "request" for line in arrivals.read_text().splitlines())


def test_requests_fail_with_the_status_that_was_asked_for(scene: Scene, agent_image: str) -> None:
    """The client gets it from one pod and the real answer from the others, and afterwards from all."""
    playing = _play(scene, agent_image, "fail_requests", status=503)
    told = playing.told()
    assert "error" not in told, told
    victim, others = _addresses(scene, told)
    assert "503" in _status(scene, victim)
    assert all("200" in _status(scene, other) for other in others)
    assert playing.go_on() == {"healed": ["pods.fail_requests"]}
    assert "200" in _status(scene, victim)
    dose = _dose(scene)
    assert (dose["missed"], dose["failed"]) == (None, 1)


def test_what_a_pod_opens_itself_is_slowed_towards_a_host_by_its_name(scene: Scene, agent_image: str) -> None:
    """The name is the pod's own: its resolver, its hosts file; other names are not slowed."""
    slow, quick, *_ = [pod["status"]["podIP"] for pod in scene.pods().values()]
    hosts = [{"ip": slow, "hostnames": ["slow.test"]}, {"ip": quick, "hostnames": ["quick.test"]}]
    patch = {"spec": {"template": {"spec": {"hostAliases": hosts}}}}
    scene.kubectl("patch", "deployment/client", "--patch", json.dumps(patch))
    scene.kubectl("rollout", "status", "deployment/client", "--timeout=60s", within_s=65.0)
    told = _delay(
        scene, agent_image, selector="app=client", peers=["host/slow.test"], direction="egress", quantity=1
    )
    assert LATENCY_MS / 1000 - 0.02 <= _took_s(scene, "slow.test") < 3.0
    assert _took_s(scene, "quick.test") < LATENCY_MS / 1000 / 2
    assert told["playing"].go_on() == {"healed": ["pods.delay"]}
    assert _took_s(scene, "slow.test") < LATENCY_MS / 1000 / 2


def test_a_host_without_an_address_is_refused(scene: Scene, agent_image: str) -> None:
    """The pod's resolver says so, and nothing is left in the pod."""
    told = _play(scene, agent_image, "delay", latency_ms=LATENCY_MS, peers=["host/nowhere.test"]).told()
    assert told["error"] == "NoInjector"
    assert "nowhere.test has no address" in told["says"]
