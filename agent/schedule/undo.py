"""Undoes a rollout whose run was DEVIATED, where the experiment says so; as ``kubectl rollout undo`` does.

No fault and not healed again: it is a decision of the experiment's owner, carried out once, and only
while the workload still is at the revision that was judged.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import structlog

from agent.clients.kubernetes import connect
from agent.model import GamedayError
from agent.safety.kubernetes_guard import namespace_labels
from agent.schedule.rollouts import REVISION, UNDONE_TO, read_rollout

if TYPE_CHECKING:
    from pathlib import Path

    from agent.clients.kubernetes import Api
    from agent.schedule.rollouts import Rollout

log = structlog.get_logger()

RECORD = "rollback.json"
CAUSE = "kubernetes.io/change-cause"
UNDONE = "gameday/undone-by"
HASH = "pod-template-hash"


class CannotUndo(GamedayError):
    """The rollout stays as it is; the message says why."""


def undo(api: Api, rollout: Rollout, *, run: str) -> str:
    """Bring the workload back to the revision before *rollout*, and return that revision.

    Raises:
        CannotUndo: There is no earlier revision, or something else was rolled out meanwhile.
        KubernetesError: The API server did not let us.
    """
    workload = rollout.workload
    found = api.get(workload.path)
    if read_rollout(workload, found).id != rollout.id:
        raise CannotUndo(f"{workload} is not at revision {rollout.revision} any longer; it was left alone")
    before, becomes, change = _BEFORE[workload.kind](api, rollout)
    because = {CAUSE: f"gameday run {run} was DEVIATED: back to revision {before}", UNDONE: run}
    because[UNDONE_TO] = becomes  # so that nobody runs, and undoes, after the undoing
    body = {
        **change,
        "metadata": {"resourceVersion": found["metadata"]["resourceVersion"], "annotations": because},
    }
    api.patch(workload.path, body, strategic=True)
    return before


def undo_and_file(rollout: Rollout, *, run: str, folder: Path) -> str:
    """Undo *rollout* after *run*, leave ``rollback.json`` in the run's *folder*, and return it in words.

    Never raises for the cluster's sake: a rollout that cannot be undone is told, and stays.
    """
    told: dict[str, Any] = {
        "workload": str(rollout.workload),
        "revision": rollout.revision,
        "at": time.time(),
    }
    try:
        with connect() as api:
            namespace_labels(api, rollout.workload.namespace)  # the guard rails hold for mending, too
            before = undo(api, rollout, run=run)
    except GamedayError as error:
        told |= {"undone": False, "why": str(error)}
        says = f"{rollout.workload}: revision {rollout.revision} was NOT undone: {error}"
        log.error("rollout_not_undone", run=run, **told)
    else:
        told |= {"undone": True, "back_to": before}
        says = f"{rollout.workload}: revision {rollout.revision} was undone, back to {before}"
        log.warning("rollout_undone", run=run, **told)
    (folder / RECORD).write_text(json.dumps(told))
    return says


def _replica_set(api: Api, rollout: Rollout) -> tuple[str, str, dict[str, Any]]:
    """Return a Deployment's revision before, what that will be called then, and the patch.

    Source:
        The controller gives a template that comes back the highest number so far plus one
        (k8s.io/kubernetes/pkg/controller/deployment/sync.go, ``getNewReplicaSet``).
    """
    numbered = {
        int(each["metadata"]["annotations"][REVISION]): each for each in _owned(api, rollout, "replicasets")
    }
    number, found = _newest_before(numbered, int(rollout.revision), rollout)
    template = found["spec"]["template"]
    template["metadata"]["labels"].pop(HASH, None)
    return str(number), str(max(numbered) + 1), {"spec": {"template": {"$patch": "replace", **template}}}


def _stateful_revision(api: Api, rollout: Rollout) -> tuple[str, str, dict[str, Any]]:
    """Return a StatefulSet's revision before; a template that comes back gets its old name."""
    name, change = _controller_revision(api, rollout)
    return name, name, change


def _daemon_revision(api: Api, rollout: Rollout) -> tuple[str, str, dict[str, Any]]:
    """Return a DaemonSet's revision before; its template's changes are counted."""
    name, change = _controller_revision(api, rollout)
    return name, str(int(rollout.revision) + 1), change


def _controller_revision(api: Api, rollout: Rollout) -> tuple[str, dict[str, Any]]:
    numbered = {int(each["revision"]): each for each in _owned(api, rollout, "controllerrevisions")}
    _, found = _newest_before(numbered, max(numbered, default=0), rollout)
    return str(found["metadata"]["name"]), dict(found["data"])


_BEFORE = {"deployment": _replica_set, "statefulset": _stateful_revision, "daemonset": _daemon_revision}


def _newest_before(numbered: dict[int, Any], present: int, rollout: Rollout) -> tuple[int, Any]:
    earlier = [number for number in numbered if number < present]
    if not earlier:
        raise CannotUndo(f"{rollout.workload} has no revision before {rollout.revision}; it was left alone")
    return max(earlier), numbered[max(earlier)]


def _owned(api: Api, rollout: Rollout, plural: str) -> list[dict[str, Any]]:
    """Return what the workload's controller made of it, of the kind *plural*."""
    found = api.items(f"/apis/apps/v1/namespaces/{rollout.workload.namespace}/{plural}")
    return [
        each
        for each in found
        if any(
            owner["uid"] == rollout.uid and owner.get("controller")
            for owner in each["metadata"].get("ownerReferences", ())
        )
    ]
