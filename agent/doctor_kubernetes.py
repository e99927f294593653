"""What the cluster of this environment is, and which faults the rights in it allow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.clients import kubernetes
from agent.doctor import Finding
from agent.faults.kubernetes_guard import forbidden
from agent.faults.kubernetes_rights import RIGHTS
from agent.model import GamedayError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.clients.kubernetes import Api
    from agent.faults.kubernetes_rights import Right
    from agent.settings import Settings

REVIEW = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


def examine(settings: Settings) -> tuple[Finding, ...]:
    """Return every finding; asks the API server, and changes nothing in it."""
    try:
        with kubernetes.connect() as api:
            return tuple(_findings(api, settings))
    except GamedayError as error:
        return (Finding(name="cluster", ok=False, says=str(error)),)


def _findings(api: Api, settings: Settings) -> Iterator[Finding]:
    version = api.get("/version")["gitVersion"]
    yield Finding(name="cluster", ok=True, says=f"{api.place.server}, Kubernetes {version}")
    patterns = settings.namespaces
    named = [each for each in patterns if "*" not in each and "?" not in each and "[" not in each]
    why = forbidden("…", (), None) if not patterns else None
    yield Finding(name="GAMEDAY_NAMESPACES", ok=why is None, says=why or ", ".join(patterns))
    wanted: list[str | None] = [*named] or [None]
    for namespace in wanted:
        yield from _allowed(api, namespace)


def _allowed(api: Api, namespace: str | None) -> Iterator[Finding]:
    """Tell of each fault whether all it needs is allowed in *namespace*, or in all of them."""
    answers: dict[Right, bool] = {}
    for fault, rights in RIGHTS.items():
        for right in rights:
            if right not in answers:
                answers[right] = _may(api, right, namespace)
        missing = [right.rule for right in rights if not answers[right]]
        where = f"in {namespace}" if namespace else "in every namespace"
        says = f"not allowed {where}: {', '.join(missing)}" if missing else f"allowed {where}"
        yield Finding(name=fault, ok=not missing, says=says)


def _may(api: Api, right: Right, namespace: str | None) -> bool:
    """Ask the API server; a review is answered and kept nowhere."""
    asked = {
        "group": right.group,
        "resource": right.resource,
        "subresource": right.subresource,
        "verb": right.verb,
    }
    if right.resource == "namespaces":
        asked["name"] = namespace or ""
    if namespace and not right.everywhere:
        asked["namespace"] = namespace
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": asked},
    }
    return bool(api.post(REVIEW, review)["status"]["allowed"])
