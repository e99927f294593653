"""The Job of the restorers: the agent's own image, an account of its own, and nothing it does not need."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

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
KEPT_S = 3600
"""So long after it has put everything back, the Job is kept with its logs."""
LEAVES_AFTER_S = 10
"""A node that is not heard of loses its restorer after that, and another one is started elsewhere."""
USER = 10001
"""The image's own user (Dockerfile)."""


def job_of(order: Order, *, run: str, image: str, avoid: Sequence[str]) -> Object:
    """Return the Job that carries *order* out; it never runs on the nodes to *avoid*."""
    written = json.dumps(order.to_json())
    labels = {RUN: run, "app.kubernetes.io/name": "gameday-restorer"}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": order.mark,
            "namespace": order.namespace,
            "labels": labels,
            "annotations": {RESTORE: written},
        },
        "spec": {
            "parallelism": STANDBYS,
            "backoffLimit": 1000,
            "activeDeadlineSeconds": math.ceil(order.hard_end_s + OUTLIVES_S),
            "ttlSecondsAfterFinished": KEPT_S,
            "template": {
                "metadata": {
                    "labels": labels,
                    "annotations": {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"},
                },
                "spec": {**_place(order, avoid), **_pod(written, image)},
            },
        },
    }


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


def _pod(written: str, image: str) -> dict[str, Any]:
    return {
        "serviceAccountName": ACCOUNT,
        "automountServiceAccountToken": True,
        "restartPolicy": "OnFailure",
        "terminationGracePeriodSeconds": 30,
        "enableServiceLinks": False,  # their variables would begin with GAMEDAY_, as settings do
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                "name": "restorer",
                "image": image,
                "imagePullPolicy": "IfNotPresent",
                "command": ["python", "-m", "agent.restorer"],
                "env": [{"name": ORDER, "value": written}],
                "terminationMessagePolicy": "FallbackToLogsOnError",
                "resources": {
                    "requests": {"cpu": "20m", "memory": "96Mi"},
                    "limits": {"memory": "192Mi"},
                },
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
            }
        ],
    }
