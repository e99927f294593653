"""The dead men of changed values: restorers on standby in the cluster, from before the change until after.

A Job with the agent's image runs two of them, on two nodes that are no victims; each has proved that it
could put everything back before anything is changed.  A Lease beside the Job is what the run renews.
"""

from __future__ import annotations

import contextlib
import json
import math
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import structlog

from agent import settings as settings_of
from agent.clients import kubernetes
from agent.clients.kubernetes import RUN, KubernetesError, NotThere, own_namespace
from agent.faults.cluster import rights
from agent.faults.cluster.rights import RESTORER_RIGHTS
from agent.faults.cluster.standby_jobs import ACCOUNT, RESTORE, STANDBYS, job_of
from agent.model import DidNotLand, Fact, Refused
from agent.restorer.changes import Scaled
from agent.restorer.orders import Order
from agent.restorer.restore import is_in, make, restore
from agent.restorer.watch import ENDED, PREFIX, job_path, lease_path
from agent.safety.door import go_on

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from agent.clients.kubernetes import Api, Object
    from agent.model import Json

log = structlog.get_logger()

LEASE_S = 10.0
"""Renewed three times in it; they look every second: 12 s after the last renewal by design, 30 in tests."""
READY_WITHIN_S = 60.0
"""An image that is on the node is ready in 3 s; one that has to be pulled takes longer."""
SECOND_WITHIN_S = 10.0
RENEW_S = LEASE_S / 2
"""A renewal that has no answer by then is given up, so that the next one still comes in time."""
POLL_S = 0.25
CHANGED = "gameday/changed"
"""Annotation of the Lease: the changes were made."""
HOPELESS = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "ErrImageNeverPull",
        "InvalidImageName",
        "CreateContainerConfigError",
    }
)
DEAD_AFTER_S = 2 * LEASE_S
"""Restorers that have not said anything for so long are dead, and then the run ends its fault itself."""
AT_ONCE: Object = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}

_heard: dict[str, tuple[Mapping[str, str], float]] = {}
"""Mark -> the restorers' beats as this process last saw them change, and when."""


class NoStandby(Refused):
    """No restorer is ready to put the value back, so it was not changed."""


def home() -> str:
    """Return the namespace that restorers run in: one that holds nobody else's accounts."""
    return settings_of.current().restorer_namespace or own_namespace() or "gameday"


def check(api: Api) -> None:
    """Refuse early if restorers could not even be asked for.

    Raises:
        Refused: A right is missing, or the account that restorers run as.
    """
    rights.check(api, "restorers", home())
    try:
        api.get(f"/api/v1/namespaces/{home()}/serviceaccounts/{ACCOUNT}")
    except NotThere:
        raise NoStandby(
            f"there is no service account {home()}/{ACCOUNT}, as which the dead man of this fault would put "
            "the value back; deploy/ makes it (GAMEDAY_RESTORER_NAMESPACE says where); nothing was touched"
        ) from None


def change(api: Api, order: Order, *, run: str, avoid: Sequence[str] = ()) -> None:
    """Put restorers on standby, and make the changes once one of them is ready.

    Raises:
        Refused: No restorer came up, or the first object is not as it was.  Nothing was changed.
        DidNotLand: A later object is not as it was; the caller puts back the earlier ones.
    """
    _put(api, order, run=run, avoid=avoid)
    _await_ready(api, order)
    _write(api, order, {})
    for index, each in enumerate(order.changes):
        go_on()
        try:
            make(api, each)
        except Refused as error:
            if index:
                raise DidNotLand(f"after {index} of {len(order.changes)} were changed: {error}") from error
            raise
        if not index:
            _write(api, order, {CHANGED: "true"})


def on_standby(api: Api, order: Order) -> int:
    """Return how many restorers have said that they are ready."""
    return len(_beats(api.get(lease_path(order.namespace, order.mark))))


def held(api: Api, order: Order) -> dict[str, Json]:
    """Return the arguments of every ``Call`` of this module."""
    return {"place": api.place.to_json(), "order": order.to_json()}


def renewing(api: Api, order: Order, *, every_s: float = LEASE_S / 3) -> Callable[[], None]:
    """Return a function to be called often while applying takes long; it renews as often as is needed."""
    renewed = time.monotonic()

    def renew_if_due() -> None:
        nonlocal renewed
        if time.monotonic() - renewed >= every_s:
            _write(api, order, {})
            renewed = time.monotonic()

    return renew_if_due


def _put(api: Api, order: Order, *, run: str, avoid: Sequence[str]) -> None:
    meta = {"name": order.mark, "namespace": order.namespace, "labels": {RUN: run}}
    jobs = job_path(order.namespace, "").rstrip("/")
    job = api.post(jobs, job_of(order, run=run, image=settings_of.current().image, avoid=avoid))
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": order.mark, "uid": job["metadata"]["uid"]}
    lease = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {**meta, "ownerReferences": [owner]},
        "spec": {
            "holderIdentity": run,
            "leaseDurationSeconds": math.ceil(order.lease_s),
            "renewTime": _now(),
        },
    }
    api.post(lease_path(order.namespace, "").rstrip("/"), lease)


def _await_ready(api: Api, order: Order) -> None:
    """Return when all restorers have beaten, or one where there is no place for more.

    Raises:
        NoStandby: There will be none, or there was none in time.
    """
    began = time.monotonic()
    first: float | None = None
    said = "none has said anything"
    while time.monotonic() - began < READY_WITHIN_S:
        go_on()
        try:
            found = len(_beats(_write(api, order, {})))
            why, no_place = _obstacle(api, order)
        except KubernetesError as error:
            if not error.passing:
                raise
            said = str(error)
            continue
        first = time.monotonic() if found and first is None else first
        alone = first is not None and time.monotonic() - first > SECOND_WITHIN_S
        if found >= STANDBYS or (found and (alone or no_place)):
            return
        if why is not None:
            said = why
            break
        time.sleep(POLL_S)
    raise NoStandby(f"the dead man in {order.namespace} is not ready: {said}; nothing was touched")


def _obstacle(api: Api, order: Order) -> tuple[str | None, bool]:
    """Return why no restorer will be ready, None while one may be, and whether one has no node to go to."""
    selector = f"batch.kubernetes.io/job-name={order.mark}"
    pods = list(api.items(f"/api/v1/namespaces/{order.namespace}/pods", selector=selector))
    unplaced = [why for pod in pods if (why := _unplaced(pod))]
    if unplaced and len(unplaced) == len(pods):
        return f"no node for it: {unplaced[0]}", True
    said = [why for pod in pods if (why := _hopeless(pod))]
    return (said[0] if said and len(said) + len(unplaced) == len(pods) else None), bool(unplaced)


def _unplaced(pod: Object) -> str | None:
    for each in pod.get("status", {}).get("conditions") or ():
        if each["type"] == "PodScheduled" and each.get("reason") == "Unschedulable":
            return str(each.get("message", "unschedulable"))
    return None


def _hopeless(pod: Object) -> str | None:
    for each in pod.get("status", {}).get("containerStatuses") or ():
        waiting = each.get("state", {}).get("waiting") or {}
        if waiting.get("reason") in HOPELESS:
            return f"{waiting['reason']}: {waiting.get('message', '')}".strip()
        for state in (each.get("state", {}), each.get("lastState", {})):
            ended = state.get("terminated") or {}
            if ended and ended.get("exitCode") != 0:
                return f"it ended: {str(ended.get('message') or ended.get('reason')).strip()}"
    return None


def _write(
    api: Api, order: Order, notes: Mapping[str, str], *, timeout_s: float = kubernetes.TIMEOUT_S
) -> Object:
    """Renew the Lease, with *notes* as annotations, and return it."""
    body: Object = {"spec": {"renewTime": _now()}}
    if notes:
        body["metadata"] = {"annotations": dict(notes)}
    return api.patch(lease_path(order.namespace, order.mark), body, timeout_s=timeout_s)


def _beats(lease: Object) -> dict[str, str]:
    """Return the restorers' beats, by pod."""
    notes: Mapping[str, str] = lease["metadata"].get("annotations") or {}
    start = f"{PREFIX}{lease['metadata']['name']}-"
    return {key: value for key, value in notes.items() if key.startswith(start)}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


# undo and checks: what the ledger names


def remove(*, place: dict[str, Any], order: dict[str, Any]) -> Fact | None:
    """Put everything back, end the restorers, and tell if somebody else had ended the fault before."""
    told = Order.from_json(order)
    _heard.pop(told.mark, None)
    with kubernetes.connect(place) as api:
        outcomes = [restore(api, each) for each in told.changes]
        try:
            notes = api.get(lease_path(told.namespace, told.mark))["metadata"].get("annotations") or {}
        except NotThere:
            notes = {}
        end(api, told.namespace, told.mark)
    says = [notes[ENDED]] if ENDED in notes else [each.says for each in outcomes if each.says]
    if not says or (CHANGED not in notes and ENDED not in notes):
        return None
    return Fact(holds=False, says="ended before it was healed: " + "; ".join(says))


def end(api: Api, namespace: str, mark: str) -> None:
    """Delete Job and Lease; harmless where they are gone."""
    for path in (job_path(namespace, mark), lease_path(namespace, mark)):
        with contextlib.suppress(NotThere):
            api.delete(path, AT_ONCE)


def gone(*, place: dict[str, Any], order: dict[str, Any]) -> Fact:
    """Tell whether no object is as the fault made it, and Job and Lease are deleted."""
    with kubernetes.connect(place) as api:
        left = still_there(api, Order.from_json(order))
    return Fact(holds=not left, says=f"still there: {', '.join(left)}" if left else "")


def still_there(api: Api, order: Order) -> list[str]:
    """Return what is left of a fault: changes that are in, Job, Lease."""
    left = [each.name for each in order.changes if is_in(api, each)]
    for path in (job_path(order.namespace, order.mark), lease_path(order.namespace, order.mark)):
        with contextlib.suppress(NotThere):
            if "deletionTimestamp" not in api.get(path)["metadata"]:
                left.append(path)
    return left


def renew(*, place: dict[str, Any], order: dict[str, Any]) -> None:
    """Renew the Lease; if no restorer has said anything for long, put everything back while we can."""
    told = Order.from_json(order)
    with kubernetes.connect(place) as api:
        try:
            lease = _write(api, told, {}, timeout_s=RENEW_S)
        except NotThere:
            _give_up(api, told, "the lease of its dead man was taken away")
            return
        if ENDED in (lease["metadata"].get("annotations") or {}):
            return
        beats, now = _beats(lease), time.monotonic()
        before = _heard.get(told.mark)
        if before is None or before[0] != beats:
            _heard[told.mark] = (beats, now)
        elif now - before[1] > DEAD_AFTER_S:
            _give_up(api, told, f"its dead men had not been heard of for {now - before[1]:.0f} s")


def _give_up(api: Api, order: Order, why: str) -> None:
    """Put everything back and write down why, so that the undoing tells it."""
    log.error("standby_gone", mark=order.mark, why=why)
    names = [each.name for each in order.changes if restore(api, each).restored]
    if names:
        says = f"{', '.join(names)} was put back by the run itself, because {why}"
        with contextlib.suppress(KubernetesError):
            api.patch(lease_path(order.namespace, order.mark), {"metadata": {"annotations": {ENDED: says}}})


def sweep(api: Api, namespace: str, *, alive: Sequence[str]) -> list[str]:
    """Put back what is in of every run that is not *alive*, from the orders of its Jobs; return what was.

    Raises:
        Refused: A right to put one of the values back is missing.  Nothing was put back.
    """
    found: list[str] = []
    left = dict(_orders(api, namespace, alive))
    for order in left.values():
        _check_may_restore(api, order)
    for job, order in left.items():
        names = [each.name for each in order.changes if restore(api, each).restored]
        end(api, namespace, order.mark)
        found.append(job)
        found += [f"{name}, put back" for name in names]
    for lease in list(api.items(lease_path(namespace, "").rstrip("/"), selector=RUN)):
        meta = lease["metadata"]
        if meta["labels"][RUN] not in alive and meta["name"].startswith("gameday-"):
            found.append(f"lease {namespace}/{meta['name']} of run {meta['labels'][RUN]}")
            with contextlib.suppress(NotThere):
                api.delete(lease_path(namespace, meta["name"]))
    return found


def _orders(api: Api, namespace: str, alive: Sequence[str]) -> Iterator[tuple[str, Order]]:
    """Yield what each Job of a run that is not *alive* is called, and its order."""
    for job in list(api.items(job_path(namespace, "").rstrip("/"), selector=RUN)):
        meta = job["metadata"]
        written = (meta.get("annotations") or {}).get(RESTORE)
        if written is not None and meta["labels"][RUN] not in alive:
            name = f"job {namespace}/{meta['name']} of run {meta['labels'][RUN]}"
            yield name, Order.from_json(json.loads(written))


def _check_may_restore(api: Api, order: Order) -> None:
    for change in order.changes:
        if isinstance(change, Scaled):
            row, where = "of deployments.scale", change.namespace
        else:
            row, where = "of nodes.cordon, nodes.taint, nodes.drain", None
        rights.check(api, row, where, rows=RESTORER_RIGHTS, so=f"{change.name} was not put back")
