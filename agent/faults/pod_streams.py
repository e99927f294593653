"""The streams to the injectors in pods: opened and held by the process that injects, undone by any.

The process that holds a stream is the fault's lifeline: when it dies the API server closes the stream
and the injector heals.  Everybody else can only look, and take the rules out by a command.
"""

from __future__ import annotations

import json
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from agent.clients import kubernetes
from agent.clients.kubernetes import KubernetesError, NotThere
from agent.faults.kubernetes_rights import INSIDE
from agent.injector.orders import HEAL, RENEW
from agent.model import Fact, Refused, Unsupported

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.clients.kubernetes import Api, Attached
    from agent.injector.orders import Cut
    from agent.model import Json

RUNS_WITHIN_S = 30.0
"""An image that is on the node runs within a second; one that has to be pulled takes longer."""
ANSWERS_WITHIN_S = 5.0
ENDS_WITHIN_S = 5.0
POLL_S = 0.1
HOPELESS = frozenset({"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName"})


class NoInjector(KubernetesError):
    """The injector did not come up in a pod, or did not do what it was told to."""


@dataclass(slots=True)
class Held:
    """The streams of one injection, by pod."""

    streams: dict[str, Attached] = field(default_factory=dict)
    said: dict[str, dict[str, Any]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)


_held: dict[str, Held] = {}
"""What this process holds, by the name of the injection's nftables table."""


def begin(api: Api, namespace: str, pods: Mapping[str, str], *, order: Cut, image: str) -> None:
    """Start an injector in each of *pods* (name -> uid) and give it *order*.

    Raises:
        NoInjector: One did not come up or refused; the caller heals the others.
        KubernetesError: The API server said no.
    """
    held = _held.setdefault(order.table, Held())
    name = container_of(order.table)
    for pod, uid in pods.items():
        _add(api, namespace, pod, uid, container=_container(name, image))
    for pod in pods:
        _await_running(api, namespace, pod, name)
        stream = api.attach(namespace, pod, name, timeout_s=ANSWERS_WITHIN_S)
        try:
            held.said[pod] = _give(stream, pod, order)
        except BaseException:
            stream.close()  # which heals
            raise
        held.streams[pod] = stream  # only now: from here on the lifeline's thread may beat


def _give(stream: Attached, pod: str, order: Cut) -> dict[str, Any]:
    """Return what the injector says once *order* is carried out.

    Raises:
        NoInjector: It refused.
    """
    stream.say(json.dumps(order.to_json()))
    answer = _hear(stream, pod)
    if answer["is"] != "in":
        raise NoInjector(f"{pod}: {answer.get('says') or answer}")
    return answer


def check_rights(api: Api, namespace: str) -> None:
    """Ask for every right beforehand, because the first of them already changes the pod.

    Raises:
        Refused: One is missing.
    """
    for right in INSIDE:
        wanted = {"namespace": namespace, "resource": right.resource, "subresource": right.subresource}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {**wanted, "verb": right.verb}},
        }
        answer = api.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review)
        if not answer["status"].get("allowed"):
            raise Refused(f"in namespace {namespace} the right is missing: {right.rule}; nothing was touched")


def container_of(table: str) -> str:
    """Return the name of the ephemeral container that holds nftables table *table*."""
    return table.replace("_", "-")[:40]


def landed(*, table: str) -> Fact:
    """Tell what the injectors said: the kernel holds the fault, and drops a packet of theirs."""
    said = _held[table].said
    own = {pod: answer["measured"].get("own_packet", "not tried") for pod, answer in said.items()}
    return Fact(holds=bool(said), measured={"own_packet": own})


def renew(*, table: str, lease_s: float) -> Fact:
    """Beat; *lease_s* was told to the injectors with the order."""
    held = _held.get(table)
    if held is None:
        return Fact(holds=False, says="another process holds the streams")
    with held.lock:
        for pod, stream in list(held.streams.items()):
            try:
                stream.say(json.dumps(RENEW))
                answer = _hear(stream, pod, within_s=lease_s)
            except KubernetesError as error:
                held.streams.pop(pod).close()
                return Fact(holds=False, says=str(error))
            if answer["is"] != "renewed":
                held.said[pod] = answer
                held.streams.pop(pod).close()
                return Fact(holds=False, says=f"{pod}: {answer.get('why') or answer}")
    return Fact(holds=True)


def remove(*, table: str, place: dict[str, Any], namespace: str, pods: dict[str, str]) -> Fact | None:
    """Tell the injectors to heal, or take their rules out by a command; return the dose if it is known."""
    held = _held.pop(table, None)
    if held is not None:
        with held.lock:
            for pod, stream in held.streams.items():
                with suppress(KubernetesError):
                    stream.say(json.dumps(HEAL))
                    held.said[pod] = _hear(stream, pod)
                stream.close()
    with kubernetes.connect(place) as api:
        for pod, uid in pods.items():
            _end(api, namespace, pod, uid, table)
    return None if held is None else _dose(held)


def gone(*, table: str, place: dict[str, Any], namespace: str, pods: dict[str, str], lease_s: float) -> Fact:
    """Tell whether every injector has ended, and, where it did not end well, its lease too."""
    with kubernetes.connect(place) as api:
        for pod, uid in pods.items():
            state = _state(api, namespace, pod, uid, container_of(table))
            if state is None:
                continue
            if "running" in state:
                return Fact(holds=False, says=f"the injector in {namespace}/{pod} still runs")
            ended = state.get("terminated")
            if ended and ended.get("exitCode") != 0 and time.time() - _seconds(ended["finishedAt"]) < lease_s:
                return Fact(holds=False, says=f"{namespace}/{pod}: waiting for the lease to end")
    return Fact(holds=True)


def _container(name: str, image: str) -> dict[str, Json]:
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-m", "agent.injector"],
        "stdin": True,
        "stdinOnce": True,
        "securityContext": {
            "runAsUser": 0,
            "runAsNonRoot": False,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]},
        },
    }


def _add(api: Api, namespace: str, pod: str, uid: str, *, container: dict[str, Json]) -> None:
    found = api.get(f"/api/v1/namespaces/{namespace}/pods/{pod}")
    others = found["spec"].get("ephemeralContainers") or []
    body = {"metadata": {"uid": uid}, "spec": {"ephemeralContainers": [*others, container]}}
    try:
        api.patch(f"/api/v1/namespaces/{namespace}/pods/{pod}/ephemeralcontainers", body)
    except kubernetes.Forbidden as error:
        raise Unsupported(f"unsupported: no container with NET_ADMIN may be put there: {error}") from error


def _await_running(api: Api, namespace: str, pod: str, container: str) -> None:
    deadline, last = time.monotonic() + RUNS_WITHIN_S, "no word from the kubelet"
    while time.monotonic() < deadline:
        state = _state(api, namespace, pod, None, container) or {}
        if "running" in state:
            return
        if "terminated" in state:
            raise NoInjector(f"the injector in {namespace}/{pod} ended at once: {state['terminated']}")
        waiting = state.get("waiting") or {}
        last = f"{waiting.get('reason', last)} {waiting.get('message', '')}".strip()
        if waiting.get("reason") in HOPELESS:
            break
        time.sleep(POLL_S)
    raise NoInjector(f"the injector in {namespace}/{pod} does not run: {last}")


def _state(api: Api, namespace: str, pod: str, uid: str | None, container: str) -> dict[str, Any] | None:
    """Return the state of *container*, empty before its first one; None if it or its pod is not there."""
    try:
        found = api.get(f"/api/v1/namespaces/{namespace}/pods/{pod}")
    except NotThere:
        return None
    if uid is not None and found["metadata"]["uid"] != uid:
        return None
    wanted = [each["name"] for each in found["spec"].get("ephemeralContainers") or ()]
    for each in found["status"].get("ephemeralContainerStatuses") or ():
        if each["name"] == container:
            return dict(each["state"])
    return {} if container in wanted else None


def _end(api: Api, namespace: str, pod: str, uid: str, table: str) -> None:
    """Wait until the injector has ended; one that does not is left without its rules."""
    deadline = time.monotonic() + ENDS_WITHIN_S
    while True:
        state = _state(api, namespace, pod, uid, container_of(table))
        if state is None or "running" not in state:
            return  # one that starts later finds nobody who orders anything, and ends
        if time.monotonic() > deadline:
            break
        time.sleep(POLL_S)
    api.exec(namespace, pod, container_of(table), ["nft", "delete", "table", "inet", table])


def _hear(stream: Attached, pod: str, *, within_s: float = ANSWERS_WITHIN_S) -> dict[str, Any]:
    line = stream.hear(timeout_s=within_s)
    try:
        found: dict[str, Any] = json.loads(line)
    except ValueError:
        raise NoInjector(f"the injector in {pod} says {line!r}") from None
    return found


def _dose(held: Held) -> Fact:
    met = sum(said["measured"].get("packets_met", 0) for said in held.said.values() if "measured" in said)
    dropped = sum(s["measured"].get("packets_dropped", 0) for s in held.said.values() if "measured" in s)
    why = {
        pod: said["why"] for pod, said in held.said.items() if said.get("why") not in (None, "it was told to")
    }
    says = "met no traffic" if not met else ""
    if why:
        says = "ended before it was healed: " + "; ".join(f"{pod}: {reason}" for pod, reason in why.items())
    return Fact(holds=not says, says=says, measured={"packets_met": met, "packets_dropped": dropped})


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()
