"""The objects of an isolation, a policy that a Job with a deadline owns, and what the ledger names."""

from __future__ import annotations

import contextlib
import math
import time
from typing import TYPE_CHECKING, Any

from agent.clients import kubernetes
from agent.clients.kubernetes import RUN, Changed, KubernetesError, NotThere
from agent.model import Fact, Refused

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agent.clients.kubernetes import Api, Object

MARK = "gameday/isolated"
"""Label on the pods that a policy of ours selects; its value is the policy's name."""
ASK_S = 2.0
LANDS_WITHIN_S = 15.0
POLL_S = 0.25
AT_ONCE: Object = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}


def check_answers(api: Api, namespace: str, pods: Sequence[str], port: int) -> None:
    """Refuse if one of *pods* does not answer before it is cut off.

    Raises:
        Refused: One does not, so that its silence afterwards would show nothing.
    """
    if silent := [pod for pod in pods if not _answers(api, namespace, pod, port)]:
        raise Refused(
            f"{', '.join(silent)}: no HTTP answer on port {port} through the API server, so nobody could "
            "tell whether it is cut off; nothing was touched"
        )


def put(api: Api, namespace: str, mark: str, pods: Mapping[str, str], *, run: str, lease_s: float) -> None:
    """Make the Job, then the policy that it owns, then label the very *pods* (name to uid)."""
    meta = {"name": mark, "namespace": namespace, "labels": {RUN: run}}
    job = api.post(_jobs(namespace), _job(meta, lease_s))
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": mark, "uid": job["metadata"]["uid"]}
    policy = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {**meta, "ownerReferences": [owner]},
        "spec": {"podSelector": {"matchLabels": {MARK: mark}}, "policyTypes": ["Ingress", "Egress"]},
    }
    api.post(_policies(namespace), policy)
    for name, uid in pods.items():
        _label(api, namespace, name, uid, mark)


def _job(meta: Object, lease_s: float) -> Object:
    """Return a Job that never makes a pod and is deleted when its deadline is over."""
    pod = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "containers": [{"name": "never", "image": "never.invalid/runs"}],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": meta,
        "spec": {
            "parallelism": 0,
            "activeDeadlineSeconds": math.ceil(lease_s),
            "ttlSecondsAfterFinished": 0,
            "template": {"spec": pod},
        },
    }


def _label(api: Api, namespace: str, pod: str, uid: str, value: str | None) -> None:
    """Set or take off the mark of one very pod; a pod that was made anew under its name is left alone."""
    meta = {"uid": uid, "labels": {MARK: value}}
    with contextlib.suppress(NotThere, Changed):
        api.patch(f"/api/v1/namespaces/{namespace}/pods/{pod}", {"metadata": meta})


def _answers(api: Api, namespace: str, pod: str, port: int) -> bool:
    """Whether *pod* answers the API server's proxy at all; an error of the pod's own is an answer."""
    try:
        api.raw(f"/api/v1/namespaces/{namespace}/pods/{pod}:{port}/proxy/", timeout_s=ASK_S)
    except KubernetesError as error:
        if error.status == 403 and error.body.get("kind") == "Status":
            raise
        return error.status is not None and error.body.get("kind") != "Status"
    return True


def _jobs(namespace: str) -> str:
    return f"/apis/batch/v1/namespaces/{namespace}/jobs"


def _policies(namespace: str) -> str:
    return f"/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies"


# undo and checks: what the ledger names


def remove(*, place: dict[str, Any], namespace: str, mark: str, pods: dict[str, str]) -> None:
    """Delete policy and Job, then take the label off the pods."""
    with kubernetes.connect(place) as api:
        for path in (f"{_policies(namespace)}/{mark}", f"{_jobs(namespace)}/{mark}"):
            with contextlib.suppress(NotThere):
                api.delete(path, AT_ONCE)
        for name, uid in pods.items():
            _label(api, namespace, name, uid, None)


def landed(*, place: dict[str, Any], namespace: str, mark: str, pods: list[str], port: int) -> Fact:
    """Tell whether none of *pods* answers any more; networks need a moment to take a policy in."""
    deadline = time.monotonic() + LANDS_WITHIN_S
    with kubernetes.connect(place) as api:
        api.get(f"{_policies(namespace)}/{mark}")
        while (reached := [pod for pod in pods if _answers(api, namespace, pod, port)]) and (
            time.monotonic() < deadline
        ):
            time.sleep(POLL_S)
        api.get(f"{_policies(namespace)}/{mark}")  # else the silence was the API server's own
    says = f"{', '.join(reached)} still answered; does this cluster's network enforce NetworkPolicies?"
    return Fact(holds=not reached, says=says if reached else "", measured={"pods": len(pods) - len(reached)})


def gone(*, place: dict[str, Any], namespace: str, mark: str) -> Fact:
    """Tell whether neither policy nor Job nor a pod with their label is there."""
    paths = (f"{_policies(namespace)}/{mark}", f"{_jobs(namespace)}/{mark}")
    with kubernetes.connect(place) as api:
        left = [path for path in paths if _is_there(api, path)]
        marked = list(api.items(f"/api/v1/namespaces/{namespace}/pods", selector=f"{MARK}={mark}"))
    left += [f"the label on {each['metadata']['name']}" for each in marked]
    return Fact(holds=not left, says=f"still there: {', '.join(left)}" if left else "")


def renew(
    *,
    place: dict[str, Any],
    namespace: str,
    mark: str,
    began: float,
    lease_s: float,
    max_duration_s: float,
) -> None:
    """Move the Job's deadline on, never beyond *max_duration_s*; the deadline counts from its start."""
    until_s = min(time.time() - began + lease_s, max_duration_s)
    with kubernetes.connect(place) as api, contextlib.suppress(NotThere):
        deadline = {"activeDeadlineSeconds": max(1, math.ceil(until_s))}
        api.patch(f"{_jobs(namespace)}/{mark}", {"spec": deadline})


def _is_there(api: Api, path: str) -> bool:
    try:
        api.get(path)
    except NotThere:
        return False
    return True


def sweep(api: Api, namespace: str, *, alive: Sequence[str]) -> list[str]:
    """Take out every isolation in *namespace* whose run is not *alive*; return what was found."""
    found: list[str] = []
    for path in (_policies(namespace), _jobs(namespace)):
        for each in list(api.items(path, selector=RUN)):
            meta = each["metadata"]
            if meta["labels"][RUN] not in alive:
                found.append(
                    f"{path.rpartition('/')[2]} {namespace}/{meta['name']} of run {meta['labels'][RUN]}"
                )
                with contextlib.suppress(NotThere):
                    api.delete(f"{path}/{meta['name']}", AT_ONCE)
    for each in list(api.items(f"/api/v1/namespaces/{namespace}/pods", selector=MARK)):
        meta = each["metadata"]
        if not _is_there(api, f"{_policies(namespace)}/{meta['labels'][MARK]}"):
            found.append(f"label {MARK} on pod {namespace}/{meta['name']}")
            _label(api, namespace, meta["name"], meta["uid"], None)
    return found
