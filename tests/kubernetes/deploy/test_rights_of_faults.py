"""Each fault runs with exactly its row's rights, and with any one less refuses before anything is touched."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from agent.faults.cluster.rights import RESTORER_RIGHTS, RIGHTS, Right

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from conftest import Accounts, Stage

pytestmark = pytest.mark.cluster
PLAY_EACH = Path(__file__).with_name("play_each.py")
CUT = "pods.partition, pods.drop, pods.delay, pods.fail_requests"
INSIDE = "pods.stress, pods.fill_disk, containers.kill"
OTHER_OWNERS = frozenset({"statefulsets", "daemonsets", "replicationcontrollers"})
"""What a Deployment's pods do not need; a test of their own has them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A row of the table and a call that needs it; ``rests_on`` are rows that it needs as well."""

    row: str
    fault: str
    arguments: dict[str, Any]
    rests_on: tuple[str, ...] = ()
    within: str | None = None
    lands: bool = True
    whole: bool = False
    """Whether the fault asks for its whole row, whatever owns the pods."""
    changes: bool = False
    """Whether it changes a value, which a restorer has to be able to put back."""
    of_nodes: bool = False

    @property
    def target(self) -> dict[str, str]:
        """What the fault is told of its targets, with what only the cluster knows left open."""
        if self.of_nodes:
            return {"selector": "kubernetes.io/hostname=NODE"}
        return {"namespace": "NAMESPACE", "selector": "app=gateway"}

    @property
    def own(self) -> tuple[Right, ...]:
        """The row's rights, as far as the pods of a Deployment need them."""
        row = RIGHTS[self.row]
        return tuple(right for right in row if self.whole or right.resource not in OTHER_OWNERS)

    @property
    def base(self) -> tuple[Right, ...]:
        """What the other rows grant."""
        rights = {right for row in self.rests_on for right in RIGHTS[row]}
        return tuple(sorted(right for right in rights if right.resource not in OTHER_OWNERS))


def _changing(row: str, fault: str, **arguments: Any) -> Case:
    """Return the case of a fault that changes a value: its row holds everywhere if it is of nodes."""
    of_nodes = fault.startswith("nodes:")
    return Case(
        row=row,
        fault=fault,
        arguments=arguments,
        rests_on=("restorers",),
        within="" if of_nodes else None,
        whole=True,
        changes=True,
        of_nodes=of_nodes,
    )


CASES = [
    Case(row="pods.kill", fault="pods:kill", arguments={}),
    Case(row="pods.kill by: delete", fault="pods:kill", arguments={"by": "delete"}),
    Case(
        row="networkpolicies.isolate",
        fault="networkpolicies:isolate",
        arguments={"port": 8080},
        whole=True,
        lands=False,  # the rights suffice, but the test cluster's network enforces no policies
    ),
    Case(row=CUT, fault="pod_networks:partition", arguments={"peers": ["192.0.2.1"]}),
    Case(
        row=f"{CUT} towards service/ or pods/",
        fault="pod_networks:partition",
        arguments={"peers": ["service/web", "pods/app=nobody-calls"]},
        rests_on=(CUT,),
    ),
    Case(
        row="pods.partition, pods.drop without peers, or towards networks",
        fault="pod_networks:partition",
        arguments={"peers": ["192.0.2.0/24"]},
        rests_on=(CUT,),
        within="default",
    ),
    Case(row=INSIDE, fault="pods:stress", arguments={"cores": 0.1}),
    Case(row="deployments.restart", fault="deployments:restart", arguments={}, whole=True),
    _changing("deployments.scale", "deployments:scale", replicas=1),
    _changing("nodes.cordon, nodes.taint", "nodes:cordon"),
    _changing("nodes.drain", "nodes:drain", min_ready=0, others="leave"),
    _changing("nodes.taint effect: NoExecute", "nodes:taint", effect="NoExecute", min_ready=0),
    Case(
        row="restorers",
        fault="deployments:scale",
        arguments={"replicas": 1},
        rests_on=("deployments.scale",),
        whole=True,
        changes=True,
    ),
]


@pytest.fixture
def shop(cluster: Any, namespace: str, web: Callable[..., Any]) -> str:
    """A namespace with two ready pods called gateway, one called nobody-calls, and a Service."""
    service = {"selector": {"app": "nobody-calls"}, "ports": [{"port": 80, "targetPort": 8080}]}
    meta = {"name": "web", "namespace": namespace}
    cluster.apply(
        web("gateway", namespace, replicas=2),
        web("nobody-calls", namespace, replicas=1),
        {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": service},
    )
    for name in ("gateway", "nobody-calls"):
        words = ("rollout", "status", f"deployment/{name}", "--timeout=90s", "--namespace", namespace)
        cluster.kubectl(*words, within_s=95)
    return namespace


def _environ(stage: Stage, namespace: str, image: str) -> dict[str, str]:
    more = {"GAMEDAY_NAMESPACES": namespace, "GAMEDAY_IMAGE": image, "GAMEDAY_RADIUS_COUNT": "5"}
    return {**stage.environ, **more, "GAMEDAY_NODES": "*", "GAMEDAY_RESTORER_NAMESPACE": namespace}


def _state(cluster: Any, namespace: str) -> list[Any]:
    """Return all that a fault could have touched."""
    found = [
        *cluster.read("deployments,pods,jobs,networkpolicies", "--namespace", namespace)["items"],
        *cluster.read("nodes")["items"],
    ]
    return [
        (each["kind"], each["metadata"]["uid"], each["metadata"].get("labels"), each["spec"])
        for each in found
    ]


def _play_each(
    stage: Stage, fault: str, arguments: dict[str, Any], environ: dict[str, str], kubeconfigs: Sequence[Path]
) -> list[dict[str, Any]]:
    words = [sys.executable, str(PLAY_EACH), f"agent.faults.{fault}", json.dumps(arguments)]
    done = subprocess.run(
        [*words, *map(str, kubeconfigs)],
        env=environ,
        cwd=stage.folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    told = [
        json.loads(line) for line in done.stdout.splitlines()
    ]  # its reaper may end it, once it has said all
    assert len(told) == len(kubeconfigs), done.stderr
    return told


def _quiet_node(cluster: Any, until: Callable[..., Any], namespace: str) -> str:
    """Return a node, once nothing lives there but what is in *namespace*."""
    name: str = cluster.read("nodes")["items"][-1]["metadata"]["name"]

    def others() -> list[str]:
        words = ("--all-namespaces", "--field-selector", f"spec.nodeName={name}")
        return [
            each["metadata"]["name"]
            for each in cluster.read("pods", *words)["items"]
            if each["metadata"]["namespace"] != namespace and "deletionTimestamp" not in each["metadata"]
        ]

    until(lambda: not others(), within_s=60)
    return name


def _experiment(stage: Stage, case: Case, namespace: str) -> Path:
    module, _, func = case.fault.partition(":")
    arguments = {"namespace": namespace, "selector": "app=gateway", **case.arguments}
    act = {"type": "python", "module": f"agent.faults.{module}", "func": func, "arguments": arguments}
    method = [{"name": "break", "type": "action", "provider": act, "pauses": {"after": 1}}]
    keys = {"timeout_s": 90, "blast_radius": {"count": 1}, "watch": {"every_s": 1, "look_timeout_s": 20}}
    probe = {"func": "is_whole", "arguments": {"path": str(stage.broken)}}
    return stage.experiment(gameday=keys, method=method, probe=probe)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.row)
def test_a_row_is_enough_and_none_of_it_is_too_much(
    case: Case,
    cluster: Any,
    shop: str,
    agent_image: str,
    stage: Stage,
    accounts: Accounts,
    lacks: Callable[..., list[str]],
    until: Callable[..., Any],
) -> None:
    """Without any one right it is refused by name, and all is as it was; with all it lands and heals."""
    where = shop if case.within is None else case.within
    less = accounts.less(case.own)
    everybody = {**less, "exact": case.own}
    if case.base:
        accounts.make(dict.fromkeys(everybody, case.base))
    if case.changes:
        _let_restorers_be(accounts)
    made = accounts.make(everybody, within=case.within)
    for (name, rights), left_out in zip(less.items(), case.own, strict=True):
        assert until(lambda n=name: lacks(made[n], case.own, where)) == [left_out.rule], rights
    until(lambda: not lacks(made["exact"], case.own, where) + lacks(made["exact"], case.base, shop))
    arguments = json.dumps({**case.target, **case.arguments}).replace("NAMESPACE", shop)
    if case.of_nodes:
        arguments = arguments.replace("NODE", _quiet_node(cluster, until, shop))
    play = (stage, case.fault, json.loads(arguments), _environ(stage, shop, agent_image))
    before = _state(cluster, shop)
    said = _play_each(*play, [made[name] for name in less])
    for left_out, each in zip(case.own, said, strict=True):
        assert each.get("error") == "Refused", (left_out.rule, each)
        assert (left_out.rule if case.whole else left_out.resource) in each["says"], (left_out.rule, each)
    assert _state(cluster, shop) == before
    (told,) = _play_each(*play, [made["exact"]])
    if case.lands:
        assert (told.get("landed"), bool(told.get("healed"))) == (True, True), told
    else:
        assert (told["error"], "network" in told["says"]) == ("DidNotLand", True), told
    assert stage.open_injections() == ()


def _let_restorers_be(accounts: Accounts) -> None:
    """Give the account of restorers what its table names, and nothing else."""
    here = [right for row in RESTORER_RIGHTS.values() for right in row if not right.everywhere]
    on_nodes = [right for row in RESTORER_RIGHTS.values() for right in row if right.everywhere]
    accounts.make({"gameday-restorer": here})
    accounts.make({"gameday-restorer": on_nodes}, within="")


def test_every_fault_of_the_table_has_a_case_above() -> None:
    """A row that is new or called otherwise needs one; what is no fault has tests of its own."""
    others = ("probes.", "serve:", "check ", "on_deviated", "GAMEDAY_", "a run in ", "heal ")
    faults = {row for row in RIGHTS if not row.startswith(others)}
    assert {case.row for case in CASES} == faults


def test_pods_of_each_kind_of_owner_need_the_right_to_look_at_that_kind(
    cluster: Any,
    namespace: str,
    web: Callable[..., Any],
    stage: Stage,
    agent_image: str,
    accounts: Accounts,
    lacks: Callable[..., list[str]],
    until: Callable[..., Any],
) -> None:
    """With the right the kill of its pod gets as far as the leash; without it, it is refused."""
    owned = ("StatefulSet", "DaemonSet", "ReplicationController")
    for kind in owned:
        cluster.apply(_owner(kind, web(kind.lower(), namespace, replicas=2)))
    row = RIGHTS["pods.kill"]
    mine = {kind: next(r for r in row if r.resource == f"{kind.lower()}s") for kind in owned}
    others = [right for right in row if right.resource not in OTHER_OWNERS]
    wanted = {f"with-{kind.lower()}": (*others, mine[kind]) for kind in owned}
    made = accounts.make({"without": others, **wanted})
    for kind in owned:
        selector = f"app={kind.lower()}"
        words = ("wait", "pod", "--namespace", namespace, "--selector", selector, "--for=condition=Ready")
        until(lambda s=selector: len(_named(cluster, namespace, s)) == 2)
        cluster.kubectl(*words, "--timeout=90s", within_s=95)
        account = made[f"with-{kind.lower()}"]
        until(lambda a=account, k=kind: not lacks(a, (*others, mine[k]), namespace))
        case = Case(row="pods.kill", fault="pods:kill", arguments={"selector": selector, "min_ready": 1})
        environ = {**_environ(stage, namespace, agent_image), "KUBECONFIG": str(account)}
        code, found = _leashed(stage, case, namespace, environ)
        assert (code, "403" in found["reason"]) == (3, False), found["reason"]  # a leashed run proves nothing
        environ["KUBECONFIG"] = str(made["without"])
        code, found = _leashed(stage, case, namespace, environ)
        assert (code, f"{kind.lower()}s" in found["reason"]) == (4, True), found


def _leashed(stage: Stage, case: Case, namespace: str, environ: dict[str, str]) -> tuple[int, Any]:
    file = str(_experiment(stage, case, namespace))
    process = stage.start("agent", "run", file, "--json", "--leash", **environ)
    out, _ = process.communicate(timeout=60)
    return process.returncode, json.loads(out)


def _named(cluster: Any, namespace: str, selector: str) -> list[Any]:
    found: list[Any] = cluster.read("pods", "--namespace", namespace, "--selector", selector)["items"]
    return found


def _owner(kind: str, deployment: dict[str, Any]) -> dict[str, Any]:
    """Return *deployment* as another kind with the same pods."""
    spec = dict(deployment["spec"])
    if kind == "DaemonSet":
        del spec["replicas"]
    if kind == "StatefulSet":
        spec["serviceName"] = deployment["metadata"]["name"]
    if kind == "ReplicationController":
        spec["selector"] = spec["selector"]["matchLabels"]
    version = "v1" if kind == "ReplicationController" else "apps/v1"
    return {**deployment, "apiVersion": version, "kind": kind, "spec": spec}
