"""How a Deployment is restarted, and what the ledger names to check scaling and restarting."""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from agent.clients import kubernetes, workloads
from agent.clients.kubernetes import RUN, Changed, NotThere
from agent.clients.workloads import RESTARTED_TO
from agent.faults.cluster.standby import on_standby, still_there
from agent.model import DidNotLand, Fact, Refused
from agent.restorer.changes import Scaled
from agent.restorer.orders import Order
from agent.safety.door import go_on

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.clients.kubernetes import Api, Object
    from agent.faults.cluster.deployment_choice import Deployment
    from agent.faults.cluster.pod_choice import Floor
    from agent.model import Json

LANDS_WITHIN_S = 20.0
POLL_S = 0.25
RESTARTED_AT = "kubectl.kubernetes.io/restartedAt"
REVISION = "deployment.kubernetes.io/revision"


def cannot_restart(found: Object, floor: Floor) -> str | None:
    """Return why a Deployment cannot be restarted now, None when it can."""
    spec, wanted = found["spec"], found["spec"].get("replicas", 1)
    if spec.get("paused"):
        return "is paused, so that no rollout would begin"
    if why := unfinished(found):
        return f"is being rolled out: {why}"
    left = wanted - may_lack(spec.get("strategy") or {}, wanted)
    if left >= floor.of(wanted):
        return None
    return (
        f"would keep {left} of {wanted} by its own strategy, and has to keep {floor.of(wanted)} (min_ready)"
    )


def may_lack(strategy: Object, wanted: int) -> int:
    """Return how many of *wanted* pods a Deployment's *strategy* lets be away during a rollout.

    Source:
        ``ResolveFenceposts`` in k8s.io/kubernetes/pkg/controller/deployment/util: a share of surge is
        rounded up, one of unavailability down, and if both come to 0 the latter is 1.
    """
    if strategy.get("type") == "Recreate":
        return wanted
    rolling = strategy.get("rollingUpdate") or {}
    lacking = _share(rolling.get("maxUnavailable", "25%"), wanted, math.floor)
    surge = _share(rolling.get("maxSurge", "25%"), wanted, math.ceil)
    return min(wanted, max(lacking, 1) if surge == 0 else lacking)


def _share(value: int | str, wanted: int, rounded: Any) -> int:
    if isinstance(value, str) and value.endswith("%"):
        return int(rounded(int(value[:-1]) * wanted / 100))
    return int(value)


def unfinished(found: Object) -> str | None:
    """Return what a Deployment's rollout still lacks, None when it is complete.

    Source:
        ``DeploymentComplete`` in k8s.io/kubernetes/pkg/controller/deployment/util.
    """
    status, wanted = found.get("status", {}), found["spec"].get("replicas", 1)
    if status.get("observedGeneration", 0) < found["metadata"].get("generation", 0):
        return "its controller has not seen the last change"
    updated, there = status.get("updatedReplicas", 0), status.get("replicas", 0)
    available = status.get("availableReplicas", 0)
    if updated == wanted and there == wanted and available == wanted:
        return None
    return f"{updated} of {wanted} pods are new, {available} available, {there - updated} old ones left"


def restart_each(api: Api, victims: Sequence[Deployment], *, run: str) -> None:
    """Begin a rollout of each of *victims*, on condition that it still is as it was read.

    Raises:
        Refused: The first one is not.
        DidNotLand: A later one is not; the earlier ones are being rolled out.
    """
    for index, each in enumerate(victims):
        go_on()
        try:
            api.patch(_path(each.namespace, each.name), _restart(api, each, run))
        except (Changed, NotThere) as error:
            if index:
                raise DidNotLand(f"after {index} of {len(victims)} were restarted: {error}") from error
            raise Refused(f"{each.full_name} was changed meanwhile: {error}; nothing was touched") from error


def _restart(api: Api, deployment: Deployment, run: str) -> Object:
    now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return {
        "metadata": {
            "uid": deployment.uid,
            "resourceVersion": deployment.found["metadata"]["resourceVersion"],
            "annotations": {RESTARTED_TO: _next_revision(api, deployment)},
        },
        "spec": {"template": {"metadata": {"annotations": {RESTARTED_AT: now, RUN: run}}}},
    }


def _next_revision(api: Api, deployment: Deployment) -> str:
    """Return the revision that the rollout will get, so that nobody takes it for a deploy."""
    path = f"/apis/apps/v1/namespaces/{deployment.namespace}/replicasets"
    selector = workloads.selector_text(deployment.found["spec"]["selector"])
    numbers = [
        int((each["metadata"].get("annotations") or {}).get(REVISION, 0))
        for each in api.items(path, selector=selector)
        if any(owner["uid"] == deployment.uid for owner in each["metadata"].get("ownerReferences") or ())
    ]
    return str(max(numbers, default=0) + 1)


def _path(namespace: str, name: str) -> str:
    return workloads.path("Deployment", namespace, name)


def _read(api: Api, namespace: str, name: str, uid: str) -> Object | None:
    """Return the very Deployment, None when it is gone or was made anew."""
    try:
        found = api.get(_path(namespace, name))
    except NotThere:
        return None
    return found if found["metadata"]["uid"] == uid else None


# undo and checks: what the ledger names


def nothing_to_undo() -> None:
    """Do nothing: a rollout ends by itself, and that is the Deployment's controller's work."""


def are_scaled(*, place: dict[str, Any], order: dict[str, Any]) -> Fact:
    """Tell whether each Deployment has the number of pods asked for; its controller needs a moment."""
    told = Order.from_json(order)
    deadline = time.monotonic() + LANDS_WITHIN_S
    with kubernetes.connect(place) as api:
        while True:
            scaled = [each for each in told.changes if isinstance(each, Scaled)]
            counts = {each.name: _count(api, each) for each in scaled}
            wrong = [each for each in scaled if counts[each.name] != each.after]
            if not wrong or time.monotonic() > deadline:
                break
            time.sleep(POLL_S)
        measured: dict[str, Json] = {"replicas": dict(counts), "restorers": on_standby(api, told)}
    says = "; ".join(f"{each.name} has {counts[each.name]} of {each.after} pods" for each in wrong)
    return Fact(holds=not wrong, says=says, measured=measured)


def _count(api: Api, change: Scaled) -> int | None:
    """Return how many pods a Deployment has that nobody has asked to end, None while nobody knows."""
    found = _read(api, change.namespace, change.deployment, change.uid)
    if found is None:
        return None
    status = found.get("status", {})
    seen = status.get("observedGeneration", 0) >= found["metadata"]["generation"]
    return int(status.get("replicas", 0)) if seen else None


def have_replicas_again(*, place: dict[str, Any], order: dict[str, Any], by: float) -> Fact:
    """Tell whether no number of ours is left and all replicas are ready; until *by* that may come true."""
    told = Order.from_json(order)
    with kubernetes.connect(place) as api:
        if left := still_there(api, told):
            return Fact(holds=False, says=f"still there: {', '.join(left)}")
        short = [why for each in told.changes if isinstance(each, Scaled) if (why := _short(api, each))]
    return Fact(holds=not short, says="; ".join(short), expected_by=by)


def _short(api: Api, change: Scaled) -> str | None:
    """Return how many ready pods a Deployment lacks, in words; None when it has enough or is gone."""
    found = _read(api, change.namespace, change.deployment, change.uid)
    if found is None:
        return None
    ready, wanted = found.get("status", {}).get("readyReplicas", 0), found["spec"].get("replicas", 1)
    needed = min(change.before, wanted)
    return None if ready >= needed else f"{change.name} has {ready} of {needed} pods ready again"


def are_rolling(*, place: dict[str, Any], namespace: str, victims: dict[str, str], run: str) -> Fact:
    """Tell whether the controller of each Deployment has begun the rollout that *run* asked for."""
    deadline = time.monotonic() + LANDS_WITHIN_S
    with kubernetes.connect(place) as api:
        while True:
            waiting = [name for name, uid in victims.items() if not _rolls(api, namespace, name, uid, run)]
            if not waiting or time.monotonic() > deadline:
                break
            time.sleep(POLL_S)
    says = f"no rollout of {', '.join(waiting)} has begun" if waiting else ""
    return Fact(holds=not waiting, says=says, measured={"deployments": len(victims) - len(waiting)})


def _rolls(api: Api, namespace: str, name: str, uid: str, run: str) -> bool:
    found = _read(api, namespace, name, uid)
    if found is None:
        return False
    notes = (found["spec"]["template"].get("metadata") or {}).get("annotations") or {}
    status = found.get("status", {})
    seen = status.get("observedGeneration", 0) >= found["metadata"]["generation"]
    return notes.get(RUN) == run and seen and status.get("updatedReplicas", 0) > 0


def are_rolled_out(*, place: dict[str, Any], namespace: str, victims: dict[str, str], by: float) -> Fact:
    """Tell whether each rollout is complete, or its Deployment gone; until *by* it may still come true."""
    with kubernetes.connect(place) as api:
        found = {name: _read(api, namespace, name, uid) for name, uid in victims.items()}
    lacking = [f"{name}: {why}" for name, each in found.items() if each and (why := unfinished(each))]
    return Fact(holds=not lacking, says="; ".join(lacking), expected_by=by)
