"""Which rights each Kubernetes fault and probe needs; the documentation's table and the doctor read this."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from agent.clients import rights as rights_of
from agent.clients.rights import Right, missing
from agent.clients.rights import rights as _all

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.clients.kubernetes import Api

__all__ = ["INSIDE", "RESTORER_RIGHTS", "RIGHTS", "Right", "check", "missing", "table"]


def table(rights: Mapping[str, tuple[Right, ...]] | None = None, *, of: str = "fault or probe") -> str:
    """Return *rights*, by default :data:`RIGHTS`, as a Markdown table of docs/kubernetes.md."""
    told = RIGHTS if rights is None else rights
    rows = [f"| `{name}` | {', '.join(right.rule for right in needed)} |" for name, needed in told.items()]
    return "\n".join([f"| {of} | rights |", "|---|---|", *rows])


def _get(*resources: str, group: str = "") -> tuple[Right, ...]:
    return tuple(Right(group=group, resource=resource, verb="get") for resource in resources)


def _list(*resources: str, group: str = "") -> tuple[Right, ...]:
    return tuple(Right(group=group, resource=resource, verb="list") for resource in resources)


_NAMESPACE = (Right(resource="namespaces", verb="get"),)
_OWNERS = _get("replicasets", "deployments", "statefulsets", "daemonsets", group="apps") + _get(
    "replicationcontrollers"
)
_CHOOSE = (*_NAMESPACE, *_list("pods"), *_get("pods"), *_OWNERS)
_NODES = _all("nodes", "list", "get", "patch", everywhere=True)
_LEASES = "coordination.k8s.io"
_ON_NODES = tuple(
    replace(each, everywhere=True) for each in (*_NAMESPACE, *_list("pods"), *_get("pods"), *_OWNERS)
)

INSIDE = (
    Right(resource="pods", subresource="ephemeralcontainers", verb="patch"),
    *(
        Right(resource="pods", subresource=way, verb=verb)
        for way in ("attach", "exec")
        for verb in ("get", "create")
    ),
)
"""To start something inside a pod and talk to it; the API server asks for one verb or both, by version."""

RIGHTS: dict[str, tuple[Right, ...]] = {
    "pods.kill": (*_CHOOSE, Right(resource="pods", subresource="eviction", verb="create")),
    "pods.kill by: delete": (*_CHOOSE, Right(resource="pods", verb="delete")),
    "networkpolicies.isolate": (
        *_CHOOSE,
        Right(resource="pods", subresource="proxy", verb="get"),
        Right(resource="pods", verb="patch"),
        *(Right(group="batch", resource="jobs", verb=verb) for verb in ("create", "get", "patch", "delete")),
        *(
            Right(group="networking.k8s.io", resource="networkpolicies", verb=verb)
            for verb in ("create", "get", "delete")
        ),
    ),
    "deployments.scale": (
        *_NAMESPACE,
        *_all("deployments", "list", "get", group="apps"),
        *_all("deployments/scale", "patch", group="apps"),
    ),
    "deployments.restart": (
        *_NAMESPACE,
        *_all("deployments", "list", "get", "patch", group="apps"),
        *_list("replicasets", group="apps"),
    ),
    "nodes.cordon, nodes.taint": _NODES,
    "nodes.drain": (*_NODES, *_ON_NODES, *_all("pods/eviction", "create", everywhere=True)),
    "nodes.taint effect: NoExecute": (
        *_NODES,
        *_ON_NODES,
        *_all("poddisruptionbudgets", "list", group="policy", everywhere=True),
    ),
    "restorers": (
        *_get("serviceaccounts"),
        *_list("pods"),
        *_all("jobs", "create", "get", "delete", group="batch"),
        *_all("leases", "create", "get", "patch", "delete", group=_LEASES),
    ),
    "heal --sweep": (
        *_list("pods"),
        *_list("jobs", group="batch"),
        *_list("networkpolicies", group="networking.k8s.io"),
        *_get("networkpolicies", group="networking.k8s.io"),
        Right(resource="pods", verb="patch"),
        Right(group="batch", resource="jobs", verb="delete"),
        Right(group="networking.k8s.io", resource="networkpolicies", verb="delete"),
    ),
    "pods.partition, pods.drop, pods.delay, pods.fail_requests": (*_CHOOSE, *INSIDE),
    "pods.partition, pods.drop, pods.delay, pods.fail_requests towards service/ or pods/": (
        *_get("services"),
        *_list("services"),
        *_list("endpointslices", group="discovery.k8s.io"),
    ),
    "pods.stress, pods.fill_disk, containers.kill": (*_CHOOSE, *INSIDE),
    "pods.partition, pods.drop without peers, or towards networks": (
        *_get("services"),
        *_list("endpointslices", group="discovery.k8s.io"),
    ),
    "serve: after a deploy": (
        *(
            right
            for plural in ("deployments", "statefulsets", "daemonsets")
            for right in rights_of.of_rollouts(plural)
        ),
        *rights_of.OF_MEMORIES,
    ),
    "check --after": _get("deployments", "statefulsets", "daemonsets", group="apps"),
    "on_deviated: rollback": (
        *_NAMESPACE,
        *(
            Right(group="apps", resource=kind, verb=verb)
            for kind in ("deployments", "statefulsets", "daemonsets")
            for verb in ("get", "patch")
        ),
        *_list("replicasets", "controllerrevisions", group="apps"),
    ),
    "GAMEDAY_EXECUTOR=kubernetes-job": rights_of.OF_JOBS,
    "a run in a Job": rights_of.IN_A_JOB,
    "heal --sweep of changed values": (
        *_all("jobs", "list", "delete", group="batch"),
        *_all("leases", "list", "delete", group=_LEASES),
    ),
    "probes.pods": _list("pods"),
    "probes.deployments": _get("deployments", group="apps"),
    "probes.services has_endpoints": (
        *_get("services"),
        *_list("endpointslices", group="discovery.k8s.io"),
    ),
    "probes.services responds": (
        *_get("services"),
        Right(resource="services", subresource="proxy", verb="get"),
    ),
    "probes.pdbs": _get("poddisruptionbudgets", group="policy"),
    "probes.hpas": _get("horizontalpodautoscalers", group="autoscaling"),
    "probes.events": _list("events"),
    "probes.nodes": (Right(resource="nodes", verb="list", everywhere=True),),
}
"""Fault or probe -> what it needs.  Owners of other kinds than a Deployment's need less."""


RESTORER_RIGHTS: dict[str, tuple[Right, ...]] = {
    "in the restorers' namespace": rights_of.OF_RESTORERS,
    "of deployments.scale": (
        *_get("deployments", group="apps"),
        *_all("deployments/scale", "patch", group="apps"),
    ),
    "of nodes.cordon, nodes.taint, nodes.drain": _all("nodes", "get", "patch", everywhere=True),
}
"""What the service account of restorers needs: for its Lease, and for each kind of value to put back."""


def check(
    api: Api,
    fault: str,
    namespace: str | None,
    *,
    rows: Mapping[str, tuple[Right, ...]] = RIGHTS,
    so: str = rights_of.NOTHING,
) -> None:
    """Refuse unless everything that *fault*, one of *rows*, needs is allowed; before anything is done.

    Raises:
        Refused: Something is not; says what.
    """
    rights_of.require(api, fault, rows[fault], namespace, so=so)
