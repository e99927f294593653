"""How one pod is killed after the other, and what the ledger names to check it."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import structlog

from agent.clients import kubernetes, workloads
from agent.clients.kubernetes import Changed, Forbidden, KubernetesError, NotThere
from agent.clients.pods import pod_of
from agent.faults.cluster.pod_choice import too_few
from agent.model import DidNotLand, Fact, GamedayError, Refused
from agent.safety.door import go_on

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from agent.clients.kubernetes import Api, Object
    from agent.clients.pods import Pod
    from agent.faults.cluster.pod_choice import Floor, Target

log = structlog.get_logger()

POLL_S = 0.5
RACES_MAX = 5
"""So often a kill is tried again at once because the pod changed between the look and the order."""
BUDGET = "DisruptionBudget"


class PartlyKilled(GamedayError):
    """Some pods were killed, and then one was refused; what was killed is being replaced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """How to kill; see ``pods.kill`` for what each means."""

    by: str
    grace_period_s: int | None
    floor: Floor
    unready: bool
    wait_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """What one try came to: killed, or why not.

    ``final`` if waiting changes nothing, ``lost`` if the pod is no target any more, ``sent`` if an
    order may have been carried out, ``changed`` if the pod was not as it had been read.
    """

    killed: bool = False
    why: str = ""
    final: bool = False
    lost: bool = False
    sent: bool = False
    changed: bool = False


def kill_each(api: Api, victims: Sequence[Target], order: Order) -> None:
    """Kill *victims* in turn; each waits for its turn, up to ``wait_s``.

    Raises:
        Refused: The first one was refused.
        DidNotLand: The first one ended by somebody else's hand meanwhile.
        PartlyKilled: A later one was refused or ended by itself, or nobody knows what became of one.
    """
    for index, victim in enumerate(victims):
        go_on()
        told = kill_one(api, victim, order)
        if told.killed:
            log.info("pod_killed", pod=victim.pod.full_name, by=order.by)
            continue
        says = f"{victim.pod.full_name}: {told.why}"
        if told.sent:
            raise PartlyKilled(f"{index} of {len(victims)} pods were killed, and perhaps {says}")
        if index:
            raise PartlyKilled(f"{index} of {len(victims)} pods were killed, then {says}")
        if told.lost:
            raise DidNotLand(f"{says}; nothing was killed")
        raise Refused(f"{says}; nothing was killed")


def kill_one(api: Api, victim: Target, order: Order, *, meanwhile: Callable[[], None] = lambda: None) -> Try:
    """Try until the pod is killed, is gone, or the time to wait is over; *meanwhile* is called often."""
    deadline = time.monotonic() + order.wait_s
    sent, races = False, 0
    while True:
        meanwhile()
        told = _try(api, victim, order, sent=sent)
        sent = sent or told.sent
        if told.changed and races < RACES_MAX:
            races += 1
            continue
        if told.killed or told.final or time.monotonic() >= deadline:
            return replace(told, sent=sent)
        time.sleep(POLL_S)
        go_on()


def _try(api: Api, victim: Target, order: Order, *, sent: bool) -> Try:
    """Look once more, and kill if it may be; *sent* tells that an earlier order got no answer."""
    try:
        pod = _as_it_is(api, victim.pod)
        if pod is None or pod.terminating:
            return Try(
                killed=sent, final=True, lost=True, why="it is ending already, by somebody else's hand"
            )
        if not pod.ready and not order.unready:
            return Try(final=True, lost=True, why="it is not ready any more")
        if why := _minimum(api, victim, pod, order.floor):
            return Try(why=why)
        return _send(api, pod, order)
    except Forbidden as error:  # no right, or a webhook that denies
        says = f"the API server forbids it: {error}; docs/kubernetes.md lists the rights of each fault"
        return Try(final=True, why=says)
    except KubernetesError as error:
        if not error.passing:
            raise
        return Try(why=str(error))


def _as_it_is(api: Api, pod: Pod) -> Pod | None:
    """Return the very pod as it is now, None when it is gone or another one has its name."""
    try:
        found = pod_of(api.get(_path(pod.namespace, pod.name)))
    except NotThere:
        return None
    return found if found.uid == pod.uid else None


def _minimum(api: Api, victim: Target, pod: Pod, floor: Floor) -> str | None:
    """Count the owner's ready pods now, and return why it cannot spare this one."""
    if victim.owner is None:
        return None
    owner = workloads.read(api, victim.owner.kind, pod.namespace, victim.owner.name, uid=victim.owner.uid)
    if owner is None:
        return f"{victim.owner.full_name} is gone, so nothing would replace it"
    ready = workloads.ready_pods(api, owner)
    loses = any(each.uid == pod.uid for each in ready)
    return too_few(owner.full_name, ready=len(ready), wanted=owner.wanted, loses_ready=loses, floor=floor)


def _send(api: Api, pod: Pod, order: Order) -> Try:
    """Order the kill, on condition that the pod is still as it was just read.

    The precondition on ``resourceVersion`` makes one of two agents the loser.
    """
    conditions = {"uid": pod.uid, "resourceVersion": pod.version}
    options: Object = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": conditions}
    if order.grace_period_s is not None:
        options["gracePeriodSeconds"] = order.grace_period_s
    path = _path(pod.namespace, pod.name)
    try:
        if order.by == "delete":
            api.delete(path, options)
        else:
            meta = {"name": pod.name, "namespace": pod.namespace}
            body: Object = {
                "apiVersion": "policy/v1",
                "kind": "Eviction",
                "metadata": meta,
                "deleteOptions": options,
            }
            api.post(f"{path}/eviction", body)
    except (NotThere, Changed) as error:
        return Try(why=str(error), changed=True)  # the next look says what became of it
    except KubernetesError as error:
        if not error.passing:
            raise
        return Try(why=budget_of(error.body) or str(error), sent=not error.surely_undone)
    return Try(killed=True)


def budget_of(status: Mapping[str, Any]) -> str | None:
    """Return the sentence about the PodDisruptionBudget that a ``Status`` was refused for, None for others.

    Source: ``registry/core/pod/storage/eviction.go``, createTooManyRequestsError: the budget is named
    in the causes of ``details``, whose reason is ``DisruptionBudget``.
    """
    causes = (status.get("details") or {}).get("causes") or ()
    said = [str(each.get("message", "")).rstrip(".") for each in causes if each.get("reason") == BUDGET]
    return f"its PodDisruptionBudget forbids it: {'; '.join(said)}" if said else None


def _path(namespace: str, pod: str) -> str:
    return f"/api/v1/namespaces/{namespace}/pods/{pod}"


# undo and checks: what the ledger names


def nothing_to_undo() -> None:
    """Do nothing: a dead pod is not brought back but replaced, and that is its owner's work."""


def are_dying(*, place: dict[str, Any], namespace: str, victims: dict[str, str]) -> Fact:
    """Tell whether every one of the very pods is gone, or out of its Services and on its way."""
    with kubernetes.connect(place) as api:
        alive = [name for name, uid in victims.items() if lives(api, namespace, name, uid)]
    says = f"still alive: {', '.join(alive)}" if alive else ""
    return Fact(holds=not alive, says=says, measured={"pods": len(victims) - len(alive)})


def are_replaced(*, place: dict[str, Any], namespace: str, owners: list[dict[str, Any]], by: float) -> Fact:
    """Tell whether each owner has its ready pods again, or is gone; until *by* it may still come true."""
    with kubernetes.connect(place) as api:
        missing = [why for each in owners if (why := _short(api, namespace, each))]
    return Fact(holds=not missing, says="; ".join(missing), expected_by=by)


def lives(api: Api, namespace: str, name: str, uid: str) -> bool:
    """Whether the very pod is there and nobody has asked it to end."""
    try:
        pod = pod_of(api.get(_path(namespace, name)))
    except NotThere:
        return False
    return pod.uid == uid and not pod.terminating


def _short(api: Api, namespace: str, owner: Mapping[str, Any]) -> str | None:
    """Return how many ready pods *owner* lacks, in words; None when it has enough or is gone."""
    now = workloads.read(api, owner["kind"], namespace, owner["name"], uid=owner["uid"])
    if now is None:
        return None
    ready, needed = len(workloads.ready_pods(api, now)), min(owner["ready"], now.wanted)
    return None if ready >= needed else f"{now.full_name} has {ready} of {needed} pods ready again"
