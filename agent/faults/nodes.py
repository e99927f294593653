"""Cordons, drains and taints nodes; a node is under one fault at a time."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Literal

from agent.clients import kubernetes
from agent.faults.cluster import node_checks, node_drain, rights, standby
from agent.faults.cluster.node_choice import choose_nodes
from agent.faults.cluster.pod_choice import check_minimum
from agent.faults.cluster.pod_kills import Order as KillOrder
from agent.faults.durations import check_duration, check_grace_period, check_wait
from agent.model import Call, UsageError
from agent.restorer.node_changes import Cordoned, Tainted
from agent.restorer.orders import Order
from agent.safety.context import current_run
from agent.safety.door import inject
from agent.safety.targets import Choice

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agent.clients.kubernetes import Api
    from agent.faults.cluster.node_choice import Chosen, Node
    from agent.model import Json
    from agent.restorer.orders import Known

IN_A_JOB = True
"""Restorers in the cluster free the nodes, whoever died."""


def cordon(
    *,
    selector: str,
    quantity: int | None = None,
    fraction: float | None = None,
    seed: int | None = None,
    nodes_left_min: int = 1,
    max_duration_s: float = 60.0,
) -> dict[str, Json]:
    """Let nodes take no new pods; those that run there go on.

    Args:
        selector: Label selector of nodes, such as ``pool=web``; never empty.
        quantity: How many nodes; give this or *fraction*, or neither for one.
        fraction: Which share of the matching nodes, rounded down.
        seed: Repeats the choice.
        nodes_left_min: So many nodes of the cluster stay ready and take pods, >= 0.
        max_duration_s: The fault ends after this, whatever happens; 0 < max_duration_s <= 86400.

    Returns:
        ``{"victims": ["Node worker-3"], "landed": true, "dose": {"measured": {"nodes": 1}}}``

    Raises:
        UsageError: An argument makes no sense.  Nothing was cordoned.
        NoTargets: Too few nodes match, or what matches may not be hit.  Nothing was cordoned.
        Refused: A right, the radius or *nodes_left_min* says no, no restorer is ready, or a node is not
            as it was.  Nothing was cordoned.

    Undo:
        Uncordons, unless somebody else has uncordoned or cordoned anew since: that stays, and is told.

    Dead man:
        The reaper; and restorers on other nodes, which uncordon within 30 s of the last renewal, or
        when ``max_duration_s`` is over, with nobody of the agent alive.
    """
    check_duration(max_duration_s)
    with kubernetes.connect() as api:
        rights.check(api, "nodes.cordon, nodes.taint", None)
        standby.check(api)
        choice = Choice(quantity=quantity, fraction=fraction, seed=seed)
        chosen = choose_nodes(api, selector, choice, nodes_left_min=nodes_left_min)
        return _change(api, "nodes.cordon", chosen, _cordoned, max_duration_s=max_duration_s)


def taint(
    *,
    selector: str,
    effect: Literal["NoSchedule", "NoExecute"] = "NoSchedule",
    quantity: int | None = None,
    fraction: float | None = None,
    seed: int | None = None,
    nodes_left_min: int = 1,
    min_ready: int = 1,
    min_ready_fraction: float | None = None,
    allow_bare: bool = False,
    max_duration_s: float = 60.0,
) -> dict[str, Json]:
    """Put the taint ``gameday/tainted`` on nodes, which no pod tolerates unless it tolerates everything.

    With ``NoExecute`` every pod that does not tolerate it is deleted at once; no budget is asked by the
    cluster then, so budgets and minima are counted before, by us.  What is deleted does not come back to
    the node by itself afterwards.

    Args:
        selector: Label selector of nodes, such as ``pool=web``; never empty.
        effect: ``NoSchedule`` (no new pods), or ``NoExecute`` (those that run there go, too).
        quantity: How many nodes; give this or *fraction*, or neither for one.
        fraction: Which share of the matching nodes, rounded down.
        seed: Repeats the choice.
        nodes_left_min: So many nodes of the cluster stay ready and take pods, >= 0.
        min_ready: ``NoExecute``: so many ready pods of each owner are on other nodes, >= 0.
        min_ready_fraction: The same as a share of the replicas that the owner wants, rounded up.
        allow_bare: ``NoExecute``: also where there are pods that nothing replaces; they stay away.
        max_duration_s: The fault ends after this, whatever happens; 0 < max_duration_s <= 86400.

    Returns:
        As :func:`cordon`.

    Raises:
        UsageError: An argument makes no sense.  Nothing was tainted.
        NoTargets: As for :func:`cordon`.
        Refused: As for :func:`cordon`; with ``NoExecute`` also because of a pod on a node: its namespace,
            its label, the minimum of its owner or a PodDisruptionBudget.  Nothing was tainted.

    Undo:
        Takes the taint off.  If somebody else did so before, that is told.

    Dead man:
        As for :func:`cordon`.
    """
    check_duration(max_duration_s)
    if effect not in ("NoSchedule", "NoExecute"):
        raise UsageError(f"effect: {effect!r} is neither NoSchedule nor NoExecute")
    floor = check_minimum(min_ready, min_ready_fraction)
    with kubernetes.connect() as api:
        row = "nodes.taint effect: NoExecute" if effect == "NoExecute" else "nodes.cordon, nodes.taint"
        rights.check(api, row, None)
        standby.check(api)
        choice = Choice(quantity=quantity, fraction=fraction, seed=seed)
        chosen = choose_nodes(api, selector, choice, nodes_left_min=nodes_left_min)
        if effect == "NoExecute":
            nodes = [each.name for each in chosen.victims]
            node_drain.check_execution(api, nodes, floor=floor, allow_bare=allow_bare)
        return _change(
            api,
            "nodes.taint",
            chosen,
            lambda node, mark, run: Tainted(node=node.name, uid=node.uid, mark=mark, run=run, effect=effect),
            max_duration_s=max_duration_s,
        )


def drain(
    *,
    selector: str,
    quantity: int | None = None,
    fraction: float | None = None,
    seed: int | None = None,
    nodes_left_min: int = 1,
    min_ready: int = 1,
    min_ready_fraction: float | None = None,
    grace_period_s: int | None = None,
    wait_s: float = 60.0,
    allow_bare: bool = False,
    others: Literal["refuse", "leave"] = "refuse",
    max_duration_s: float = 300.0,
) -> dict[str, Json]:
    """Cordon nodes and evict their pods one after the other, so that PodDisruptionBudgets hold.

    Pods of DaemonSets and of the node itself (mirror pods) stay.  Before each eviction the ready pods of
    its owner are counted again.  Afterwards the pods do not move back by themselves.

    Args:
        selector: Label selector of nodes, such as ``pool=web``; never empty.
        quantity: How many nodes; give this or *fraction*, or neither for one.
        fraction: Which share of the matching nodes, rounded down.
        seed: Repeats the choice.
        nodes_left_min: So many nodes of the cluster stay ready and take pods, >= 0.
        min_ready: So many pods of an owner are ready after each eviction, >= 0.
        min_ready_fraction: The same as a share of the replicas that the owner wants, rounded up.
        grace_period_s: Seconds between SIGTERM and SIGKILL, >= 0; None leaves it to the pod.
        wait_s: How long one eviction may wait for a budget or for the minimum, 0 <= wait_s <= 600.
        allow_bare: Also where there are pods that nothing replaces; they stay away.
        others: What to do about pods that may not be hit (their namespace is not in
            ``GAMEDAY_NAMESPACES``, or they are exempt): ``refuse`` the node, or ``leave`` them there.
        max_duration_s: The nodes are uncordoned after this, whatever happens; 0 < max_duration_s <= 86400.

    Returns:
        As :func:`cordon`, with ``{"nodes": 1, "pods": 7}`` measured.

    Raises:
        UsageError: An argument makes no sense.  Nothing was touched.
        NoTargets: As for :func:`cordon`.
        Refused: As for :func:`cordon`; also because of a pod on a node.  If an eviction is refused, the
            nodes are uncordoned.
        PartlyKilled: Some pods were evicted and then one was refused; the nodes are uncordoned.

    Undo:
        Uncordons, as for :func:`cordon`.  Nothing can bring the very pods back: their owners have
        replaced them elsewhere.

    Dead man:
        As for :func:`cordon`.
    """
    check_duration(max_duration_s)
    check_wait(wait_s)
    check_grace_period(grace_period_s)
    if others not in ("refuse", "leave"):
        raise UsageError(f"others: {others!r} is neither refuse nor leave")
    floor = check_minimum(min_ready, min_ready_fraction)
    how = KillOrder(by="eviction", grace_period_s=grace_period_s, floor=floor, unready=True, wait_s=wait_s)
    with kubernetes.connect() as api:
        rights.check(api, "nodes.drain", None)
        standby.check(api)
        choice = Choice(quantity=quantity, fraction=fraction, seed=seed)
        chosen = choose_nodes(api, selector, choice, nodes_left_min=nodes_left_min)
        nodes = [each.name for each in chosen.victims]
        pods = node_drain.pods_to_evict(
            api, nodes, floor=floor, allow_bare=allow_bare, leave=others == "leave"
        )
        return _change(
            api,
            "nodes.drain",
            chosen,
            _cordoned,
            max_duration_s=max_duration_s,
            then=lambda order: node_drain.evict_each(api, pods, how, standby.renewing(api, order)),
            pods={each.pod.full_name: each.pod.uid for each in pods},
            applying_s=wait_s * len(pods),
        )


def _cordoned(node: Node, mark: str, run: str) -> Cordoned:
    return Cordoned(node=node.name, uid=node.uid, mark=mark, run=run)


def _change(
    api: Api,
    fault: str,
    chosen: Chosen,
    change: Callable[[Node, str, str], Known],
    *,
    max_duration_s: float,
    then: Callable[[Order], None] = lambda _: None,
    pods: dict[str, str] | None = None,
    applying_s: float = 0.0,
) -> dict[str, Json]:
    """Inject a change of nodes; *then* is done after it, and may take *applying_s*."""
    mark, run = f"gameday-{uuid.uuid4().hex[:12]}", current_run().id
    order = Order(
        namespace=standby.home(),
        mark=mark,
        lease_s=standby.LEASE_S,
        hard_end_s=max_duration_s + standby.READY_WITHIN_S + applying_s,
        changes=tuple(change(each, mark, run) for each in chosen.victims),
    )
    held, calls = standby.held(api, order), standby.__name__
    nodes: Sequence[str] = [each.name for each in chosen.victims]

    def apply() -> None:
        standby.change(api, order, run=run, avoid=nodes)
        then(order)

    return inject(
        fault=fault,
        victims=chosen.names,
        population=chosen.population,
        apply=apply,
        undo=Call(func=f"{calls}:remove", arguments=held),
        landed_check=Call(
            func=f"{node_checks.__name__}:landed", arguments={**held, "pods": dict(pods or {})}
        ),
        gone_check=Call(func=f"{calls}:gone", arguments=held),
        renew=Call(func=f"{calls}:renew", arguments=held),
        lease_s=standby.LEASE_S,
        max_duration_s=max_duration_s,
        asked={"nodes": len(chosen.victims), **({"pods": len(pods)} if pods is not None else {})},
    )
