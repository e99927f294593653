"""The Job of the restorers: the agent's own image, an account of its own, and nothing it does not need."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from agent.clients import jobs
from agent.clients.kubernetes import RUN
from agent.restorer.orders import ORDER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.clients.kubernetes import Object
    from agent.restorer.orders import Order

ACCOUNT = "gameday-restorer"
"""The service account of restorers; it may put values back and little else (docs/kubernetes.md)."""
RESTORE = "gameday/restore"
"""Annotation of the Job: the order, for a sweep that has no ledger."""
STANDBYS = 2
"""Restorers per fault, on different nodes: one may die with its node."""
OUTLIVES_S = 3600.0
"""A restorer that cannot reach the API server goes on trying for so long after the fault's hard end."""
KEPT_S = 3600.0
"""So long after it has put everything back, the Job is kept with its logs."""
LEAVES_AFTER_S = 10
"""A node that is not heard of loses its restorer after that, and another one is started elsewhere."""


def job_of(order: Order, *, run: str, image: str, avoid: Sequence[str]) -> Object:
    """Return the Job that carries *order* out; it never runs on the nodes to *avoid*."""
    written = json.dumps(order.to_json())
    job = jobs.job(
        jobs.Work(
            name=order.mark,
            namespace=order.namespace,
            image=image,
            command=("-m", "agent.restorer"),
            deadline_s=order.hard_end_s + OUTLIVES_S,
            grace_s=30.0,
            keep_s=KEPT_S,
            account=ACCOUNT,
            cpu="20m",
            memory="160Mi",
            labels={RUN: run, "app.kubernetes.io/name": ACCOUNT},
            annotations={RESTORE: written},
            environ={ORDER: written},
        )
    )
    spec = job["spec"]
    del spec["completions"]  # the first that has put everything back is enough
    del spec["podReplacementPolicy"]  # a pod on a dead node never fails, and is to be replaced all the same
    spec |= {"parallelism": STANDBYS, "backoffLimit": 1000}
    pod = spec["template"]["spec"]
    pod |= {**_place(order, avoid), "restartPolicy": "OnFailure", "automountServiceAccountToken": True}
    pod["containers"][0]["terminationMessagePolicy"] = "FallbackToLogsOnError"
    return job


def _place(order: Order, avoid: Sequence[str]) -> dict[str, Any]:
    """Return where a restorer may run: never beside the other one, never on a victim."""
    beside = {
        "labelSelector": {"matchLabels": {"batch.kubernetes.io/job-name": order.mark}},
        "topologyKey": "kubernetes.io/hostname",
    }
    affinity: dict[str, Any] = {
        "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [beside]}
    }
    if avoid:
        fields = [{"key": "metadata.name", "operator": "NotIn", "values": [node]} for node in avoid]
        terms = {"nodeSelectorTerms": [{"matchFields": fields}]}
        affinity["nodeAffinity"] = {"requiredDuringSchedulingIgnoredDuringExecution": terms}
    silent = [
        {
            "key": f"node.kubernetes.io/{state}",
            "operator": "Exists",
            "effect": "NoExecute",
            "tolerationSeconds": LEAVES_AFTER_S,
        }
        for state in ("not-ready", "unreachable")
    ]
    return {"affinity": affinity, "tolerations": silent}
