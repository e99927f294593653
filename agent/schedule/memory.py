"""Which rollout an experiment was last run for, kept in the cluster so that several agents share it.

One Lease for each experiment and workload, beside the workload and owned by it: it goes when the
workload goes.  Writing it is the claim: of several agents that see a rollout, one gets to write.
"""

from __future__ import annotations

import hashlib
import socket
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from agent.clients.kubernetes import Changed, NotThere
from agent.schedule.rollouts import Progress

if TYPE_CHECKING:
    from agent.schedule.rollouts import Rollout

ROLLOUT = "gameday/rollout"
TITLE = "gameday/experiment"
OWNERS = {"deployment": "Deployment", "statefulset": "StatefulSet", "daemonset": "DaemonSet"}

type Object = dict[str, Any]


class Cluster(Protocol):
    """What is needed of a cluster; :class:`agent.clients.kubernetes.Api` has it."""

    def get(self, path: str) -> Object:
        """Return the object at *path*."""

    def post(self, path: str, body: Object) -> Object:
        """Create an object at *path*."""

    def put(self, path: str, body: Object) -> Object:
        """Replace the object at *path* if it is as *body*'s resource version says."""


def begin(cluster: Cluster, title: str, rollout: Rollout) -> None:
    """Remember how the workload stands when it is first seen: what is there already is no news.

    A rollout that is still going on then is news once it has finished.
    """
    path, name = _place(title, rollout)
    try:
        cluster.get(f"{path}/{name}")
    except NotThere:
        known = rollout.id if rollout.progress is Progress.FINISHED else ""
        try:
            cluster.post(path, _lease(name, title, rollout, known))
        except Changed:
            return  # another agent was quicker, and saw the same


def claim(cluster: Cluster, title: str, rollout: Rollout) -> bool:
    """Whether the run of *title* after *rollout* is ours to start; False when somebody has it already."""
    path, name = _place(title, rollout)
    try:
        found = cluster.get(f"{path}/{name}")
    except NotThere:
        begin(cluster, title, rollout)  # it was taken away: what is there already is no news
        return False
    if found["metadata"].get("annotations", {}).get(ROLLOUT) == rollout.id:
        return False
    fresh = _lease(name, title, rollout, rollout.id)
    fresh["metadata"]["resourceVersion"] = found["metadata"]["resourceVersion"]
    try:
        cluster.put(f"{path}/{name}", fresh)
    except Changed:
        return False
    return True


def _place(title: str, rollout: Rollout) -> tuple[str, str]:
    """Return the path of the namespace's leases and the name of the one that is meant."""
    workload = rollout.workload
    told = hashlib.sha256(f"{title}\n{workload.kind}/{workload.name}".encode()).hexdigest()[:16]
    return f"/apis/coordination.k8s.io/v1/namespaces/{workload.namespace}/leases", f"gameday-after-{told}"


def _lease(name: str, title: str, rollout: Rollout, known: str) -> Object:
    workload = rollout.workload
    owner = {
        "apiVersion": "apps/v1",
        "kind": OWNERS[workload.kind],
        "name": workload.name,
        "uid": rollout.uid,
    }
    now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": name,
            "labels": {"app.kubernetes.io/managed-by": "gameday"},
            "annotations": {ROLLOUT: known, TITLE: title},
            "ownerReferences": [owner],
        },
        "spec": {"holderIdentity": socket.gethostname(), "renewTime": now},
    }
