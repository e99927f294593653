"""The API server refuses, fails, forgets us or is away; nothing stays broken, and the words are true."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from agent.faults.cluster.rights import RIGHTS

if TYPE_CHECKING:
    from conftest import Scene
    from middleman import Middleman

    from agent.faults.cluster.rights import Right

pytestmark = pytest.mark.cluster


def _rules(rights: tuple[Right, ...]) -> list[dict[str, Any]]:
    return [
        {
            "apiGroups": [each.group],
            "resources": [each.resource + (f"/{each.subresource}" if each.subresource else "")],
            "verbs": [each.verb],
        }
        for each in rights
    ]


def _kill(scene: Scene, environ: dict[str, str], **arguments: Any) -> Any:
    where = {"namespace": scene.namespace, "selector": "app=gateway"}
    return scene.play_with(environ, "pods:kill", **where, **arguments)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_an_api_server_that_is_overloaded_for_a_while_is_asked_again(
    scene: Scene, middleman: Middleman, status: int
) -> None:
    """The first two orders to evict fail without having been carried out; the third one lands."""
    left = [status, status]

    def meddle(_method: str, path: str) -> int | None:
        return left.pop() if left and path.partition("?")[0].endswith("/eviction") else None

    middleman.meddle = meddle
    playing = _kill(scene, scene.through(middleman.config, "meddled"))
    assert playing.told()["landed"] is True
    assert left == []
    assert playing.go_on() == {"healed": ["pods.kill"]}
    assert len(scene.ready()) == 3


def test_an_order_whose_answer_was_lost_is_not_given_twice(scene: Scene, middleman: Middleman) -> None:
    """The eviction was carried out and nobody heard of it: the next look finds the pod ending."""
    lost: list[str] = []

    def meddle(_method: str, path: str) -> str | None:
        if not path.partition("?")[0].endswith("/eviction") or lost:
            return None
        lost.append(path)
        return "lose the answer"

    middleman.meddle = meddle
    before = scene.ready()
    playing = _kill(scene, scene.through(middleman.config, "meddled"))
    assert playing.told()["dose"]["measured"] == {"pods": 1}
    assert playing.go_on() == {"healed": ["pods.kill"]}
    assert len(before - scene.ready()) == 1
    assert sum(path.partition("?")[0].endswith("/eviction") for _, path in middleman.seen) == 1


def test_an_order_of_which_nothing_was_heard_is_never_called_refused(
    scene: Scene, middleman: Middleman
) -> None:
    """The eviction was carried out, and the API server is away from then on until the waiting is over."""
    ordered: list[float] = []

    def meddle(_method: str, path: str) -> str | None:
        if path.partition("?")[0].endswith("/eviction"):
            ordered.append(time.monotonic())
            return "lose the answer"
        return "hang up" if ordered and time.monotonic() - ordered[0] < 6 else None

    middleman.meddle = meddle
    told = _kill(scene, scene.through(middleman.config, "meddled"), wait_s=1).told()
    assert (told["error"], "and perhaps" in told["says"]) == ("PartlyKilled", True), told
    assert len(scene.ready()) == 3
    assert scene.stage.open_injections() == ()


def test_an_api_server_that_is_away_while_the_fault_is_in_holds_nothing_up(
    scene: Scene, middleman: Middleman
) -> None:
    """For six seconds every connection is cut; the heal goes on asking, and ends clean."""
    playing = _kill(scene, scene.through(middleman.config, "meddled"))
    assert playing.told()["landed"] is True
    back_at = time.monotonic() + 6
    middleman.meddle = lambda _method, _path: "hang up" if time.monotonic() < back_at else None
    assert playing.go_on() == {"healed": ["pods.kill"]}
    assert time.monotonic() > back_at
    assert scene.stage.open_injections() == ()


def test_an_api_server_that_stays_away_is_not_recovered_and_healed_by_a_later_command(
    scene: Scene, middleman: Middleman
) -> None:
    """Nobody could look, so nobody says that it is gone."""
    playing = _kill(scene, scene.through(middleman.config, "meddled"), max_duration_s=5)
    assert playing.told()["landed"] is True
    middleman.meddle = lambda _method, _path: "hang up"
    told = playing.go_on()
    assert (told["error"], "did not answer" in told["says"]) == ("NotRecovered", True), told
    middleman.meddle = lambda _method, _path: None
    playing.process.wait(30)
    heal = scene.stage.start("agent", "heal", "--all", **scene.environ)
    assert heal.wait(60) == 0
    assert scene.stage.open_injections() == ()


def test_another_cluster_is_never_taken_for_the_healed_one(scene: Scene, middleman: Middleman) -> None:
    """The file that the ledger names now names another server: not recovered, and why."""
    environ = scene.through(middleman.config, "moved")
    playing = _kill(scene, environ)
    assert playing.told()["landed"] is True
    scene.through(json.loads(scene.kubeconfig.read_text()), "moved")
    told = playing.go_on()
    assert (told["error"], "this was done at http://127.0.0.1" in told["says"]) == ("NotRecovered", True), (
        told
    )


def test_a_token_that_is_not_known_is_told_as_such(scene: Scene) -> None:
    """401, nothing was killed, and the word token is in the sentence."""
    config = json.loads(scene.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": "expired"}
    before = scene.pods().keys()
    told = _kill(scene, scene.through(config, "expired")).told()
    assert ("401" in told["says"], "token expired" in told["says"]) == (True, True), told
    assert scene.pods().keys() == before


def test_the_doctor_tells_which_faults_the_rights_allow(scene: Scene) -> None:
    """All of them for an administrator; for an account without the right to evict, that one is named."""
    code, found, _ = _doctor(scene, {})
    assert (code, all(each["ok"] for each in found)) == (0, True), found
    environ = scene.account("reader", _rules(RIGHTS["probes.pods"]))
    code, found, _ = _doctor(scene, environ)
    told = {each["name"]: each for each in found}
    assert told["probes.pods"]["ok"] is True
    assert told["pods.kill"]["ok"] is False
    assert "pods/eviction create" in told["pods.kill"]["says"]


def _doctor(scene: Scene, environ: dict[str, str]) -> tuple[int, list[dict[str, Any]], str]:
    process = scene.stage.start("agent", "doctor", "--kubernetes", "--json", **{**scene.environ, **environ})
    out, errors = process.communicate(timeout=60)
    return process.returncode, json.loads(out), errors
