"""Pods as we need them: a few fields of each, and nothing else of their JSON is ever built.

A page of pods is mostly ``managedFields`` and specs; reading it whole takes eight times as long.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

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


class _Owner(msgspec.Struct, rename="camel"):
    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool = False


class _Metadata(msgspec.Struct, rename="camel"):
    name: str
    namespace: str
    uid: str
    resource_version: str
    labels: dict[str, str] = {}
    owner_references: list[_Owner] = []
    deletion_timestamp: str | None = None


class _Condition(msgspec.Struct):
    type: str
    status: str


class _Container(msgspec.Struct, rename="camel"):
    restart_count: int = 0


class _Status(msgspec.Struct, rename="camel"):
    phase: str = "Unknown"
    conditions: list[_Condition] = []
    container_statuses: list[_Container] = []


class _Pod(msgspec.Struct):
    """What is read of a pod's JSON."""

    metadata: _Metadata
    status: _Status


class _Rest(msgspec.Struct):
    token: str = msgspec.field(default="", name="continue")


class _Page(msgspec.Struct):
    items: list[_Pod]
    metadata: _Rest


_pages = msgspec.json.Decoder(_Page)


def pods(api: Api, namespace: str, *, selector: str, fields: str = "") -> Iterator[Pod]:
    """Yield the pods of *namespace* that the server finds by label *selector* and field selector."""
    path = f"/api/v1/namespaces/{namespace}/pods"
    for each in api.pages(path, _read_page, selector=selector, fields=fields):
        yield _pod(each)


def _read_page(data: bytes) -> tuple[Sequence[_Pod], str]:
    page = _pages.decode(data)
    return page.items, page.metadata.token


def pod_of(found: Mapping[str, Any]) -> Pod:
    """Return the pod that the JSON object *found* describes."""
    return _pod(msgspec.convert(found, _Pod))


def _pod(found: _Pod) -> Pod:
    meta, status = found.metadata, found.status
    return Pod(
        namespace=meta.namespace,
        name=meta.name,
        uid=meta.uid,
        version=meta.resource_version,
        phase=status.phase,
        ready=any(each.type == "Ready" and each.status == "True" for each in status.conditions),
        terminating=meta.deletion_timestamp is not None,
        restarts=sum(each.restart_count for each in status.container_statuses),
        labels=meta.labels,
        owner=_controller(meta.owner_references),
    )


def controller_of(meta: Mapping[str, Any]) -> Owned | None:
    """Return the controller among the owners in an object's *meta*."""
    return _controller(msgspec.convert(meta.get("ownerReferences") or [], list[_Owner]))


def _controller(owners: Sequence[_Owner]) -> Owned | None:
    for each in owners:
        if each.controller:
            return Owned(api=each.api_version, kind=each.kind, name=each.name, uid=each.uid)
    return None
