"""Many pods and many rollouts, on a control plane whose nodes only say that they run them."""

from __future__ import annotations

import threading
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

import pytest

from agent.clients import kubernetes
from agent.faults.cluster.pod_choice import candidates
from agent.safety.targets import choose
from agent.schedule.follow import Follower, News
from agent.schedule.rollouts import Progress, Rollout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

pytestmark = pytest.mark.scale
OWNERS = 4
PODS_EACH = 300
ROLLOUTS = 60


def deployment(name: str, namespace: str, *, replicas: int, version: int = 1) -> dict[str, Any]:
    """Return a Deployment of pods that need nothing."""
    labels = {"app": "many", "name": name}
    template = {
        "metadata": {"labels": labels, "annotations": {"version": str(version)}},
        "spec": {"containers": [{"name": "c", "image": "none"}]},
    }
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    meta = {"name": name, "namespace": namespace, "labels": {"app": "many"}}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": spec}


def create(objects: Iterable[dict[str, Any]], *, anew: bool = False) -> None:
    """Create Deployments, or change them to what is given now; kubectl would take a second for five."""
    with kubernetes.connect() as api:
        for each in objects:
            path = f"/apis/apps/v1/namespaces/{each['metadata']['namespace']}/deployments"
            if anew:
                api.patch(f"{path}/{each['metadata']['name']}", each)
            else:
                api.post(path, each)


@pytest.fixture
def here(cluster: Any, namespace: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A namespace that faults may touch, of the cluster that clients find."""
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))
    monkeypatch.setenv("GAMEDAY_NAMESPACES", namespace)
    return namespace


def test_victims_among_many_pods_are_chosen_by_the_seed_and_no_pod_is_missed(
    cluster: Any, here: str, until: Callable[..., Any]
) -> None:
    """Every page of the list is read, all owners are found, and the same seed chooses the same pods."""
    create(deployment(f"many-{n}", here, replicas=PODS_EACH) for n in range(OWNERS))

    def found() -> Any:
        with kubernetes.connect() as api:
            return candidates(api, here, "app=many", unready=True)

    until(lambda: _ready(cluster, here) == OWNERS * PODS_EACH, within_s=120)
    seen = found()
    assert seen.population == len(seen.targets) == OWNERS * PODS_EACH > 2 * kubernetes.PAGE
    assert {target.owner.name for target in seen.targets.values()} == {f"many-{n}" for n in range(OWNERS)}
    chosen = choose(list(seen.targets), quantity=50, seed=7)
    assert len(set(chosen)) == 50
    assert choose(list(found().targets), quantity=50, seed=7) == chosen


def _ready(cluster: Any, namespace: str) -> int:
    found = cluster.read("deployments", "--namespace", namespace)["items"]
    return sum(each["status"].get("readyReplicas", 0) for each in found)


def test_many_rollouts_at_once_are_each_seen_through_to_their_end_by_one_watch(
    cluster: Any, here: str, until: Callable[..., Any]
) -> None:
    """Every Deployment's new revision is told as finished, none twice over as another one."""
    names = [f"shop-{n}" for n in range(ROLLOUTS)]
    create(deployment(name, here, replicas=1) for name in names)
    until(lambda: _ready(cluster, here) == ROLLOUTS, within_s=120)
    news: SimpleQueue[News] = SimpleQueue()
    over = threading.Event()
    follower = Follower(here, "deployment", wanted=lambda: names, news=news, over=over)
    follower.start()
    finished: dict[str, set[str]] = {name: set() for name in names}

    def heard(revision: str) -> bool:
        for rollout in _drained(news):
            if rollout.progress is Progress.FINISHED:
                finished[rollout.workload.name].add(rollout.revision)
        return all(revision in seen for seen in finished.values())

    try:
        until(lambda: heard("1"))
        create((deployment(name, here, replicas=1, version=2) for name in names), anew=True)
        until(lambda: heard("2"), within_s=120)
    finally:
        over.set()
    assert all(seen == {"1", "2"} for seen in finished.values())


def _drained(news: SimpleQueue[News]) -> list[Rollout]:
    found = []
    while True:
        try:
            each = news.get_nowait()
        except Empty:
            return found
        if each.rollout is not None:
            found.append(each.rollout)
