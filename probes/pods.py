"""Pods of a Kubernetes namespace, read from the API server now; the list is filtered there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.clients.pods import ALIVE, pods
from agent.model import NoEvidence, UsageError
from probes.cluster import asking, check_selector

if TYPE_CHECKING:
    from agent.clients.pods import Pod

PHASES = ("Pending", "Running", "Succeeded", "Failed", "Unknown")


def are_ready(*, namespace: str, selector: str, count_min: int = 1) -> bool:
    """Return whether at least *count_min* pods are ready and nobody has asked them to end."""
    found = _matching(namespace, selector, ALIVE)
    return sum(pod.ready and not pod.terminating for pod in found) >= count_min


def count(*, namespace: str, selector: str, ready: bool = False) -> int:
    """Return how many pods match that have not ended and are not ending; only the *ready* ones if asked."""
    found = _matching(namespace, selector, ALIVE)
    return sum((pod.ready or not ready) and not pod.terminating for pod in found)


def restarts(*, namespace: str, selector: str) -> int:
    """Return how often the containers of the matching pods were restarted, all summed up.

    Raises:
        NoEvidence: No pod matches.
    """
    found = _matching(namespace, selector, ALIVE)
    if not found:
        raise NoEvidence(f"no pod matches {selector} in namespace {namespace}")
    return sum(pod.restarts for pod in found)


def phase(*, namespace: str, selector: str, phase: str = "Running") -> bool:
    """Return whether every matching pod is in *phase*, ended ones too.

    Raises:
        UsageError: There is no such phase.
        NoEvidence: No pod matches.
    """
    if phase not in PHASES:
        raise UsageError(f"phase: {phase!r} is none of {', '.join(PHASES)}")
    found = _matching(namespace, selector, "")
    if not found:
        raise NoEvidence(f"no pod matches {selector} in namespace {namespace}")
    return all(pod.phase == phase for pod in found)


def _matching(namespace: str, selector: str, fields: str) -> list[Pod]:
    """Return the pods that match.

    Raises:
        UsageError: The selector is empty.
        NoEvidence: The API server did not tell.
    """
    check_selector(selector)
    with asking() as api:
        return list(pods(api, namespace, selector=selector, fields=fields))
