"""Whether a rollout has finished, and when a run is due after it; pure, on raw objects of the API."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from agent.clients.workloads import RESTARTED_TO
from agent.model import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.catalog.experiment import After

KINDS = {"deployment": "deployments", "statefulset": "statefulsets", "daemonset": "daemonsets"}
"""Kind -> its name in the paths of the API group ``apps/v1``."""
REVISION = "deployment.kubernetes.io/revision"
TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"
UNDONE_TO = "gameday/undone-to"
"""Annotation of a workload: the revision that an undoing brought about."""
OURS = (UNDONE_TO, RESTARTED_TO)
"""Annotations that name a revision of our own making, after which nothing is run."""
DEADLINE_EXCEEDED = "ProgressDeadlineExceeded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Something that rolls out: ``kind`` is one of :data:`KINDS`."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.name} in {self.namespace}"

    @property
    def path(self) -> str:
        """Where it is in the API."""
        return f"/apis/apps/v1/namespaces/{self.namespace}/{KINDS[self.kind]}/{self.name}"

    @classmethod
    def parse(cls, text: str, namespace: str) -> Workload:
        """Read ``deployment/NAME``.

        Raises:
            UsageError: It is no such text.
        """
        kind, slash, name = text.partition("/")
        if not slash or kind not in KINDS or not name:
            raise UsageError(
                f"{text!r} is no workload; write deployment/NAME, statefulset/NAME or daemonset/NAME"
            )
        return cls(kind=kind, namespace=namespace, name=name)


class Progress(StrEnum):
    """How far a rollout is."""

    GOING_ON = "going on"
    FINISHED = "finished"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """A workload's present rollout; ``says`` is one sentence with the figures.

    ``revision`` changes with each rollout and not when the workload is only scaled; with ``uid`` it
    names the rollout for good, whatever is deleted and made again under the same name.  ``undoing`` is
    whether this rollout is of our own making: it undid another one, or was a fault.
    """

    workload: Workload
    uid: str
    revision: str
    progress: Progress
    says: str
    undoing: bool = False

    @property
    def id(self) -> str:
        """The rollout's name for good."""
        return f"{self.uid}/{self.revision}"

    @property
    def because(self) -> str:
        """Why a run after it was started."""
        return f"after revision {self.revision} of {self.workload}"


def read_rollout(workload: Workload, found: Mapping[str, Any]) -> Rollout:
    """Return the present rollout of *workload*, whose object in the API is *found*.

    Source:
        ``kubectl rollout status`` (k8s.io/kubectl/pkg/polymorphichelpers/rollout_status.go).
    """
    metadata, spec, status = found["metadata"], found.get("spec", {}), found.get("status", {})
    read = {"deployment": _deployment, "statefulset": _stateful_set, "daemonset": _daemon_set}
    if status.get("observedGeneration", 0) < metadata.get("generation", 0):
        progress, says = Progress.GOING_ON, "its controller has not seen the change yet"
    else:
        progress, says = read[workload.kind](spec, status)
    revision = _revision(workload.kind, metadata, status)
    return Rollout(
        workload=workload,
        uid=metadata["uid"],
        revision=revision,
        progress=progress,
        says=says,
        undoing=any(metadata.get("annotations", {}).get(each) == revision for each in OURS),
    )


def _revision(kind: str, metadata: Mapping[str, Any], status: Mapping[str, Any]) -> str:
    annotations = metadata.get("annotations", {})
    if kind == "statefulset":
        return str(status.get("updateRevision", ""))
    return str(annotations.get(REVISION if kind == "deployment" else TEMPLATE_GENERATION, ""))


def _deployment(spec: Mapping[str, Any], status: Mapping[str, Any]) -> tuple[Progress, str]:
    wanted, updated = spec.get("replicas", 1), status.get("updatedReplicas", 0)
    there, available = status.get("replicas", 0), status.get("availableReplicas", 0)
    for condition in status.get("conditions", ()):
        if condition.get("type") == "Progressing" and condition.get("reason") == DEADLINE_EXCEEDED:
            return Progress.FAILED, condition.get("message") or "it exceeded its progress deadline"
    if there > updated:
        return Progress.GOING_ON, f"{there - updated} old replicas are still there"
    return _updated(wanted, updated, available)


def _stateful_set(spec: Mapping[str, Any], status: Mapping[str, Any]) -> tuple[Progress, str]:
    strategy = spec.get("updateStrategy", {})
    partition = strategy.get("rollingUpdate", {}).get("partition", 0)
    replicas, updated = spec.get("replicas", 1), status.get("updatedReplicas", 0)
    if strategy.get("type") == "OnDelete":
        return Progress.GOING_ON, "it updates a pod only when that is deleted (OnDelete)"
    if partition == 0 and status.get("updateRevision") == status.get("currentRevision"):
        updated = status.get("replicas", 0)  # with nothing to update the count of the updated is not kept
    return _updated(max(0, replicas - partition), updated, status.get("availableReplicas", 0), of=replicas)


def _daemon_set(_: Mapping[str, Any], status: Mapping[str, Any]) -> tuple[Progress, str]:
    wanted = status.get("desiredNumberScheduled", 0)
    return _updated(wanted, status.get("updatedNumberScheduled", 0), status.get("numberAvailable", 0))


def _updated(wanted: int, updated: int, available: int, *, of: int | None = None) -> tuple[Progress, str]:
    if updated < wanted:
        return Progress.GOING_ON, f"{updated} of {wanted} replicas are updated"
    if available < (wanted if of is None else of):
        return Progress.GOING_ON, f"{available} of {wanted if of is None else of} replicas are available"
    return Progress.FINISHED, f"all {wanted} replicas are updated and available"


@dataclass(slots=True, kw_only=True)
class Due:
    """When one experiment is due after the rollouts of one workload.

    A rollout that has finished and stays so for ``settle_s`` makes it due, once; rollouts within
    ``debounce_s`` of a start wait until that is over, and only the newest of them counts.  Times are
    monotonic seconds.
    """

    after: After
    _finished: Rollout | None = field(default=None, init=False)
    _settled: str = field(default="", init=False)
    _since: float = field(default=0.0, init=False)
    _started: float = field(default=float("-inf"), init=False)

    def see(self, rollout: Rollout | None, now: float) -> None:
        """Take in how the workload stands now; None when it is gone."""
        if rollout is None or rollout.progress is not Progress.FINISHED:
            self._finished = None
        elif rollout.id != self._settled and (self._finished is None or self._finished.id != rollout.id):
            self._finished, self._since = rollout, now

    def at(self) -> float | None:
        """Return when it is due, None while there is nothing to wait for."""
        if self._finished is None:
            return None
        return max(self._since + self.after.settle_s, self._started + self.after.debounce_s)

    def ready(self, now: float) -> Rollout | None:
        """Return the rollout that it is due for by *now*."""
        at = self.at()
        return self._finished if at is not None and now >= at else None

    def settled(self, *, started: float | None) -> None:
        """Have done with the rollout that was ready: a run *started* then, or none was needed."""
        self._settled = self._finished.id if self._finished else self._settled
        self._finished = None
        self._started = self._started if started is None else started
