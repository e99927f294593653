"""Pods as we need them: a few fields of each, read from raw JSON, so that ten thousand fit in little."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from agent.clients.kubernetes import Api

ALIVE = "status.phase!=Succeeded,status.phase!=Failed"
"""Field selector: what has finished is nobody's target and nobody's replica."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owned:
    """A reference to the controller of an object."""

    api: str
    kind: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """One pod as one answer of the API server showed it."""

    namespace: str
    name: str
    uid: str
    version: str
    phase: str
    ready: bool
    terminating: bool
    restarts: int
    labels: Mapping[str, str]
    owner: Owned | None

    @property
    def full_name(self) -> str:
        """The name an operator knows it by."""
        return f"{self.namespace}/{self.name}"


def pods(api: Api, namespace: str, *, selector: str, fields: str = "") -> Iterator[Pod]:
    """Yield the pods of *namespace* that the server finds by label *selector* and field selector."""
    for each in api.items(f"/api/v1/namespaces/{namespace}/pods", selector=selector, fields=fields):
        yield pod_of(each)


def pod_of(found: Mapping[str, Any]) -> Pod:
    """Return the pod that the JSON object *found* describes."""
    meta, status = found["metadata"], found.get("status", {})
    return Pod(
        namespace=meta["namespace"],
        name=meta["name"],
        uid=meta["uid"],
        version=meta["resourceVersion"],
        phase=status.get("phase", "Unknown"),
        ready=any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions", ())),
        terminating="deletionTimestamp" in meta,
        restarts=sum(c.get("restartCount", 0) for c in status.get("containerStatuses", ())),
        labels=meta.get("labels") or {},
        owner=controller_of(meta),
    )


def controller_of(meta: Mapping[str, Any]) -> Owned | None:
    """Return the controller among the owners in an object's *meta*."""
    for each in meta.get("ownerReferences") or ():
        if each.get("controller"):
            return Owned(api=each["apiVersion"], kind=each["kind"], name=each["name"], uid=each["uid"])
    return None
