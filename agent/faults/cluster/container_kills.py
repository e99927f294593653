"""How one container is killed after the other, and what the ledger names to check it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog

from agent.clients import kubernetes, workloads
from agent.clients.kubernetes import NotThere
from agent.clients.pods import pod_of
from agent.faults.cluster.pod_choice import too_few
from agent.faults.cluster.pod_kills import PartlyKilled
from agent.faults.inside import opening
from agent.injector import orders
from agent.model import Fact, GamedayError, NoTargets, Refused, Unsupported
from agent.safety.door import go_on

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agent.clients.kubernetes import Api, Object
    from agent.faults.cluster.pod_choice import Floor, Target
    from agent.faults.inside.injectors import Kit
    from agent.model import Json

log = structlog.get_logger()

POLL_S = 0.25
ENDS_WITHIN_S = 15.0
"""The kubelet looks at its containers once a second at the latest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """How to kill; see ``containers.kill`` for what each means."""

    container: str
    signal: int
    floor: Floor
    wait_s: float
    table: str
    kit: Kit


def running(api: Api, victims: Sequence[Target], container: str) -> dict[str, str]:
    """Return the id of *container* in each of *victims*, by the pod's name.

    Raises:
        NoTargets: One has no such container that runs.
        Refused: Nothing would start it again.
        Unsupported: The pod's processes are not its container's alone.
    """
    found = {}
    for victim in victims:
        pod = api.get(_path(victim.pod.namespace, victim.pod.name))
        if why := not_alone(pod["spec"]):
            raise Unsupported(f"unsupported: {victim.pod.full_name} {why}; nothing was killed")
        if pod["spec"].get("restartPolicy") == "Never":
            raise Refused(f"{victim.pod.full_name} has restartPolicy Never, so nothing would start it again")
        status = status_of(pod, container)
        if status is None or "running" not in status["state"]:
            raise NoTargets(
                f"{victim.pod.full_name} has no container {container} that runs; nothing was killed"
            )
        found[victim.pod.name] = str(status["containerID"])
    return found


def not_alone(spec: Mapping[str, Any]) -> str | None:
    """Return why process 1 of a pod with *spec* is not its container's; None if it is."""
    if spec.get("hostPID"):
        return "sees the node's processes (hostPID), the first of which is the node's own"
    if spec.get("shareProcessNamespace"):
        return "shares its processes among its containers (shareProcessNamespace)"
    return None


def status_of(pod: Mapping[str, Any], container: str) -> dict[str, Any] | None:
    """Return what the kubelet says about *container*."""
    listed = pod.get("status", {}).get("containerStatuses") or ()
    return next((dict(each) for each in listed if each["name"] == container), None)


def kill_each(api: Api, victims: Sequence[Target], runs: Mapping[str, str], order: Order) -> None:
    """Kill the container in *victims* in turn; each waits for its turn, up to ``wait_s``.

    Raises:
        Refused: The owner of the first cannot spare it.
        PartlyKilled: A later one was refused.
    """
    for index, victim in enumerate(victims):
        go_on()
        try:
            _await_minimum(api, victim, order)
            _kill(api, victim, runs[victim.pod.name], order)
        except GamedayError as error:
            if not index:
                raise
            raise PartlyKilled(f"{index} of {len(victims)} containers were killed, then {error}") from error
        log.info("container_killed", pod=victim.pod.full_name, container=order.container)


def _await_minimum(api: Api, victim: Target, order: Order) -> None:
    deadline = time.monotonic() + order.wait_s
    while why := _minimum(api, victim, order.floor):
        if time.monotonic() >= deadline:
            raise Refused(f"{victim.pod.full_name}: {why}")
        time.sleep(POLL_S)
        go_on()


def _minimum(api: Api, victim: Target, floor: Floor) -> str | None:
    """Count the owner's ready pods now, and return why it cannot spare this one."""
    if victim.owner is None:
        return None
    owner = workloads.read(
        api, victim.owner.kind, victim.pod.namespace, victim.owner.name, uid=victim.owner.uid
    )
    if owner is None:
        return f"{victim.owner.full_name} is gone"
    ready = workloads.ready_pods(api, owner)
    loses = any(each.uid == victim.pod.uid for each in ready)
    return too_few(owner.full_name, ready=len(ready), wanted=owner.wanted, loses_ready=loses, floor=floor)


def _kill(api: Api, victim: Target, was: str, order: Order) -> None:
    """Give the order, and wait until the kubelet tells that the container has ended."""
    pod = victim.pod
    kill = orders.Kill(
        table=order.table,
        lease_s=orders.LONGEST_LEASE_S,
        max_duration_s=ENDS_WITHIN_S,
        container_id=was.rpartition("/")[2],
        signal=order.signal,
    )
    with opening.ordered(api, pod.namespace, pod.name, pod.uid, order=kill, kit=order.kit):
        deadline = time.monotonic() + ENDS_WITHIN_S
        while not _has_ended(api, pod.namespace, pod.name, order.container, was):
            if time.monotonic() > deadline:
                return  # the check whether it landed says so
            time.sleep(POLL_S)


# undo and checks: what the ledger names


def nothing_to_undo() -> None:
    """Do nothing: the kubelet starts the container again."""


def have_ended(*, place: dict[str, Any], namespace: str, container: str, was: dict[str, str]) -> Fact:
    """Tell whether each of the very containers has ended, and how."""
    with kubernetes.connect(place) as api:
        codes = {pod: _exit_code(api, namespace, pod, container, runtime) for pod, runtime in was.items()}
        alive = [
            pod for pod, runtime in was.items() if not _has_ended(api, namespace, pod, container, runtime)
        ]
    says = f"{container} still runs in {', '.join(alive)}" if alive else ""
    ended: list[Json] = [*sorted(code for code in codes.values() if code is not None)]
    measured: dict[str, Json] = {"containers": len(was) - len(alive), "exit_codes": ended}
    return Fact(holds=not alive, says=says, measured=measured)


def are_back(
    *, place: dict[str, Any], namespace: str, container: str, was: dict[str, str], by: float
) -> Fact:
    """Tell whether each container runs and is ready again, or its pod is gone; until *by* it still may."""
    with kubernetes.connect(place) as api:
        missing = [pod for pod in was if not _is_back(api, namespace, pod, container)]
    says = f"{container} is not ready again in {', '.join(missing)}" if missing else ""
    return Fact(holds=not missing, says=says, expected_by=by)


def _has_ended(api: Api, namespace: str, pod: str, container: str, was: str) -> bool:
    status = _status(api, namespace, pod, container)
    return status is None or status.get("containerID") != was or "running" not in status["state"]


def _is_back(api: Api, namespace: str, pod: str, container: str) -> bool:
    """Whether the container runs and is ready, be it another or one that was never killed."""
    status = _status(api, namespace, pod, container)
    return status is None or ("running" in status["state"] and bool(status.get("ready")))


def _exit_code(api: Api, namespace: str, pod: str, container: str, was: str) -> int | None:
    status = _status(api, namespace, pod, container) or {}
    for state in (status.get("state") or {}, status.get("lastState") or {}):
        ended = state.get("terminated") or {}
        if ended.get("containerID") == was:
            return int(ended["exitCode"])
    return None


def _status(api: Api, namespace: str, pod: str, container: str) -> dict[str, Any] | None:
    """Return what the kubelet says about the container; None where the pod is gone or ending."""
    try:
        found: Object = api.get(_path(namespace, pod))
    except NotThere:
        return None
    return None if pod_of(found).terminating else status_of(found, container)


def _path(namespace: str, pod: str) -> str:
    return f"/api/v1/namespaces/{namespace}/pods/{pod}"
