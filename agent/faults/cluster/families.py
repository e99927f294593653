"""Which rights are switched on together: the Roles of ``deploy/`` and of its chart are made from this."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from agent.faults.cluster.rights import RESTORER_RIGHTS, RIGHTS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent.faults.cluster.rights import Right


class Where(StrEnum):
    """Where a family's rights have to hold."""

    TARGETS = "targets"
    """In each namespace of ``GAMEDAY_NAMESPACES``: a Role and its binding there."""
    OWN = "own"
    """In the namespace that the agent itself runs in: a Role and its binding there."""
    DEFAULT = "default"
    """In the namespace ``default``, where the API server's own Service is."""
    EVERYWHERE = "everywhere"
    """On what is in no namespace: a ClusterRole and its binding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Rows of :data:`RIGHTS` that one Role grants; ``says`` completes "lets the agent …"."""

    rows: tuple[str, ...]
    says: str
    where: Where = Where.TARGETS
    restorer: bool = False
    """Whether it is for the account of restorers, and *rows* are of :data:`RESTORER_RIGHTS`."""

    @property
    def rights(self) -> frozenset[Right]:
        """Everything that the rows need."""
        table = RESTORER_RIGHTS if self.restorer else RIGHTS
        return frozenset(right for row in self.rows for right in table[row])


FAMILIES: dict[str, Family] = {
    "probes": Family(
        rows=(
            "probes.pods",
            "probes.deployments",
            "probes.services has_endpoints",
            "probes.services responds",
            "probes.pdbs",
            "probes.hpas",
            "probes.events",
        ),
        says="look at the steady state; reads only",
    ),
    "probes-nodes": Family(rows=("probes.nodes",), says="look at nodes; reads only", where=Where.EVERYWHERE),
    "after-a-deploy": Family(
        rows=("serve: after a deploy", "check --after"), says="follow rollouts and remember which it has seen"
    ),
    "rollback": Family(rows=("on_deviated: rollback",), says="undo a rollout whose run was DEVIATED"),
    "pods-kill": Family(rows=("pods.kill",), says="evict pods, as far as their budgets allow"),
    "pods-delete": Family(rows=("pods.kill by: delete",), says="delete pods past their budgets"),
    "pods-inside": Family(
        rows=(
            "pods.partition, pods.drop, pods.delay, pods.fail_requests",
            "pods.partition, pods.drop, pods.delay, pods.fail_requests towards service/ or pods/",
            "pods.stress, pods.fill_disk, containers.kill",
        ),
        says="start an injector inside a pod",
    ),
    "api-server": Family(
        rows=("pods.partition, pods.drop without peers, or towards networks",),
        says="find the API server, which a wide cut must spare; reads only",
        where=Where.DEFAULT,
    ),
    "networkpolicies": Family(rows=("networkpolicies.isolate",), says="isolate pods by a policy of its own"),
    "deployments-scale": Family(rows=("deployments.scale",), says="scale Deployments"),
    "deployments-restart": Family(rows=("deployments.restart",), says="restart Deployments"),
    "nodes": Family(
        rows=("nodes.cordon, nodes.taint", "nodes.drain", "nodes.taint effect: NoExecute"),
        says="cordon, drain and taint nodes",
        where=Where.EVERYWHERE,
    ),
    "restorers": Family(
        rows=("restorers", "heal --sweep of changed values"),
        says="put restorers on standby beside it, the dead men of changed values",
        where=Where.OWN,
    ),
    "restorer": Family(
        rows=("in the restorers' namespace",),
        says="or rather a restorer, watch whether its fault is renewed",
        where=Where.OWN,
        restorer=True,
    ),
    "restorer-deployments": Family(
        rows=("of deployments.scale",),
        says="or rather a restorer, put a Deployment's number of replicas back",
        restorer=True,
    ),
    "restorer-nodes": Family(
        rows=("of nodes.cordon, nodes.taint, nodes.drain",),
        says="or rather a restorer, free nodes",
        where=Where.EVERYWHERE,
        restorer=True,
    ),
    "jobs": Family(
        rows=("GAMEDAY_EXECUTOR=kubernetes-job", "a run in a Job"),
        says="play runs in Jobs beside it, under its own account",
        where=Where.OWN,
    ),
    "sweep": Family(rows=("heal --sweep",), says="mend labelled leftovers when the ledger is lost"),
}
"""Name of a Role (after ``gameday-``) -> what it grants; every row of RIGHTS is in exactly one."""


def rules(rights: Iterable[Right]) -> list[dict[str, list[str]]]:
    """Return *rights* as the rules of a Role, what has the same group and verbs together."""
    verbs: dict[tuple[str, str], set[str]] = {}
    for right in rights:
        part = f"/{right.subresource}" if right.subresource else ""
        verbs.setdefault((right.group, right.resource + part), set()).add(right.verb)
    together: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (group, resource), allowed in sorted(verbs.items()):
        together.setdefault((group, tuple(sorted(allowed))), []).append(resource)
    return [
        {"apiGroups": [group], "resources": resources, "verbs": list(allowed)}
        for (group, allowed), resources in sorted(together.items())
    ]


def table() -> str:
    """Return :data:`FAMILIES` as the Markdown table of docs/in-the-cluster.md."""
    rows = [
        f"| `{name}` | {family.says} | {', '.join(f'`{row}`' for row in family.rows)} | {family.where} |"
        for name, family in FAMILIES.items()
    ]
    return "\n".join(
        ["| family | lets the agent | rows of the table of rights | where |", "|---|---|---|---|", *rows]
    )
