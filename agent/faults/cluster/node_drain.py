"""Which pods a node loses when it is emptied, whether each may be hit, and how they are evicted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from agent import settings as settings_of
from agent.clients import workloads
from agent.clients.kubernetes import own_namespace
from agent.clients.pods import ALIVE, pod_of
from agent.faults.cluster import pod_kills
from agent.faults.cluster.pod_choice import Target, never, why_not
from agent.model import Refused
from agent.safety.door import go_on
from agent.safety.kubernetes_guard import forbidden

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from agent.clients.kubernetes import Api, Object
    from agent.clients.workloads import Workload
    from agent.faults.cluster.pod_choice import Floor

log = structlog.get_logger()

MIRROR = "kubernetes.io/config.mirror"
"""Annotation of a pod that its node runs by itself; the API server cannot end it."""


def pods_to_evict(
    api: Api, nodes: Sequence[str], *, floor: Floor, allow_bare: bool, leave: bool
) -> list[Target]:
    """Return the pods of *nodes* that a drain evicts.

    Raises:
        Refused: One of them may not be hit and *leave* is not set, or its owner can never spare one.
    """
    targets, spared = _sorted_out(api, nodes, allow_bare=allow_bare)
    if spared and not leave:
        says = "; ".join(f"{name}: {why}" for name, why in list(spared.items())[:5])
        raise Refused(f"{len(spared)} pods there may not be evicted: {says}; nothing was touched")
    for owner in {each.owner.uid: each.owner for each in targets if each.owner}.values():
        if why := never(owner.full_name, owner.wanted, floor):
            raise Refused(f"{why}; nothing was touched")
    return targets


def check_execution(api: Api, nodes: Sequence[str], *, floor: Floor, allow_bare: bool) -> None:
    """Refuse unless all pods of *nodes* may be deleted at once.

    Raises:
        Refused: One may not be hit, an owner would have too few ready pods, or a budget would be broken.
    """
    targets = pods_to_evict(api, nodes, floor=floor, allow_bare=allow_bare, leave=False)
    there = {each.pod.uid for each in targets}
    for owner in {each.owner.uid: each.owner for each in targets if each.owner}.values():
        left = [pod for pod in workloads.ready_pods(api, owner) if pod.uid not in there]
        if len(left) < floor.of(owner.wanted):
            raise Refused(
                f"{owner.full_name} would have {len(left)} ready pods of {owner.wanted}, and has to keep "
                f"{floor.of(owner.wanted)} (min_ready); nothing was touched"
            )
    for namespace in {each.pod.namespace for each in targets}:
        _check_budgets(api, namespace, there)


def evict_each(
    api: Api, pods: Sequence[Target], how: pod_kills.Order, renew_if_due: Callable[[], None]
) -> None:
    """Evict *pods* in turn; each waits for its turn.  One that is ending by itself is as good.

    Raises:
        Refused: The first one was refused.
        PartlyKilled: A later one was refused, or nobody knows what became of one.
    """
    evicted = 0
    for each in pods:
        go_on()
        told = pod_kills.kill_one(api, each, how, meanwhile=renew_if_due)
        if told.killed or told.lost:
            evicted += told.killed
            log.info("pod_evicted", pod=each.pod.full_name)
            continue
        says = f"{each.pod.full_name}: {told.why}"
        if told.sent or evicted:
            raise pod_kills.PartlyKilled(f"{evicted} of {len(pods)} pods were evicted, then {says}")
        raise Refused(f"{says}; nothing was evicted")


def _sorted_out(api: Api, nodes: Sequence[str], *, allow_bare: bool) -> tuple[list[Target], dict[str, str]]:
    """Return the pods that may be hit, and of the others why not."""
    namespaces: dict[str, tuple[str | None, Mapping[str, str]]] = {}
    owners: dict[str, Workload | None] = {}
    opt_in = settings_of.current().opt_in
    targets: list[Target] = []
    spared: dict[str, str] = {}
    for found in _pods_on(api, nodes):
        pod = pod_of(found)
        if pod.namespace not in namespaces:
            namespaces[pod.namespace] = _namespace(api, pod.namespace)
        why, labels = namespaces[pod.namespace]
        if pod.owner is not None and pod.owner.uid not in owners and why is None:
            owners[pod.owner.uid] = workloads.top(api, pod.namespace, pod.owner)
        target = Target(pod=pod, owner=owners.get(pod.owner.uid) if pod.owner else None)
        why = why or why_not(target, labels, unready=True, allow_bare=allow_bare, opt_in=opt_in)
        if why is None:
            targets.append(target)
        else:
            spared[pod.full_name] = why
    return targets, spared


def _pods_on(api: Api, nodes: Sequence[str]) -> Iterator[Object]:
    """Yield the pods of *nodes* that would have to go: none of a DaemonSet's, none of the node's own."""
    for node in nodes:
        for found in api.items("/api/v1/pods", fields=f"spec.nodeName={node},{ALIVE}"):
            pod = pod_of(found)
            is_mirror = MIRROR in (found["metadata"].get("annotations") or {})
            is_daemon = pod.owner is not None and pod.owner.kind == "DaemonSet"
            if not (is_mirror or is_daemon or pod.terminating):
                yield found


def _namespace(api: Api, name: str) -> tuple[str | None, Mapping[str, str]]:
    """Return why no pod of a namespace may be hit, None when they may, and the namespace's labels."""
    if why := forbidden(name, settings_of.current().namespaces, own_namespace()):
        return why, {}
    return None, api.get(f"/api/v1/namespaces/{name}")["metadata"].get("labels") or {}


def _check_budgets(api: Api, namespace: str, there: set[str]) -> None:
    """Count what every budget of *namespace* would lose, since nobody asks it before a taint's deletions.

    Raises:
        Refused: More than it allows.
    """
    for budget in api.items(f"/apis/policy/v1/namespaces/{namespace}/poddisruptionbudgets"):
        selector = workloads.selector_text(budget["spec"].get("selector") or {})
        found = api.items(f"/api/v1/namespaces/{namespace}/pods", selector=selector)
        lost = sum(each["metadata"]["uid"] in there for each in found)
        allowed = budget.get("status", {}).get("disruptionsAllowed", 0)
        if lost > allowed:
            raise Refused(
                f"PodDisruptionBudget {namespace}/{budget['metadata']['name']} allows {allowed} pods to be "
                f"away, and {lost} would be deleted at once; nothing was touched"
            )
