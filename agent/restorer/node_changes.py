"""Changes of nodes: a label and an annotation beside each say whose doing it is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agent.clients.kubernetes import RUN
from agent.restorer.changes import MARK, Stands, merged, owners_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.restorer.changes import Object

TAINT = "gameday/tainted"
"""The key of every taint of ours; its value is the mark."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _OfNode(ABC):
    """What all changes of a node have in common."""

    node: str
    uid: str
    mark: str
    run: str

    @property
    def name(self) -> str:
        """What an operator calls it."""
        return f"Node {self.node}"

    @property
    def path(self) -> str:
        """The node."""
        return f"/api/v1/nodes/{self.node}"

    @property
    def written_at(self) -> str:
        """The node: no part of it is enough."""
        return self.path

    def stands(self, found: Object) -> Stands:
        """Tell by the value, and by our annotation, which only we take off together with it."""
        if self._is_in(found):
            return Stands.IN
        return Stands.TAKEN if self._is_marked(found) else Stands.BACK

    def unfit(self, found: Object) -> str | None:
        """Say so if it is broken by a run."""
        run = (found["metadata"].get("labels") or {}).get(RUN)
        if run is None:
            return None
        return f"{self.name} carries the label {RUN}={run}: that run's fault comes first"

    def rest(self, found: Object) -> Object | None:
        """Take label and annotation off."""
        return self._untagged(found, {}) if self._is_marked(found) else None

    @abstractmethod
    def _is_in(self, found: Object) -> bool:
        """Whether the value is still this change's."""

    def _is_marked(self, found: Object) -> bool:
        annotations: Mapping[str, str] = found["metadata"].get("annotations") or {}
        return annotations.get(MARK) == self.mark

    def _tagged(self, found: Object, change: Object) -> Object:
        return merged(found, change, {"labels": {RUN: self.run}, "annotations": {MARK: self.mark}})

    def _untagged(self, found: Object, change: Object) -> Object:
        return merged(found, change, {"labels": {RUN: None}, "annotations": {MARK: None}})


@dataclass(frozen=True, slots=True, kw_only=True)
class Cordoned(_OfNode):
    """A node that is to take no new pods."""

    def unfit(self, found: Object) -> str | None:
        """Say so if it is cordoned already, or broken by a run."""
        if found["spec"].get("unschedulable"):
            return f"{self.name} is cordoned already"
        return _OfNode.unfit(self, found)

    def put(self, found: Object) -> Object:
        """Return the field."""
        return self._tagged(found, {"spec": {"unschedulable": True}})

    def back(self, found: Object) -> Object:
        """Return it not set."""
        return self._untagged(found, {"spec": {"unschedulable": None}})

    def now(self, found: Object) -> str:
        """Say whether it is cordoned, and by whom."""
        if not found["spec"].get("unschedulable"):
            return "not cordoned any more"
        return f"cordoned by {', '.join(self._owners(found)) or 'nobody known'}"

    def _is_in(self, found: Object) -> bool:
        return bool(found["spec"].get("unschedulable")) and self.mark in self._owners(found)

    @staticmethod
    def _owners(found: Object) -> list[str]:
        return list(owners_of(found["metadata"], "f:spec", "f:unschedulable"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Tainted(_OfNode):
    """A node with a taint of ours, whose value is the mark; its other taints are left as they are."""

    effect: str

    def put(self, found: Object) -> Object:
        """Return all its taints and one more."""
        ours = {"key": TAINT, "value": self.mark, "effect": self.effect}
        return self._tagged(found, {"spec": {"taints": [*_taints(found), ours]}})

    def back(self, found: Object) -> Object:
        """Return all its taints but ours."""
        others = [each for each in _taints(found) if not self._is_ours(each)]
        return self._untagged(found, {"spec": {"taints": others or None}})

    def now(self, found: Object) -> str:
        """Say which taints it has."""
        keys = ", ".join(each["key"] for each in _taints(found)) or "none"
        return f"without our taint (its taints: {keys})"

    def _is_in(self, found: Object) -> bool:
        return any(self._is_ours(each) for each in _taints(found))

    def _is_ours(self, taint: Mapping[str, Any]) -> bool:
        return taint["key"] == TAINT and taint.get("value") == self.mark


def _taints(found: Object) -> list[dict[str, Any]]:
    return list(found["spec"].get("taints") or ())
