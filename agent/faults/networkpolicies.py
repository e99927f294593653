"""Isolates pods by a NetworkPolicy, for clusters that forbid more; only where their network enforces one."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING

from agent.clients import kubernetes
from agent.faults.cluster import isolation, rights
from agent.faults.cluster.pod_choice import candidates
from agent.faults.durations import check_duration
from agent.model import Call, UsageError
from agent.safety.context import current_run
from agent.safety.door import inject
from agent.safety.targets import Choice

if TYPE_CHECKING:
    from agent.model import Json

IN_A_JOB = True
"""The Job that owns the policy ends it."""
LEASE_S = 10.0
"""The Job controller counts whole seconds, and garbage collection takes a few more."""


def isolate(
    *,
    namespace: str,
    selector: str,
    port: int,
    quantity: int | None = None,
    fraction: float | None = None,
    seed: int | None = None,
    max_duration_s: float = 60.0,
) -> dict[str, Json]:
    """Cut pods off from everybody, both ways, by a NetworkPolicy that lets nothing in and nothing out.

    Not every network plugin enforces policies, so whether it landed is measured: every victim has to
    answer HTTP on *port* to the API server's proxy before, and none of them afterwards.  Connections
    that are open are cut or kept as the plugin likes.

    Args:
        namespace: Where; it has to be in ``GAMEDAY_NAMESPACES``.
        selector: Label selector, such as ``app=shard``; never empty.
        port: Where each pod answers HTTP (any status will do), 1 <= port <= 65535.
        quantity: How many pods; give this or *fraction*, or neither for one.
        fraction: Which share of the matching pods, rounded down.
        seed: Repeats the choice.
        max_duration_s: The fault ends after this, whatever happens; 0 < max_duration_s <= 86400.

    Returns:
        ``{"victims": ["shop/shard-1"], "landed": true, "dose": {"measured": {"pods": 1}}}``

    Raises:
        UsageError: An argument makes no sense.  Nothing was isolated.
        NoTargets: Too few pods match, or what matches may not be hit.  Nothing was isolated.
        Refused: The namespace, a right or the radius says no, or a victim does not answer on *port*, so that
            nobody could tell whether it is cut off.  Nothing was isolated.
        DidNotLand: The victims still answered: the network enforces no policies.  Taken out again.

    Undo:
        Deletes the injection's own policy and Job, and takes its label off the pods; harmless if they
        are not there.

    Dead man:
        The reaper; and a Job without pods that owns the policy.  Its deadline is the lease: when nobody
        moves it on, the cluster itself ends the Job, and its garbage collector deletes the policy.
    """
    if not 1 <= port <= 65535:
        raise UsageError(f"port: {port} is not between 1 and 65535")
    check_duration(max_duration_s)
    with kubernetes.connect() as api:
        rights.check(api, "networkpolicies.isolate", namespace)
        found = candidates(api, namespace, selector, allow_bare=True)
        names = Choice(quantity=quantity, fraction=fraction, seed=seed).of(list(found.targets))
        pods = {each.pod.name: each.pod.uid for each in (found.targets[name] for name in names)}
        isolation.check_answers(api, namespace, list(pods), port)
        mark, began = f"gameday-{uuid.uuid4().hex[:12]}", time.time()
        held: dict[str, Json] = {"place": api.place.to_json(), "namespace": namespace, "mark": mark}
        run = current_run().id
        calls = isolation.__name__
        return inject(
            fault="networkpolicies.isolate",
            victims=names,
            population=found.population,
            apply=lambda: isolation.put(api, namespace, mark, pods, run=run, lease_s=LEASE_S),
            undo=Call(func=f"{calls}:remove", arguments={**held, "pods": dict(pods)}),
            landed_check=Call(func=f"{calls}:landed", arguments={**held, "pods": list(pods), "port": port}),
            gone_check=Call(func=f"{calls}:gone", arguments=held),
            renew=Call(
                func=f"{calls}:renew",
                arguments={**held, "began": began, "lease_s": LEASE_S, "max_duration_s": max_duration_s},
            ),
            lease_s=LEASE_S,
            max_duration_s=max_duration_s,
            asked={"pods": len(pods), "port": port},
        )
