"""Which rights each Kubernetes fault and probe needs; the documentation's table and the doctor read this."""

from __future__ import annotations

from dataclasses import dataclass


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


def table() -> str:
    """Return :data:`RIGHTS` as the Markdown table of docs/kubernetes.md."""
    rows = [f"| `{name}` | {', '.join(right.rule for right in rights)} |" for name, rights in RIGHTS.items()]
    return "\n".join(["| fault or probe | rights |", "|---|---|", *rows])


def _get(*resources: str, group: str = "") -> tuple[Right, ...]:
    return tuple(Right(group=group, resource=resource, verb="get") for resource in resources)


def _list(*resources: str, group: str = "") -> tuple[Right, ...]:
    return tuple(Right(group=group, resource=resource, verb="list") for resource in resources)


_NAMESPACE = (Right(resource="namespaces", verb="get"),)
_OWNERS = _get("replicasets", "deployments", "statefulsets", "daemonsets", group="apps") + _get(
    "replicationcontrollers"
)
_CHOOSE = (*_NAMESPACE, *_list("pods"), *_get("pods"), *_OWNERS)

RIGHTS: dict[str, tuple[Right, ...]] = {
    "pods.kill": (*_CHOOSE, Right(resource="pods", subresource="eviction", verb="create")),
    "pods.kill by: delete": (*_CHOOSE, Right(resource="pods", verb="delete")),
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
