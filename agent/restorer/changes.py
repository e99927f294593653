"""Values of objects that a fault changes, and what each object has to look like to be put back; pure.

A change is known again by its *mark*, which is the field manager it was written with: whoever else
writes the field afterwards owns it, and then it is left alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

type Object = dict[str, Any]

MARKED = "gameday-"
"""What every mark begins with."""
MARK = "gameday/mark"
"""Annotation on a node that is under a fault: which one's."""
BACK = "-back"
"""A mark with this ending is the field manager of who put the value back."""


class Stands(StrEnum):
    """How an object stands towards a change."""

    IN = "in"
    BACK = "back"
    """One of us has put it back."""
    TAKEN = "taken"
    """The change was never made, or somebody else has set the value since: it is theirs."""


class Change(Protocol):
    """One value of one object."""

    @property
    def uid(self) -> str:
        """The object's: one that was made anew under its name is another one."""

    @property
    def mark(self) -> str:
        """The change's own, also the name of its Job and Lease."""

    @property
    def name(self) -> str:
        """What an operator calls the object."""

    @property
    def path(self) -> str:
        """Where it is read."""

    @property
    def written_at(self) -> str:
        """Where it is changed: the object itself, or a part of it that needs fewer rights."""

    def stands(self, found: Object) -> Stands:
        """Tell how the object *found* stands towards this change."""

    def unfit(self, found: Object) -> str | None:
        """Return why the change may not be made to the object as it is now, None when it may."""

    def put(self, found: Object) -> Object:
        """Return what has to be merged into the object to change it."""

    def back(self, found: Object) -> Object:
        """Return what has to be merged into the object to put it back."""

    def rest(self, found: Object) -> Object | None:
        """Return what is to be taken off although the value is somebody else's by now."""

    def now(self, found: Object) -> str:
        """Say what the value is now, and whose."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaled:
    """A Deployment that is to have *after* replicas instead of *before*."""

    namespace: str
    deployment: str
    uid: str
    mark: str
    before: int
    after: int

    @property
    def name(self) -> str:
        """What an operator calls it."""
        return f"Deployment {self.namespace}/{self.deployment}"

    @property
    def path(self) -> str:
        """The Deployment: only it tells who wrote what."""
        return f"/apis/apps/v1/namespaces/{self.namespace}/deployments/{self.deployment}"

    @property
    def written_at(self) -> str:
        """The scale alone: who may change the whole object may run any image."""
        return f"{self.path}/scale"

    def stands(self, found: Object) -> Stands:
        """Tell by the number and by who wrote it."""
        replicas, owners = found["spec"].get("replicas", 1), self._owners(found)
        if replicas == self.after and self.mark in owners:
            return Stands.IN
        return Stands.BACK if self.mark + BACK in owners else Stands.TAKEN

    def unfit(self, found: Object) -> str | None:
        """Say so if its number is a fault's, or another one by now than it would be put back to."""
        if marks := [each for each in self._owners(found) if is_mark(each)]:
            return f"{self.name} has its number from another fault ({marks[0]}), which comes first"
        replicas = found["spec"].get("replicas", 1)
        return None if replicas == self.before else f"{self.name} has {replicas} replicas by now"

    def put(self, found: Object) -> Object:
        """Return the new number."""
        return merged(found, {"spec": {"replicas": self.after}})

    def back(self, found: Object) -> Object:
        """Return the old number."""
        return merged(found, {"spec": {"replicas": self.before}})

    def rest(self, found: Object) -> None:
        """Leave nothing: the number is all that was written."""

    def now(self, found: Object) -> str:
        """Say the number and its owners."""
        owners = ", ".join(self._owners(found)) or "nobody known"
        return f"{found['spec'].get('replicas', 1)} replicas, set by {owners}"

    @staticmethod
    def _owners(found: Object) -> list[str]:
        return list(owners_of(found["metadata"], "f:spec", "f:replicas"))


def is_mark(manager: str) -> bool:
    """Whether a field manager is a change of ours that is still in."""
    return manager.startswith(MARKED) and not manager.endswith(BACK)


def merged(found: Object, change: Object, tags: Object | None = None) -> Object:
    """Return *change* with the precondition that the object is the very one, and as it was *found*."""
    meta: Object = {key: found["metadata"][key] for key in ("uid", "resourceVersion")}
    return {**change, "metadata": {**meta, **(tags or {})}}


def owners_of(meta: Mapping[str, Any], *fields: str) -> Iterator[str]:
    """Yield the managers of a field.

    Source:
        Server-Side Apply, "Field management": ``fieldsV1`` is a trie whose keys are ``f:`` and a name.
    """
    for entry in meta.get("managedFields") or ():
        owned = entry.get("fieldsV1") or {}
        for each in fields:
            owned = owned.get(each) if isinstance(owned, dict) else None
            if owned is None:
                break
        else:
            yield entry["manager"]
