"""What a right in a cluster is, whether this account has it, and what is needed beside faults and probes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.model import Refused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.clients.kubernetes import Api

REVIEW = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
NOTHING = "nothing was touched"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Right:
    """One verb on one resource; ``group`` is empty for the core group."""

    group: str = ""
    resource: str
    subresource: str = ""
    verb: str
    everywhere: bool = False
    """Whether it is asked for the whole cluster and not in one namespace."""

    @property
    def rule(self) -> str:
        """The right as it stands in a role: ``apps/deployments get``."""
        group = f"{self.group}/" if self.group else ""
        part = f"/{self.subresource}" if self.subresource else ""
        return f"{group}{self.resource}{part} {self.verb}"


def rights(resource: str, *verbs: str, group: str = "", everywhere: bool = False) -> tuple[Right, ...]:
    """Return one right for each of *verbs*; *resource* may be a part of one, such as ``pods/log``."""
    name, _, part = resource.partition("/")
    return tuple(
        Right(group=group, resource=name, subresource=part, verb=verb, everywhere=everywhere)
        for verb in verbs
    )


OF_JOBS = (
    *rights("jobs", "create", "get", "patch", "delete", group="batch"),
    *rights("secrets", "create", "delete"),
    *rights("configmaps", "get"),
    *rights("pods", "list"),
    *rights("pods/log", "get"),
)
"""To have a run in a Job, to follow it, and to take its report in."""
IN_A_JOB = (*rights("jobs", "get", "patch", group="batch"), *rights("configmaps", "create"))
"""To be a run in a Job: to be reached there, and to send the report."""
OF_RESTORERS = (
    *rights("leases", "get", "patch", group="coordination.k8s.io"),
    *rights("jobs", "get", group="batch"),
)
"""To see whether a fault is renewed, to say that one is there, and to know that one's Job was ended."""
OF_MEMORIES = rights("leases", "get", "create", "update", group="coordination.k8s.io")
"""To remember which rollouts were seen."""


def of_rollouts(plural: str) -> tuple[Right, ...]:
    """Return what is needed to follow the rollouts of *plural* (``deployments``)."""
    return rights(plural, "list", "watch", group="apps")


def require(
    api: Api, what: str, needed: Sequence[Right], namespace: str | None, *, so: str = NOTHING
) -> None:
    """Refuse *what* unless all of *needed* is allowed in *namespace*, or everywhere; *so* ends the sentence.

    Raises:
        Refused: Something is not; says what.
    """
    if lacking := missing(api, needed, namespace):
        where = f"in {namespace}" if namespace else "in this cluster"
        raise Refused(f"{what} is not allowed {where}: {', '.join(lacking)} (403); {so}")


def missing(api: Api, needed: Sequence[Right], namespace: str | None) -> list[str]:
    """Return which of *needed* the API server would not grant, in *namespace* or everywhere."""
    return [right.rule for right in needed if not _may(api, right, namespace)]


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
