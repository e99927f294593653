"""Which rights each Kubernetes fault and probe needs; the documentation's table and the doctor read this."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from agent.model import Refused

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agent.clients.kubernetes import Api

REVIEW = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Right:
    """One verb on one resource; ``group`` is empty for the core group."""

    group: str = ""
    resource: str
    subresource: str = ""
    verb: str
    everywhere: bool = False
    """Whether it is asked for the whole cluster and not in one namespace."""

    @property
    def rule(self) -> str:
        """The right as it stands in a role: ``apps/deployments get``."""
        group = f"{self.group}/" if self.group else ""
        part = f"/{self.subresource}" if self.subresource else ""
        return f"{group}{self.resource}{part} {self.verb}"


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


def _all(resource: str, *verbs: str, group: str = "", everywhere: bool = False) -> tuple[Right, ...]:
    name, _, part = resource.partition("/")
    return tuple(
        Right(group=group, resource=name, subresource=part, verb=verb, everywhere=everywhere)
        for verb in verbs
    )


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
            Right(group="apps", resource=kind, verb=verb)
            for kind in ("deployments", "statefulsets", "daemonsets")
            for verb in ("list", "watch")
        ),
        *(
            Right(group="coordination.k8s.io", resource="leases", verb=verb)
            for verb in ("get", "create", "update")
        ),
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
    "GAMEDAY_EXECUTOR=kubernetes-job": (
        *(Right(group="batch", resource="jobs", verb=verb) for verb in ("create", "get", "patch", "delete")),
        *(Right(resource="secrets", verb=verb) for verb in ("create", "delete")),
        *_get("configmaps"),
        *_list("pods"),
        Right(resource="pods", subresource="log", verb="get"),
    ),
    "a run in a Job": (
        *(Right(group="batch", resource="jobs", verb=verb) for verb in ("get", "patch")),
        Right(resource="configmaps", verb="create"),
    ),
    "heal --sweep of changed values": (
        *_all("jobs", "list", group="batch"),
        *_all("leases", "list", group=_LEASES),
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
    "in the restorers' namespace": (
        *_all("leases", "get", "patch", group=_LEASES),
        *_all("jobs", "get", group="batch"),
    ),
    "of deployments.scale": (
        *_get("deployments", group="apps"),
        *_all("deployments/scale", "patch", group="apps"),
    ),
    "of nodes.cordon, nodes.taint, nodes.drain": _all("nodes", "get", "patch", everywhere=True),
}
"""What the service account of restorers needs: for its Lease, and for each kind of value to put back."""


def check(api: Api, fault: str, namespace: str | None) -> None:
    """Refuse unless everything that *fault* needs is allowed; for faults that make more than one object.

    Raises:
        Refused: Something is not; says what.
    """
    if lacking := missing(api, RIGHTS[fault], namespace):
        where = f"in {namespace}" if namespace else "in this cluster"
        raise Refused(f"{fault} is not allowed {where}: {', '.join(lacking)} (403); nothing was touched")


def missing(api: Api, rights: Sequence[Right], namespace: str | None) -> list[str]:
    """Return which of *rights* the API server would not grant, in *namespace* or everywhere."""
    return [right.rule for right in rights if not _may(api, right, namespace)]


def _may(api: Api, right: Right, namespace: str | None) -> bool:
    """Ask the API server; a review is answered and kept nowhere."""
    asked = {
        "group": right.group,
        "resource": right.resource,
        "subresource": right.subresource,
        "verb": right.verb,
    }
    if right.resource == "namespaces":
        asked["name"] = namespace or ""
    if namespace and not right.everywhere:
        asked["namespace"] = namespace
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": asked},
    }
    return bool(api.post(REVIEW, review)["status"]["allowed"])
