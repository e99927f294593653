"""The agent's clock is a minute ahead of the cluster's, or behind, and no lease, dead man or age is wrong."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Home, Scene

pytestmark = pytest.mark.cluster

SKEW_S = 60
STAYS_S = 7.0
"""Two leases in a pod, and three renewals of a restorer's."""
BACK_WITHIN_S = 30.0
COUNT = """
import json, sys
from probes import events
where = {"namespace": sys.argv[1], "reason": "Scheduled"}
print(json.dumps([events.count(**where, window_s=50), events.count(**where, window_s=0.001)]))
"""


def test_faults_stay_in_while_the_run_lives_and_end_when_it_is_dead_whatever_its_clock_says(
    scene: Scene,
    home_of_restorers: Home,
    skewed: Callable[[int], dict[str, str]],
    until: Callable[..., Any],
) -> None:
    """One agent is ahead and one behind; after SIGKILL to both, a sweep by another clock finds the rest."""
    ahead, behind = (home_of_restorers.environ | skewed(each) for each in (SKEW_S, -SKEW_S))
    where = {"namespace": scene.namespace, "selector": "app=gateway"}
    told = scene.play_with(ahead, "deployments:scale", **where, replicas=2).told()
    assert told.get("landed") is True, told
    peers = ["pods/app=client"]
    told = scene.play_with(behind, "pod_networks:partition", **where, quantity=2, peers=peers).told()
    assert told.get("landed") is True, told
    since = time.monotonic()
    address = next(pod["status"]["podIP"] for uid, pod in scene.pods().items() if uid in scene.ready())
    renewed = _renewals(scene, home_of_restorers)
    until(lambda: _renewals(scene, home_of_restorers) != renewed and time.monotonic() - since > STAYS_S)
    assert not scene.answers(address)
    assert _replicas(scene) == 2
    scene.stage.kill_all()
    until(lambda: scene.answers(address), within_s=5)
    until(lambda: _replicas(scene) == 3, within_s=BACK_WITHIN_S)
    shutil.rmtree(scene.stage.home)
    sweep = ("heal", "--sweep")
    healing = scene.stage.start("agent", *sweep, **{**scene.environ, **behind})
    said, errors = healing.communicate(timeout=60)
    assert healing.returncode == 0, (said, errors)
    until(lambda: scene.lease(home_of_restorers.namespace) is None, within_s=30)


def _replicas(scene: Scene) -> int:
    return int(scene.cluster.read("deployment/gateway", "-n", scene.namespace)["spec"]["replicas"])


def _renewals(scene: Scene, home: Home) -> str:
    lease = scene.lease(home.namespace)
    assert lease is not None
    return str(lease["spec"]["renewTime"])


def test_the_age_of_an_event_is_told_by_the_clock_of_the_api_server(
    scene: Scene, skewed: Callable[[int], dict[str, str]], until: Callable[..., Any]
) -> None:
    """A pod was scheduled a moment ago, for an agent that is ahead and for one that is behind."""
    scene.kubectl("scale", "deployment/gateway", "--replicas=4")
    until(lambda: len(scene.ready()) == 4, within_s=40)
    for ahead_s in (SKEW_S, -SKEW_S):
        command = [sys.executable, "-c", COUNT, scene.namespace]
        environ = scene.environ | skewed(ahead_s)
        said = subprocess.run(command, env=environ, capture_output=True, text=True, check=True).stdout
        in_a_while, just_now = json.loads(said)
        assert (in_a_while >= 1, just_now) == (True, 0), (ahead_s, said)
