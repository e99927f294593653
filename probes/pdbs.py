"""PodDisruptionBudgets of a Kubernetes namespace."""

from __future__ import annotations

from agent.model import NoEvidence
from probes.cluster import POLICY, read


def allow(*, namespace: str, name: str, count_min: int = 1) -> bool:
    """Return whether the budget *name* allows at least *count_min* pods to be evicted now.

    Raises:
        NoEvidence: There is no such budget, or its controller has not seen its last change yet.
    """
    found = read(POLICY, "poddisruptionbudgets", namespace, name)
    status = found.get("status", {})
    if status.get("observedGeneration", 0) < found["metadata"].get("generation", 0):
        raise NoEvidence(f"budget {namespace}/{name}: its controller has not seen the last change yet")
    return int(status["disruptionsAllowed"]) >= count_min
