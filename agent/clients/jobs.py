"""A Job that runs the agent's own image: one pod, never a second one, with as little as it needs."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agent.clients.kubernetes import Object

USER = 10001
"""The image's own user (Dockerfile)."""
HOME = "/var/lib/gameday"
"""The image's state folder: the only one that can be written, besides /tmp; gone with the pod."""
MOUNTED = "/etc/gameday"
"""Where the Secret of a Job stands, one file for each of its keys."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a Job is to do; ``command`` are words for the image's Python, such as ``-m agent.jobs``.

    ``deadline_s`` ends it whatever happens, ``grace_s`` is what its pod has between SIGTERM and SIGKILL,
    and ``keep_s`` after its end the Job is deleted with its logs.  ``account`` is None for the
    namespace's default one, and ``cpu`` and ``memory`` are quantities of Kubernetes: the first is
    asked for, the second asked for and a limit.
    """

    name: str
    namespace: str
    image: str
    command: Sequence[str]
    deadline_s: float
    grace_s: float
    keep_s: float
    account: str | None = None
    cpu: str = "100m"
    memory: str = "384Mi"
    secret: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)
    suspended: bool = False


def path_of(namespace: str, name: str = "") -> str:
    """Return the path of the Jobs in *namespace*, or of the one called *name*."""
    jobs = f"/apis/batch/v1/namespaces/{namespace}/jobs"
    return f"{jobs}/{name}" if name else jobs


def job(work: Work) -> Object:
    """Return the Job that does *work*; a *suspended* one makes no pod before it is resumed."""
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": work.name,
            "namespace": work.namespace,
            "labels": dict(work.labels),
            "annotations": dict(work.annotations),
        },
        "spec": {
            "suspend": work.suspended,
            "backoffLimit": 0,
            "completions": 1,
            "parallelism": 1,
            "podReplacementPolicy": "Failed",
            "activeDeadlineSeconds": math.ceil(work.deadline_s),
            "ttlSecondsAfterFinished": math.ceil(work.keep_s),
            "template": {
                "metadata": {
                    "labels": dict(work.labels),
                    # An autoscaler that empties a node would end the run with it.
                    "annotations": {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"},
                },
                "spec": _pod(work),
            },
        },
    }


def is_over(found: Object) -> bool:
    """Whether a Job as the API server tells it has ended, well or not."""
    conditions = found.get("status", {}).get("conditions") or ()
    return any(c["type"] in ("Complete", "Failed") and c["status"] == "True" for c in conditions)


def _pod(work: Work) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": math.ceil(work.grace_s),
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(work)],
        "volumes": [{"name": "state", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}],
    }
    if work.account is not None:
        spec["serviceAccountName"] = work.account
    if work.secret is not None:
        spec["volumes"].append(
            {"name": "secret", "secret": {"secretName": work.secret, "defaultMode": 0o440}}
        )
    return spec


def _container(work: Work) -> dict[str, Any]:
    mounts: list[dict[str, Any]] = [
        {"name": "state", "mountPath": HOME},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108  # in the pod, and its own
    ]
    if work.secret is not None:
        mounts.append({"name": "secret", "mountPath": MOUNTED, "readOnly": True})
    return {
        "name": "gameday",
        "image": work.image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", *work.command],
        "env": [{"name": name, "value": value} for name, value in work.environ.items()],
        "resources": {
            "requests": {"cpu": work.cpu, "memory": work.memory},
            "limits": {"memory": work.memory},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": mounts,
    }
