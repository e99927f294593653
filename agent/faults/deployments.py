"""Scales and restarts Deployments."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING

from agent.clients import kubernetes
from agent.faults.cluster import deployment_checks, rights, standby
from agent.faults.cluster.deployment_choice import choose_deployments
from agent.faults.cluster.pod_choice import check_minimum
from agent.faults.durations import check_duration
from agent.model import Call, Refused, UsageError
from agent.restorer.changes import Scaled
from agent.restorer.orders import Order
from agent.safety.context import current_run
from agent.safety.door import inject
from agent.safety.targets import Choice

if TYPE_CHECKING:
    from agent.faults.cluster.deployment_choice import Deployment
    from agent.faults.cluster.pod_choice import Floor
    from agent.model import Json

IN_A_JOB = True
"""Restorers in the cluster put numbers back, and controllers finish rollouts, whoever died."""
READY_AGAIN_S = 120.0
"""So long after its longest duration a scaled Deployment may take to have its replicas ready again."""


def scale(
    *,
    namespace: str,
    selector: str,
    replicas: int,
    quantity: int | None = None,
    fraction: float | None = None,
    seed: int | None = None,
    min_ready: int = 1,
    min_ready_fraction: float | None = None,
    max_duration_s: float = 60.0,
) -> dict[str, Json]:
    """Give Deployments another number of replicas, and their own number back afterwards.

    A HorizontalPodAutoscaler that owns the number takes it over within seconds; that ends the fault, and
    is told.

    Args:
        namespace: Where; it has to be in ``GAMEDAY_NAMESPACES``.
        selector: Label selector of the Deployments, such as ``app=gateway``; never empty.
        replicas: How many each is to have, >= 0.
        quantity: How many Deployments; give this or *fraction*, or neither for one.
        fraction: Which share of the matching Deployments, rounded down.
        seed: Repeats the choice.
        min_ready: *replicas* may not be fewer, >= 0.
        min_ready_fraction: The same as a share of the replicas that a Deployment has now, rounded up.
        max_duration_s: The fault ends after this, whatever happens; 0 < max_duration_s <= 86400.

    Returns:
        ``{"victims": ["Deployment shop/gateway"], "landed": true, "dose": {"measured": {"replicas": 1}}}``

    Raises:
        UsageError: An argument makes no sense.  Nothing was scaled.
        NoTargets: Too few Deployments match, or what matches may not be hit.  Nothing was scaled.
        Refused: The namespace, a right, the minimum or the radius says no, no restorer is ready, or a
            Deployment is not as it was.  Nothing was scaled.
        DidNotLand: The controller did not follow, or a later Deployment was not as it was.  Taken back.

    Undo:
        Gives each Deployment its old number, unless somebody else has set one since: that stays, and is
        told.  Healed is when its replicas are ready again; until then it may still take a while.

    Dead man:
        The reaper; and restorers in the cluster, which put the number back within 30 s of the last
        renewal, or when ``max_duration_s`` is over, with nobody of the agent alive.
    """
    check_duration(max_duration_s)
    if replicas < 0:
        raise UsageError(f"replicas: {replicas} is below 0")
    floor = check_minimum(min_ready, min_ready_fraction)
    with kubernetes.connect() as api:
        rights.check(api, "deployments.scale", namespace)
        standby.check(api)
        choice = Choice(quantity=quantity, fraction=fraction, seed=seed)
        chosen = choose_deployments(api, namespace, selector, choice)
        mark = f"gameday-{uuid.uuid4().hex[:12]}"
        changes = tuple(_scaled(each, mark, replicas) for each in chosen.victims)
        for each, change in zip(chosen.victims, changes, strict=True):
            if why := _cannot_scale(each, change, floor):
                raise Refused(f"{why}; nothing was touched")
        order = Order(
            namespace=standby.home(),
            mark=mark,
            lease_s=standby.LEASE_S,
            hard_end_s=max_duration_s + standby.READY_WITHIN_S,
            changes=changes,
        )
        held, calls = standby.held(api, order), standby.__name__
        checks = deployment_checks.__name__
        run = current_run().id
        return inject(
            fault="deployments.scale",
            victims=chosen.names,
            population=chosen.population,
            apply=lambda: standby.change(api, order, run=run),
            undo=Call(func=f"{calls}:remove", arguments=held),
            landed_check=Call(func=f"{checks}:are_scaled", arguments=held),
            gone_check=Call(
                func=f"{checks}:have_replicas_again",
                arguments={**held, "by": time.time() + max_duration_s + READY_AGAIN_S},
            ),
            renew=Call(func=f"{calls}:renew", arguments=held),
            lease_s=standby.LEASE_S,
            max_duration_s=max_duration_s,
            asked={"replicas": replicas},
        )


def _scaled(deployment: Deployment, mark: str, replicas: int) -> Scaled:
    return Scaled(
        namespace=deployment.namespace,
        deployment=deployment.name,
        uid=deployment.uid,
        mark=mark,
        before=deployment.wanted,
        after=replicas,
    )


def _cannot_scale(deployment: Deployment, change: Scaled, floor: Floor) -> str | None:
    """Return why a Deployment may not be scaled so, None when it may."""
    least = floor.of(deployment.wanted)
    if change.after < least:
        return f"{change.name} has to keep {least} ready (min_ready), and {change.after} are fewer"
    if change.after == deployment.wanted:
        return f"{change.name} has {change.after} replicas already"
    return change.unfit(deployment.found)


def restart(
    *,
    namespace: str,
    selector: str,
    quantity: int | None = None,
    fraction: float | None = None,
    seed: int | None = None,
    min_ready: int = 1,
    min_ready_fraction: float | None = None,
    max_duration_s: float = 300.0,
) -> dict[str, Json]:
    """Replace every pod of Deployments by their own rolling update, as ``kubectl rollout restart`` does.

    Experiments that run ``after:`` a rollout do not run after this one.

    Args:
        namespace: Where; it has to be in ``GAMEDAY_NAMESPACES``.
        selector: Label selector of the Deployments, such as ``app=gateway``; never empty.
        quantity: How many Deployments; give this or *fraction*, or neither for one.
        fraction: Which share of the matching Deployments, rounded down.
        seed: Repeats the choice.
        min_ready: So many pods the Deployment's own strategy has to leave available, >= 0.
        min_ready_fraction: The same as a share of its replicas, rounded up.
        max_duration_s: The rollout may take so long; after that the fault counts as not recovered.

    Returns:
        ``{"victims": ["Deployment shop/gateway"], "landed": true, "dose": {"measured": {...}}}``

    Raises:
        UsageError: An argument makes no sense.  Nothing was restarted.
        NoTargets: Too few Deployments match, or what matches may not be hit.  Nothing was restarted.
        Refused: The namespace, a right, the minimum or the radius says no, or a Deployment is paused or
            still being rolled out.  Nothing was restarted.
        DidNotLand: Its controller began no rollout.

    Undo:
        Nothing has to be put back: the new pods are as the old ones were.  Healed is when the rollout is
        complete, or the Deployment is gone.

    Dead man:
        The Deployment's own controller in the cluster, which needs nobody of this agent.
    """
    check_duration(max_duration_s)
    floor = check_minimum(min_ready, min_ready_fraction)
    with kubernetes.connect() as api:
        rights.check(api, "deployments.restart", namespace)
        choice = Choice(quantity=quantity, fraction=fraction, seed=seed)
        chosen = choose_deployments(api, namespace, selector, choice)
        for each in chosen.victims:
            if why := deployment_checks.cannot_restart(each.found, floor):
                raise Refused(f"{each.full_name} {why}; nothing was touched")
        run = current_run().id
        checks = deployment_checks.__name__
        held: dict[str, Json] = {
            "place": api.place.to_json(),
            "namespace": namespace,
            "victims": {each.name: each.uid for each in chosen.victims},
        }
        return inject(
            fault="deployments.restart",
            victims=chosen.names,
            population=chosen.population,
            apply=lambda: deployment_checks.restart_each(api, chosen.victims, run=run),
            undo=Call(func=f"{checks}:nothing_to_undo"),
            landed_check=Call(func=f"{checks}:are_rolling", arguments={**held, "run": run}),
            gone_check=Call(
                func=f"{checks}:are_rolled_out", arguments={**held, "by": time.time() + max_duration_s}
            ),
            max_duration_s=max_duration_s,
            asked={"deployments": len(chosen.victims)},
        )
