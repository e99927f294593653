"""What replaces a pod: the controllers whose replicas can be counted, and how many they want."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agent.clients.kubernetes import NotThere
from agent.clients.pods import ALIVE, controller_of, pods

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.clients.kubernetes import Api, Object
    from agent.clients.pods import Owned, Pod

PLURALS = {
    "Deployment": "apps/v1/deployments",
    "ReplicaSet": "apps/v1/replicasets",
    "StatefulSet": "apps/v1/statefulsets",
    "DaemonSet": "apps/v1/daemonsets",
    "ReplicationController": "v1/replicationcontrollers",
}
"""Kind -> version and plural of what keeps a number of pods alive."""
RESTARTED_TO = "gameday/restarted-to"
"""Annotation of a Deployment: the revision that a restart of ours brought about; it is no deploy."""
OPERATORS = {"In": "in", "NotIn": "notin"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """A controller that keeps *wanted* pods alive, all found by *selector*.

    ``chain`` holds the labels of it and of the controllers between it and its pods, for guard rails.
    """

    kind: str
    namespace: str
    name: str
    uid: str
    selector: str
    wanted: int
    chain: tuple[Mapping[str, str], ...] = field(default=())

    @property
    def full_name(self) -> str:
        """The name an operator knows it by, such as ``Deployment shop/gateway``."""
        return f"{self.kind} {self.namespace}/{self.name}"


def path(kind: str, namespace: str, name: str) -> str:
    """Return the path of a workload of a *kind* in :data:`PLURALS`."""
    version, plural = PLURALS[kind].rsplit("/", 1)
    group = "/apis/" if "/" in version else "/api/"
    return f"{group}{version}/namespaces/{namespace}/{plural}/{name}"


def read(api: Api, kind: str, namespace: str, name: str, *, uid: str | None = None) -> Workload | None:
    """Return the workload as it is now; None when it is gone, or has another *uid* (it was made anew)."""
    try:
        found = api.get(path(kind, namespace, name))
    except NotThere:
        return None
    if uid is not None and found["metadata"]["uid"] != uid:
        return None
    return _workload(kind, found, ())


def top(api: Api, namespace: str, owner: Owned) -> Workload | None:
    """Return the topmost controller above *owner* whose replicas can be counted; None when there is none."""
    best: Workload | None = None
    chain: tuple[Mapping[str, str], ...] = ()
    while owner.kind in PLURALS:
        try:
            found = api.get(path(owner.kind, namespace, owner.name))
        except NotThere:
            break
        chain = (*chain, found["metadata"].get("labels") or {})
        best = _workload(owner.kind, found, chain)
        above = controller_of(found["metadata"])
        if above is None:
            break
        owner = above
    return best


def ready_pods(api: Api, workload: Workload) -> tuple[Pod, ...]:
    """Return the ready pods of *workload* that nobody has asked to end, read now."""
    found = pods(api, workload.namespace, selector=workload.selector, fields=ALIVE)
    return tuple(pod for pod in found if pod.ready and not pod.terminating)


def selector_text(selector: Mapping[str, Any]) -> str:
    """Return a LabelSelector object (or a plain map) in the API's query form."""
    if "matchLabels" not in selector and "matchExpressions" not in selector:
        selector = {"matchLabels": selector}
    parts = [f"{key}={value}" for key, value in (selector.get("matchLabels") or {}).items()]
    for each in selector.get("matchExpressions") or ():
        key, operator = each["key"], each["operator"]
        if operator in OPERATORS:
            parts.append(f"{key} {OPERATORS[operator]} ({','.join(each['values'])})")
        else:
            parts.append(key if operator == "Exists" else f"!{key}")
    return ",".join(parts)


def _workload(kind: str, found: Object, chain: tuple[Mapping[str, str], ...]) -> Workload:
    spec, meta = found["spec"], found["metadata"]
    if kind == "DaemonSet":
        wanted = found.get("status", {}).get("desiredNumberScheduled", 0)
    else:
        wanted = spec.get("replicas", 1)
    return Workload(
        kind=kind,
        namespace=meta["namespace"],
        name=meta["name"],
        uid=meta["uid"],
        selector=selector_text(spec["selector"]),
        wanted=wanted,
        chain=chain,
    )
