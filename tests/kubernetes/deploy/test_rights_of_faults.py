"""Each fault runs with exactly its row's rights, and with any one less refuses before anything is touched."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from agent.faults.kubernetes_rights import RIGHTS, Right

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from conftest import Accounts, Stage

pytestmark = pytest.mark.cluster
PLAY_EACH = Path(__file__).with_name("play_each.py")
CUT = "pods.partition, pods.drop, pods.delay, pods.fail_requests"
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
    return {**stage.environ, **more}


def _state(cluster: Any, namespace: str) -> list[Any]:
    """Return all that a fault could have touched."""
    kinds = "pods,jobs,networkpolicies"
    return [
        (each["kind"], each["metadata"]["uid"], each["metadata"]["labels"], each["spec"])
        for each in cluster.read(kinds, "--namespace", namespace)["items"]
    ]


def _play_each(
    stage: Stage, case: Case, namespace: str, image: str, kubeconfigs: Sequence[Path]
) -> list[dict[str, Any]]:
    arguments = {"namespace": namespace, "selector": "app=gateway", **case.arguments}
    words = [sys.executable, str(PLAY_EACH), f"agent.faults.{case.fault}", json.dumps(arguments)]
    done = subprocess.run(
        [*words, *map(str, kubeconfigs)],
        env=_environ(stage, namespace, image),
        cwd=stage.folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    told = [
        json.loads(line) for line in done.stdout.splitlines()
    ]  # its reaper may end it, once it has said all
    assert len(told) == len(kubeconfigs), done.stderr
    return told


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
    """With its rights it lands and heals; without any one it is refused by name, and all is as it was."""
    where = shop if case.within is None else case.within
    less = accounts.less(case.own)
    everybody = {**less, "exact": case.own}
    if case.base:
        accounts.make(dict.fromkeys(everybody, case.base))
    made = accounts.make(everybody, within=case.within)
    for (name, rights), left_out in zip(less.items(), case.own, strict=True):
        assert until(lambda n=name: lacks(made[n], case.own, where)) == [left_out.rule], rights
    before = _state(cluster, shop)
    told = _play_each(stage, case, shop, agent_image, [made[name] for name in less])
    for left_out, said in zip(case.own, told, strict=True):
        assert said.get("error") == "Refused", (left_out.rule, said)
        assert left_out.resource in said["says"], (left_out.rule, said)
    assert _state(cluster, shop) == before
    until(lambda: not lacks(made["exact"], case.own, where))
    environ = {**_environ(stage, shop, agent_image), "KUBECONFIG": str(made["exact"])}
    run = stage.start("agent", "run", str(_experiment(stage, case, shop)), "--json", **environ)
    out, errors = run.communicate(timeout=120)
    record = json.loads(out)
    assert len(record["injections"]) == 1, record["reason"]
    (told,) = record["injections"]
    facts = (told["landed"], told["gone"], record["recovered"])
    assert facts == (case.lands, True, True), (record["reason"], errors)
    assert case.lands or "network" in record["reason"], record["reason"]


@pytest.mark.parametrize("row", ["pods.kill", "networkpolicies.isolate", CUT])
def test_every_case_above_is_a_row(row: str) -> None:
    """A row whose name changes takes its test along."""
    assert row in RIGHTS
    assert {case.row for case in CASES} <= RIGHTS.keys()


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
