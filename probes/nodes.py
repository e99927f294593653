"""Nodes of a Kubernetes cluster."""

from __future__ import annotations

from agent.model import NoEvidence
from probes.cluster import CORE, asking


def are_ready(*, selector: str = "", count_min: int | None = None) -> bool:
    """Return whether all nodes are ready, or at least *count_min* of them.

    Args:
        selector: Label selector; all nodes without one.
        count_min: How many have to be ready; None for all that match.

    Raises:
        NoEvidence: No node matches.
    """
    with asking() as api:
        ready = [
            any(c["type"] == "Ready" and c["status"] == "True" for c in each["status"].get("conditions", ()))
            for each in api.items(f"{CORE}/nodes", selector=selector)
        ]
    if not ready:
        raise NoEvidence(f"no node matches {selector!r}")
    return all(ready) if count_min is None else sum(ready) >= count_min
