"""What the ledger calls of a fault inside pods: whether it landed and is gone, its beats, its undoing.

The process that holds the streams (see ``lifelines``) beats and is heard; everybody else can only
look, and take the rules out by a command.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import structlog

from agent.clients import kubernetes
from agent.clients.kubernetes import KubernetesError, NotThere, Unreachable
from agent.clients.kubernetes_errors import NotRunning
from agent.faults.inside import dose as pod_dose
from agent.faults.inside.injectors import container_of, state_of
from agent.faults.inside.lifelines import HELD, hear
from agent.injector.orders import HEAL, RENEW
from agent.model import Fact

if TYPE_CHECKING:
    from agent.clients.kubernetes import Api, Attached
    from agent.faults.inside.lifelines import Held

log = structlog.get_logger()

ANSWERED_WITHIN = 2 / 3
"""This share of a lease is waited for all answers to a beat: pods that are silent cost the others nothing."""
ENDS_WITHIN_S = 5.0
LAPSES_WITHIN_S = 1.0
"""After its lease: how late an injector, or the kernel, may end it."""
POLL_S = 0.1

_ended: dict[tuple[str, str], float] = {}
"""Table and pod -> when this process first saw that its injector had ended, monotonic."""
_healed: set[tuple[str, str]] = set()
"""Table and pod whose injector said itself, to this process, that it has taken everything out."""
_absent: set[tuple[str, str]] = set()
"""Table and pod of which the node said to this process that no such injector runs."""
_unreached: dict[tuple[str, str], tuple[float, str]] = {}
"""Table and pod -> since when nobody beats there and the pod's node answers nobody, and what that says."""


def landed(*, table: str) -> Fact:
    """Tell what the injectors said: that it is in, and what they measured of their own."""
    said = HELD[table].said
    return Fact(holds=bool(said), measured=pod_dose.merged(said))


def renew(*, table: str, lease_s: float) -> Fact:
    """Beat; *lease_s* was told to the injectors with the order."""
    held = HELD.get(table)
    if held is None:
        return Fact(holds=False, says="another process holds the streams")
    missed = []
    with held.lock:
        beaten = dict(held.streams)
        for pod, stream in list(beaten.items()):  # all before any answer, for the sake of the others
            try:
                stream.say(json.dumps(RENEW))
            except KubernetesError as error:
                held.lose(pod, str(error))
                missed.append(str(error))
                del beaten[pod]
        deadline = time.monotonic() + lease_s * ANSWERED_WITHIN
        for pod, stream in beaten.items():
            if why := _renewed(held, pod, stream, within_s=max(0.0, deadline - time.monotonic())):
                missed.append(why)
    return Fact(holds=not missed, says="; ".join(missed))


def _renewed(held: Held, pod: str, stream: Attached, *, within_s: float) -> str | None:
    """Return why a beat was not answered as it should be; None if it was."""
    try:
        answer = hear(stream, pod, within_s=within_s)
    except KubernetesError as error:
        held.lose(pod, str(error))
        return str(error)
    if answer["is"] != "renewed":
        held.streams.pop(pod).close()
        held.said[pod] = answer
        return f"{pod}: {answer.get('why') or answer}"
    if held.log is not None:
        held.log.append(pod, answer.get("arrivals") or ())
    return None


def remove(*, table: str, place: dict[str, Any], namespace: str, pods: dict[str, str]) -> Fact | None:
    """Tell the injectors to heal, or take their rules out by a command; return the dose if it is known."""
    held = HELD.get(table)
    if held is not None:
        _let_go(held, table)
    try:
        with kubernetes.connect(place) as api:
            ends = {pod: _end(api, namespace, pod, uid, table) for pod, uid in pods.items()}
    except KubernetesError as error:
        if held is not None and not (dose := pod_dose.dose(held.said, {})).holds:
            error.found = dose
        raise
    unreached = {pod: why for pod, why in ends.items() if why}
    if held is None:
        return Fact(holds=False, says="; ".join(unreached.values())) if unreached else None
    held.said |= {pod: {**held.said.get(pod, {}), "why": why} for pod, why in unreached.items()}
    del HELD[table]
    return pod_dose.dose(held.said, held.watch.stop() if held.watch else {})


def _let_go(held: Held, table: str) -> None:
    """Tell every injector that is still heard to heal, and end its stream, which heals as well."""
    held.over = True
    with held.lock:
        for pod, stream in list(held.streams.items()):
            try:
                stream.say(json.dumps(HEAL))
                held.said[pod] = answer = hear(stream, pod)
            except KubernetesError as error:
                held.lose(pod, str(error))
            else:
                held.streams.pop(pod).close()
                if answer.get("is") == "healed":
                    _healed.add((table, pod))


def gone(*, table: str, place: dict[str, Any], namespace: str, pods: dict[str, str], lease_s: float) -> Fact:
    """Tell whether every injector has ended, and, where it did not end well, its lease too."""
    with kubernetes.connect(place) as api:
        for pod, uid in pods.items():
            state = _look(api, namespace, pod, uid, table)
            if state is None:
                continue
            if (ended := state.get("terminated")) is None:
                fact = _unknown(table, namespace, pod, lease_s, told="running" in state)
                if fact is None:
                    continue
                return fact
            # Counted since we saw it: the time that the pod's node wrote down is another clock's.
            since = time.monotonic() - _ended.setdefault((table, pod), time.monotonic())
            if ended.get("exitCode") != 0 and since < lease_s:
                return Fact(holds=False, says=f"{namespace}/{pod}: waiting for the lease to end")
    return Fact(holds=True)


def _unknown(table: str, namespace: str, pod: str, lease_s: float, *, told: bool) -> Fact | None:
    """Tell of an injector that is not said to have ended; *told* is whether its kubelet says that it runs.

    None if it does not run all the same, or its node is lost, and its lease over since.
    """
    if not told and (table, pod) in _healed | _absent:
        return None
    known = f"the injector in {namespace}/{pod} {'still runs' if told else 'may run: its kubelet tells late'}"
    since, says = _unreached.get((table, pod), (None, known))
    if since is None:
        return Fact(holds=False, says=says)
    left_s = since + lease_s + LAPSES_WITHIN_S - time.monotonic()
    if left_s <= 0:
        return None
    return Fact(holds=False, says=f"{says}, {left_s:.0f} s from now", expected_by=time.time() + left_s)


def _end(api: Api, namespace: str, pod: str, uid: str, table: str) -> str | None:
    """Wait until the injector has ended; one that does not is left without its rules.

    Returns:
        What is to be told of it if it can only have ended by its lease, since its node answers nobody.

    Raises:
        KubernetesError: It could not be ended, and nobody knows whether it will end.
    """
    began = time.monotonic()
    known = (table, pod) in _unreached
    while True:
        state = _look(api, namespace, pod, uid, table)
        told = state is not None and "running" in state
        if state is None or "terminated" in state or (not told and (table, pod) in _healed):
            _unreached.pop((table, pod), None)
            return None
        if known or not told or time.monotonic() - began > ENDS_WITHIN_S:
            break  # it may run although its kubelet has not told so yet
        time.sleep(POLL_S)
    last = f"nft delete table inet {table} 2>/dev/null; kill -TERM 1"
    try:
        api.exec(namespace, pod, container_of(table), ["sh", "-c", last], timeout_s=ENDS_WITHIN_S)
    except Unreachable as error:
        log.info("node_unreachable", pod=f"{namespace}/{pod}", why=str(error))
        says = f"the node of {namespace}/{pod} answers nobody: it ends there with its lease, unseen"
        _unreached.setdefault((table, pod), (began, says))
        return says
    except NotRunning:
        _absent.add((table, pod))  # one that starts later finds nobody who orders anything, and ends
    except NotThere:
        return None
    _unreached.pop((table, pod), None)
    return None


def _look(api: Api, namespace: str, pod: str, uid: str, table: str) -> dict[str, Any] | None:
    """Return how the injector stands; None if it is not there, or has said itself that all is taken out.

    Raises:
        KubernetesError: The API server does not tell, and nobody else has.
    """
    try:
        return state_of(api, namespace, pod, uid, container_of(table))
    except KubernetesError as error:
        if (table, pod) not in _healed:
            raise
        log.info("healed_first_hand", pod=f"{namespace}/{pod}", why=str(error))
        return None
