"""HorizontalPodAutoscalers of a Kubernetes namespace."""

from __future__ import annotations

from agent.model import NoEvidence
from probes.cluster import AUTOSCALING, read


def replicas(*, namespace: str, name: str) -> int:
    """Return how many replicas the autoscaler *name* last saw.

    Raises:
        NoEvidence: There is no such autoscaler, or it has not looked yet.
    """
    status = read(AUTOSCALING, "horizontalpodautoscalers", namespace, name).get("status", {})
    if "currentReplicas" not in status:
        raise NoEvidence(f"autoscaler {namespace}/{name} has not looked yet")
    return int(status["currentReplicas"])


def is_at_limit(*, namespace: str, name: str) -> bool:
    """Return whether *name* wants as many replicas as it may at most, so that more load finds no more.

    Raises:
        NoEvidence: There is no such autoscaler, or it could not compute what it wants.
    """
    found = read(AUTOSCALING, "horizontalpodautoscalers", namespace, name)
    status = found.get("status", {})
    active = {each["type"]: each for each in status.get("conditions") or ()}.get("ScalingActive", {})
    if active.get("status") != "True":
        why = active.get("message", "it has not looked yet")
        raise NoEvidence(f"autoscaler {namespace}/{name} does not know what it wants: {why}")
    return int(status.get("desiredReplicas", 0)) >= int(found["spec"]["maxReplicas"])
