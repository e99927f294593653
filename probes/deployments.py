"""Deployments of a Kubernetes namespace, by the status that their controller keeps."""

from __future__ import annotations

from typing import Literal

from agent.model import NoEvidence, UsageError
from probes.cluster import APPS, read

FIELDS = {"ready": "readyReplicas", "available": "availableReplicas", "updated": "updatedReplicas"}


def is_available(*, namespace: str, name: str) -> bool:
    """Return whether all the replicas that *name* wants are up to date, available, and the only ones.

    Raises:
        NoEvidence: There is no such Deployment, or its controller has not seen its last change yet.
    """
    found = read(APPS, "deployments", namespace, name)
    spec, status = found["spec"], found.get("status", {})
    if status.get("observedGeneration", 0) < found["metadata"]["generation"]:
        raise NoEvidence(f"Deployment {namespace}/{name}: its controller has not seen the last change yet")
    counts = {status.get(key, 0) for key in ("replicas", "updatedReplicas", "availableReplicas")}
    return counts == {spec.get("replicas", 1)}


def replicas(
    *, namespace: str, name: str, which: Literal["wanted", "ready", "available", "updated"] = "ready"
) -> int:
    """Return how many replicas are *wanted*, *ready*, *available* or *updated*.

    Raises:
        UsageError: *which* is something else.
        NoEvidence: There is no such Deployment.
    """
    if which not in ("wanted", *FIELDS):
        raise UsageError(f"which: {which!r} is none of wanted, {', '.join(FIELDS)}")
    found = read(APPS, "deployments", namespace, name)
    if which == "wanted":
        return int(found["spec"].get("replicas", 1))
    return int(found.get("status", {}).get(FIELDS[which], 0))
