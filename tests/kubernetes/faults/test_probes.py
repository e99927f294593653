"""Probes read a real cluster; what is not there, or not known yet, is no evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from agent.model import NoEvidence, UsageError
from probes import deployments, events, hpas, nodes, pdbs, pods, services

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Scene

pytestmark = pytest.mark.cluster


@pytest.fixture
def scene(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """The same scene, for probes in this very process."""
    monkeypatch.setenv("KUBECONFIG", str(scene.kubeconfig))
    return scene


def test_pods_and_deployments_tell_what_is_ready(scene: Scene, until: Callable[..., Any]) -> None:
    """Three at first; none available after scaling to nothing, and that is an answer, not an error."""
    where = {"namespace": scene.namespace, "selector": "app=gateway"}
    assert pods.are_ready(**where, count_min=3)
    assert not pods.are_ready(**where, count_min=4)
    assert (pods.count(**where), pods.count(**where, ready=True)) == (3, 3)
    assert pods.restarts(**where) == 0
    assert pods.phase(**where)
    assert not pods.phase(**where, phase="Succeeded")
    named = {"namespace": scene.namespace, "name": "gateway"}
    assert deployments.is_available(**named)
    kinds = ("wanted", "ready", "available", "updated")
    assert [deployments.replicas(**named, which=each) for each in kinds] == [3, 3, 3, 3]
    scene.kubectl("scale", "deployment/gateway", "--replicas=0")
    until(lambda: pods.count(**where) == 0)
    assert not pods.are_ready(**where)
    until(lambda: deployments.replicas(**named) == 0)


def test_a_service_has_endpoints_and_responds_while_somebody_stands_behind_it(
    scene: Scene, until: Callable[..., Any]
) -> None:
    """Three addresses and an answer; none of either after scaling to nothing."""
    scene.kubectl("expose", "deployment/gateway", "--port=80", "--target-port=8080")
    named = {"namespace": scene.namespace, "name": "gateway"}
    until(lambda: services.has_endpoints(**named, count_min=3))
    assert services.responds(**named, port=80)
    assert services.responds(**named, port=80, path="/no-such-page")
    scene.kubectl("scale", "deployment/gateway", "--replicas=0")
    until(lambda: not services.has_endpoints(**named))
    assert not services.responds(**named, port=80)


def test_budgets_and_autoscalers(scene: Scene, until: Callable[..., Any]) -> None:
    """A budget of two in three allows one; an autoscaler without metrics does not know, and says why."""
    scene.kubectl("create", "poddisruptionbudget", "gateway", "--selector=app=gateway", "--min-available=2")
    named = {"namespace": scene.namespace, "name": "gateway"}

    def allows(count_min: int) -> bool:
        try:
            return pdbs.allow(**named, count_min=count_min)
        except NoEvidence:
            return False

    until(lambda: allows(1))
    assert not pdbs.allow(**named, count_min=2)
    scene.kubectl("autoscale", "deployment/gateway", "--min=3", "--max=5", "--cpu-percent=50")
    with pytest.raises(NoEvidence, match="does not know what it wants"):
        hpas.is_at_limit(**named)

    def current() -> int:
        try:
            return hpas.replicas(**named)
        except NoEvidence:
            return -1

    until(lambda: current() == 3, within_s=45)


def test_nodes_and_events(scene: Scene, until: Callable[..., Any]) -> None:
    """Both nodes are ready; the scheduler's events of four pods are counted, by kind and reason."""
    assert nodes.are_ready()
    assert nodes.are_ready(count_min=1)
    assert not nodes.are_ready(count_min=1000)
    asked: dict[str, Any] = {"namespace": scene.namespace, "window_s": 600, "kind": "Pod"}
    until(lambda: events.count(**asked, reason="Scheduled") == 4)
    assert events.count(**asked, reason="Scheduled", type="Warning") == 0
    assert events.count(**{**asked, "window_s": 1e-6}, reason="Scheduled") == 0


def test_what_is_not_there_is_no_evidence(scene: Scene) -> None:
    """Each of them says what it looked for; an empty selector is a mistake of the user."""
    nobody = {"namespace": scene.namespace, "name": "nobody"}
    for ask in (
        lambda: deployments.is_available(**nobody),
        lambda: deployments.replicas(**nobody),
        lambda: services.has_endpoints(**nobody),
        lambda: services.responds(**nobody, port=80),
        lambda: pdbs.allow(**nobody),
        lambda: hpas.replicas(**nobody),
        lambda: hpas.is_at_limit(**nobody),
        lambda: nodes.are_ready(selector="no=such"),
        lambda: pods.restarts(namespace=scene.namespace, selector="app=nobody"),
        lambda: pods.phase(namespace=scene.namespace, selector="app=nobody"),
    ):
        with pytest.raises(NoEvidence, match=r"nobody|no=such"):
            ask()
    with pytest.raises(UsageError):
        pods.are_ready(namespace=scene.namespace, selector=" ")
    with pytest.raises(UsageError):
        events.count(namespace=scene.namespace, window_s=0)
