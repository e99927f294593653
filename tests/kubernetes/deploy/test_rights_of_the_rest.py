"""What is no fault needs its row, too: restorers, the sweep, what follows a deploy, and probes."""

from __future__ import annotations

import json
import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from agent.clients.kubernetes import RUN, connect
from agent.clients.rights import OF_MEMORIES, of_rollouts
from agent.faults.cluster.isolation import MARK
from agent.faults.cluster.rights import RESTORER_RIGHTS, RIGHTS
from agent.faults.cluster.standby_jobs import RESTORE
from agent.model import Refused
from agent.restorer.changes import Scaled
from agent.restorer.node_changes import Cordoned
from agent.restorer.orders import ORDER, Order
from agent.restorer.restore import make
from agent.restorer.watch import PREFIX
from agent.schedule import memory
from agent.schedule.awaiting import await_rollout
from agent.schedule.follow import Follower, News
from agent.schedule.rollouts import KINDS, Progress, Workload
from agent.schedule.undo import undo_and_file
from agent.settings import Settings
from agent.stop import StopRequest
from agent.store import Store
from agent.sweep import sweep
from probes import deployments, events, hpas, nodes, pdbs, pods, services

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from conftest import Accounts, Stage

    from agent.faults.cluster.rights import Right
    from agent.schedule.rollouts import Rollout

pytestmark = pytest.mark.cluster

type Lacks = Callable[..., list[str]]
type Until = Callable[..., Any]


def _without_pods(kind: str, name: str, namespace: str, **spec: Any) -> dict[str, Any]:
    """Return a workload whose pods, if it wants any, find no node."""
    labels = {"app": name}
    pod = {"containers": [{"name": "c", "image": "never.invalid/c"}], "nodeSelector": {"gameday": "no"}}
    found = {
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": pod},
        **({} if kind == "DaemonSet" else {"replicas": 0}),
        **({"serviceName": name} if kind == "StatefulSet" else {}),
        **spec,
    }
    meta = {"name": name, "namespace": namespace}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": meta, "spec": found}


@pytest.fixture
def admin(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return a function with which the test is the administrator again."""
    return lambda: monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))


# restorers


def test_a_restorer_that_lacks_a_right_ends_and_so_nothing_is_changed(
    cluster: Any, namespace: str, stage: Stage, accounts: Accounts, until: Until
) -> None:
    """Before it says that it is there, whatever it lacks; with all of it, it is there and puts back."""
    cluster.apply(_without_pods("Deployment", "shop", namespace))
    order = _order(cluster, namespace)
    here = [right for row in RESTORER_RIGHTS.values() for right in row if not right.everywhere]
    on_nodes = [right for row in RESTORER_RIGHTS.values() for right in row if right.everywhere]
    less, lesser = accounts.less(here), accounts.less(on_nodes, "lesser")
    made = accounts.make({**less, **dict.fromkeys([*lesser, "exact"], here)})
    accounts.make({**lesser, **dict.fromkeys([*less, "exact"], on_nodes)}, within="")
    lease = {"spec": {"holderIdentity": "test"}, "metadata": {"name": order.mark, "namespace": namespace}}
    cluster.apply({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", **lease})
    environ = {ORDER: json.dumps(order.to_json())}
    started = {
        name: stage.start("agent.restorer", **environ, KUBECONFIG=str(path)) for name, path in made.items()
    }
    for left_out, name in zip([*here, *on_nodes], [*less, *lesser], strict=True):
        _, said = started[name].communicate(timeout=60)
        assert started[name].returncode == 1, (left_out.rule, said)
        assert left_out.resource in said, (left_out.rule, said)

    def beats() -> list[str]:
        found = cluster.read("lease", order.mark, "--namespace", namespace)["metadata"]
        return [each for each in found.get("annotations", {}) if each.startswith(PREFIX)]

    assert len(until(beats)) == 1
    cluster.kubectl("delete", "lease", order.mark, "--namespace", namespace)
    assert started["exact"].wait(30) == 0


def _order(cluster: Any, namespace: str) -> Order:
    node = cluster.read("nodes")["items"][-1]["metadata"]
    shop = cluster.read("deployment", "shop", "--namespace", namespace)["metadata"]
    return Order(
        namespace=namespace,
        mark="gameday-0123456789ab",
        lease_s=60.0,
        hard_end_s=60.0,
        changes=(_scaled(namespace, shop["uid"]), _cordoned(node["name"], node["uid"])),
    )


def _scaled(namespace: str, uid: str) -> Scaled:
    mark = "gameday-0123456789ab"
    return Scaled(namespace=namespace, deployment="shop", uid=uid, mark=mark, before=0, after=1)


def _cordoned(node: str, uid: str) -> Cordoned:
    return Cordoned(node=node, uid=uid, mark="gameday-0123456789ab", run="nobody")


# the sweep


@pytest.fixture
def home_namespace(cluster: Any, namespace: str) -> Iterator[str]:
    """Where restorers would be."""
    name = f"{namespace}-home"
    cluster.kubectl("create", "namespace", name)
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")


def test_a_sweep_asks_for_all_its_rights_before_it_takes_anything_out(
    cluster: Any,
    namespace: str,
    home_namespace: str,
    home: Path,
    admin: Callable[[], None],
    accounts: Accounts,
    lacks: Lacks,
    until: Until,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of a policy, a Job, a label and a changed number none is mended without a right for each of them."""
    admin()
    _leave_behind(cluster, namespace, home_namespace)
    monkeypatch.setenv("GAMEDAY_RESTORER_NAMESPACE", home_namespace)
    settings = Settings(namespaces=(namespace,), home=home)
    there = [*RIGHTS["heal --sweep"], *RESTORER_RIGHTS["of deployments.scale"]]
    at_home = list(RIGHTS["heal --sweep of changed values"])
    less, lesser = accounts.less(there), accounts.less(at_home, "lesser")
    made = accounts.make({**less, **dict.fromkeys([*lesser, "exact", "plain"], there)})
    accounts.make({**lesser, **dict.fromkeys([*less, "exact"], at_home)}, within=home_namespace)
    before = _leftovers(cluster, namespace, home_namespace)
    store = Store(home)
    for left_out, name in zip([*there, *at_home], [*less, *lesser], strict=True):
        within, rights = (namespace, there) if name in less else (home_namespace, at_home)
        until(lambda n=name, r=rights, w=within, o=left_out: lacks(made[n], r, w) == [o.rule])
        with pytest.raises(Refused, match=left_out.rule):
            sweep(store, settings)
    until(lambda: not lacks(made["exact"], at_home, home_namespace))
    with pytest.raises(Refused, match="nodes patch"):
        sweep(store, settings.model_copy(update={"nodes": ("*",)}))
    assert _leftovers(cluster, namespace, home_namespace) == before
    found = sweep(store, settings)
    assert f"Deployment {namespace}/shop, put back" in found
    assert len(found) == 5, found
    assert lacks(made["plain"], there, namespace) == []
    assert sweep(store, settings) == [], "who has no restorers sweeps what else there is"
    store.close()


def _leave_behind(cluster: Any, namespace: str, home: str) -> None:
    """Leave what runs that nobody knows would: two Jobs, a policy, a label and a changed number."""
    cluster.apply(_without_pods("Deployment", "shop", namespace))
    shop = cluster.read("deployment", "shop", "--namespace", namespace)["metadata"]
    change = _scaled(namespace, shop["uid"])
    order = Order(namespace=home, mark=change.mark, lease_s=10.0, hard_end_s=60.0, changes=(change,))
    with connect() as api:
        make(api, change)
    never = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "never.invalid/c"}]}
    job = {"apiVersion": "batch/v1", "kind": "Job", "spec": {"parallelism": 0, "template": {"spec": never}}}
    lost = {RUN: "lost"}
    note = {RESTORE: json.dumps(order.to_json())}
    pod = {"containers": never["containers"], "nodeSelector": {"gameday": "no"}}
    here = {"namespace": namespace, "name": "lost"}
    cluster.apply(
        {**job, "metadata": {"name": order.mark, "namespace": home, "labels": lost, "annotations": note}},
        {**job, "metadata": {**here, "labels": lost}},
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {**here, "labels": lost},
            "spec": {"podSelector": {"matchLabels": {MARK: "lost"}}},
        },
        {"apiVersion": "v1", "kind": "Pod", "metadata": {**here, "labels": {MARK: "lost"}}, "spec": pod},
    )


def _leftovers(cluster: Any, namespace: str, home: str) -> Any:
    kinds = "deployments,jobs,networkpolicies,pods"
    found = [each for where in (namespace, home) for each in cluster.read(kinds, "-n", where)["items"]]
    return [(each["metadata"]["uid"], each["metadata"].get("labels"), each["spec"]) for each in found]


# after a deploy


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet"])
def test_what_follows_a_deploy_is_refused_without_a_right_for_it(
    kind: str,
    cluster: Any,
    namespace: str,
    accounts: Accounts,
    lacks: Lacks,
    until: Until,
    admin: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """It is not followed, not waited for and not undone, each with the right's name; with all, it is."""
    monkeypatch.setenv("GAMEDAY_NAMESPACES", namespace)
    cluster.apply(_without_pods(kind, "shop", namespace))
    workload = Workload(kind=kind.lower(), namespace=namespace, name="shop")
    plural = KINDS[workload.kind]
    following = (*of_rollouts(plural), *OF_MEMORIES)
    assert set(following) <= set(RIGHTS["serve: after a deploy"])
    reading = _of(plural, RIGHTS["check --after"])
    undoing = _of(plural, RIGHTS["on_deviated: rollback"])
    rows = {"follow": following, "read": reading, "undo": undoing}
    wanted = {name: rights for row in rows for name, rights in accounts.less(rows[row], row).items()}
    made = accounts.make({**wanted, **rows})
    for row, needed in rows.items():
        for index, left_out in enumerate(needed):
            lacking = [left_out.rule]
            until(
                lambda r=row, i=index, n=needed, o=lacking: lacks(made[f"{r}-{i}"], n, namespace) == o,
            )

    for index, left_out in enumerate(following):
        lacks(made[f"follow-{index}"], (), namespace)
        assert left_out.rule in _unseen(workload, until)
    until(lambda: not lacks(made["follow"], following, namespace))
    news, over = _followed(workload)
    first = _finished(news)
    with connect() as api:
        memory.begin(api, "title", first)
        admin()
        with connect() as other:
            other.patch(workload.path, {"spec": {"template": {"metadata": {"labels": {"v": "2"}}}}})
        second = _finished(news, after=first)
        assert memory.claim(api, "title", second) is True
    over.set()

    lacks(made["read-0"], (), namespace)
    with pytest.raises(Refused, match=plural):
        await_rollout(workload, stop=StopRequest(), tell=print)
    lacks(made["read"], (), namespace)
    assert await_rollout(workload, stop=StopRequest(), tell=print).id == second.id

    for index, left_out in enumerate(undoing):
        lacks(made[f"undo-{index}"], (), namespace)
        told = undo_and_file(second, run="test", folder=tmp_path)
        assert ("NOT undone" in told, left_out.resource in told) == (True, True), (left_out.rule, told)
    until(lambda: not lacks(made["undo"], undoing, namespace))
    assert "was undone, back to" in undo_and_file(second, run="test", folder=tmp_path)


def _of(plural: str, row: Sequence[Right]) -> tuple[Right, ...]:
    """Return what *row* needs for workloads of one kind."""
    revisions = "replicasets" if plural == "deployments" else "controllerrevisions"
    return tuple(right for right in row if right.resource in (plural, revisions, "namespaces"))


def _followed(workload: Workload) -> tuple[SimpleQueue[News], threading.Event]:
    news: SimpleQueue[News] = SimpleQueue()
    over = threading.Event()
    names = {workload.name}
    Follower(workload.namespace, workload.kind, wanted=lambda: names, news=news, over=over).start()
    return news, over


def _unseen(workload: Workload, until: Until) -> str:
    """Return why nothing is seen of *workload*, and make sure that nothing is."""
    with structlog.testing.capture_logs() as logs:
        news, over = _followed(workload)
        told = until(lambda: [each for each in logs if each["event"] == "rollouts_unseen"])
    over.set()
    assert news.empty()
    return str(told[0]["why"])


def _finished(news: SimpleQueue[News], *, after: Rollout | None = None) -> Rollout:
    """Return the next rollout that has finished and is another one than *after*."""
    while True:
        rollout = news.get(timeout=30).rollout
        is_new = rollout is not None and (after is None or rollout.id != after.id)
        if rollout is not None and is_new and rollout.progress is Progress.FINISHED:
            return rollout


# probes


PROBES: Mapping[str, Callable[[str], Any]] = {
    "probes.pods": lambda where: pods.count(namespace=where, selector="app=shop"),
    "probes.deployments": lambda where: deployments.is_available(namespace=where, name="shop"),
    "probes.services has_endpoints": lambda where: services.has_endpoints(namespace=where, name="shop"),
    "probes.services responds": lambda where: services.responds(namespace=where, name="shop", port=80),
    "probes.pdbs": lambda where: pdbs.allow(namespace=where, name="shop"),
    "probes.hpas": lambda where: hpas.replicas(namespace=where, name="shop"),
    "probes.events": lambda where: events.count(namespace=where, reason="Killing", window_s=60),
    "probes.nodes": lambda _: nodes.are_ready(),
}


def test_a_probe_without_its_right_is_no_evidence_and_with_its_row_it_looks(
    cluster: Any, namespace: str, accounts: Accounts, lacks: Lacks, until: Until
) -> None:
    """What the server forbids is told as that, and never taken for an answer."""
    assert PROBES.keys() == {row for row in RIGHTS if row.startswith("probes.")}
    port = {"ports": [{"port": 80}]}
    meta = {"name": "shop", "namespace": namespace}
    cluster.apply({"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": port})
    wanted: dict[str, tuple[Right, ...]] = {}
    for index, row in enumerate(PROBES):
        wanted |= {f"exact-{index}": RIGHTS[row], **accounts.less(RIGHTS[row], f"less-{index}")}
    made = accounts.make(wanted)
    everywhere = {name: rights for name, rights in wanted.items() if any(each.everywhere for each in rights)}
    accounts.make(everywhere, within="")
    for index, (row, look) in enumerate(PROBES.items()):
        where = "" if any(right.everywhere for right in RIGHTS[row]) else namespace
        for number, left_out in enumerate(RIGHTS[row]):
            account, lacking = made[f"less-{index}-{number}"], [left_out.rule]
            until(lambda a=account, r=row, w=where, o=lacking: lacks(a, RIGHTS[r], w) == o)
            said = _said(look, namespace)
            assert ("403" in said, left_out.resource in said) == (True, True), (left_out.rule, said)
        until(lambda a=made[f"exact-{index}"], r=row, w=where: not lacks(a, RIGHTS[r], w))
        assert "403" not in _said(look, namespace), row


def _said(look: Callable[[str], Any], namespace: str) -> str:
    try:
        return f"answered {look(namespace)}"
    except Exception as error:  # noqa: BLE001  # whatever the engine would be told
        return str(error)
