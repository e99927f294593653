"""The streams to the injectors in pods: opened and held by the process that injects, undone by any.

The process that holds a stream is the fault's lifeline: when it dies the API server closes the stream
and the injector heals.  Everybody else can only look, and take the rules out by a command.
"""

from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from agent.clients import kubernetes
from agent.clients.kubernetes import KubernetesError, NotThere
from agent.faults import pod_dose
from agent.faults.kubernetes_rights import INSIDE, Right, missing
from agent.injector.orders import HEAL, RENEW, peers
from agent.model import Fact, Refused, Unsupported

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from agent.clients.kubernetes import Api, Attached
    from agent.faults.packet_scope import Network
    from agent.injector.orders import Order
    from agent.model import Json

RUNS_WITHIN_S = 30.0
"""An image that is on the node runs within a second; one that has to be pulled takes longer."""
ANSWERS_WITHIN_S = 5.0
CARRIED_OUT_WITHIN_S = 15.0
"""A delay of a second, or a volume that is filled, takes a while to be seen."""
ENDS_WITHIN_S = 5.0
POLL_S = 0.1
READ = Right(resource="pods", verb="get")
HOPELESS = frozenset({"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName"})


class NoInjector(KubernetesError):
    """The injector did not come up in a pod, or did not do what it was told to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kit:
    """What the ephemeral container of an injector needs beside the image."""

    image: str
    capabilities: tuple[str, ...]
    mounts: tuple[tuple[str, str], ...] = ()
    """Volumes of the pod by name, and where the injector sees each."""
    target: str | None = None
    """The container whose processes the injector sees."""


@dataclass(slots=True)
class Held:
    """The streams of one injection, by pod."""

    streams: dict[str, Attached] = field(default_factory=dict)
    said: dict[str, dict[str, Any]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    log: pod_dose.ArrivalLog | None = None
    watch: Watch | None = None


class Watch(Protocol):
    """Looks after pods that are replaced or added; see ``pod_follow``."""

    def stop(self) -> dict[str, Json]:
        """Look no more; return what became of the pods meanwhile."""


_held: dict[str, Held] = {}
"""What this process holds, by the name of the injection's nftables table."""
_ended: dict[tuple[str, str], float] = {}
"""Table and pod -> when this process first saw that its injector had ended, monotonic."""


def begin(
    api: Api,
    namespace: str,
    pods: Mapping[str, str],
    *,
    orders: Mapping[str, Order],
    kit: Kit,
    log: Path | None = None,
    wanted: Callable[[], bool] = lambda: True,
) -> None:
    """Start an injector in each of *pods* (name -> uid) and give it its order; all are of one table.

    What comes over a proxy in a pod is appended to *log*.  Gives up when it is not *wanted* any more.

    Raises:
        NoInjector: One did not come up or refused; the caller heals the others.
        KubernetesError: The API server said no.
    """
    table = next(iter(orders.values())).table
    held = _held.setdefault(table, Held(log=None if log is None else pod_dose.ArrivalLog(log)))
    name = container_of(table)
    for pod, uid in pods.items():
        _add(api, namespace, pod, uid, container=_container(name, kit))
    for pod in pods:
        _await_running(api, namespace, pod, name, wanted)
        stream = api.attach(namespace, pod, name, timeout_s=ANSWERS_WITHIN_S)
        try:
            held.said[pod] = _give(stream, pod, orders[pod])
        except BaseException:
            stream.close()  # which heals
            raise
        held.streams[pod] = stream  # only now: from here on the lifeline's thread may beat


@contextmanager
def ordered(api: Api, namespace: str, pod: str, uid: str, *, order: Order, kit: Kit) -> Iterator[None]:
    """Have *order* carried out in *pod*, and the injector alive meanwhile; nothing is renewed.

    Raises:
        NoInjector: It did not come up or refused.
        KubernetesError: The API server said no.
    """
    name = container_of(order.table)
    _add(api, namespace, pod, uid, container=_container(name, kit))
    _await_running(api, namespace, pod, name, lambda: True)
    stream = api.attach(namespace, pod, name, timeout_s=ANSWERS_WITHIN_S)
    try:
        _give(stream, pod, order)
        yield
    finally:
        stream.close()


def watched_by(table: str, watch: Watch) -> None:
    """Have *watch* stopped when *table* is removed."""
    if table in _held:
        _held[table].watch = watch


def is_held(table: str) -> bool:
    """Whether this process holds the streams of *table*."""
    return table in _held


def change(table: str, networks: Sequence[Network]) -> None:
    """Tell the injectors of *table* who the peers are by now; one that does not answer is let go of."""
    held = _held.get(table)
    if held is None:
        return
    with held.lock:
        for pod, stream in list(held.streams.items()):
            try:
                stream.say(json.dumps(peers(networks)))
                _hear(stream, pod)
            except KubernetesError:
                held.streams.pop(pod).close()


def _give(stream: Attached, pod: str, order: Order) -> dict[str, Any]:
    """Return what the injector says once *order* is carried out.

    Raises:
        NoInjector: It refused.
    """
    stream.say(json.dumps(order.to_json()))
    answer = _hear(stream, pod, within_s=CARRIED_OUT_WITHIN_S)
    if answer["is"] != "in":
        raise NoInjector(f"{pod}: {answer.get('says') or answer}")
    return answer


def check_rights(api: Api, namespace: str) -> None:
    """Ask for every right beforehand, because the first of them already changes the pod.

    Raises:
        Refused: One is missing.
    """
    if lacking := missing(api, (READ, *INSIDE), namespace):
        what = ", ".join(lacking)
        raise Refused(f"in namespace {namespace} the right is missing: {what}; nothing was touched")


def container_of(table: str) -> str:
    """Return the name of the ephemeral container that holds nftables table *table*."""
    return table.replace("_", "-")[:40]


def landed(*, table: str) -> Fact:
    """Tell what the injectors said: that it is in, and what they measured of their own."""
    said = _held[table].said
    return Fact(holds=bool(said), measured=pod_dose.merged(said))


def renew(*, table: str, lease_s: float) -> Fact:
    """Beat; *lease_s* was told to the injectors with the order."""
    held = _held.get(table)
    if held is None:
        return Fact(holds=False, says="another process holds the streams")
    missed = []
    with held.lock:
        beaten = dict(held.streams)
        for pod, stream in list(
            beaten.items()
        ):  # all before any answer: one that hangs must not cost the others
            try:
                stream.say(json.dumps(RENEW))
            except KubernetesError as error:
                held.streams.pop(pod).close()
                missed.append(str(error))
                del beaten[pod]
        for pod, stream in beaten.items():
            if why := _renewed(held, pod, stream, within_s=lease_s):
                held.streams.pop(pod).close()
                missed.append(why)
    return Fact(holds=not missed, says="; ".join(missed))


def _renewed(held: Held, pod: str, stream: Attached, *, within_s: float) -> str | None:
    """Return why a beat was not answered as it should be; None if it was."""
    try:
        answer = _hear(stream, pod, within_s=within_s)
    except KubernetesError as error:
        return str(error)
    if answer["is"] != "renewed":
        held.said[pod] = answer
        return f"{pod}: {answer.get('why') or answer}"
    if held.log is not None:
        held.log.append(pod, answer.get("arrivals") or ())
    return None


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
    if held is None:
        return None
    return pod_dose.dose(held.said, held.watch.stop() if held.watch else {})


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
            # Counted since we saw it: the time that the pod's node wrote down is another clock's.
            since = time.monotonic() - _ended.setdefault((table, pod), time.monotonic()) if ended else 0.0
            if ended and ended.get("exitCode") != 0 and since < lease_s:
                return Fact(holds=False, says=f"{namespace}/{pod}: waiting for the lease to end")
    return Fact(holds=True)


def _container(name: str, kit: Kit) -> dict[str, Any]:
    return {
        **({"targetContainerName": kit.target} if kit.target else {}),
        "name": name,
        "image": kit.image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-m", "agent.injector"],
        "stdin": True,
        "stdinOnce": True,
        "volumeMounts": [{"name": volume, "mountPath": path} for volume, path in kit.mounts],
        "securityContext": {
            "runAsUser": 0,
            "runAsNonRoot": False,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"], "add": list(kit.capabilities)},
        },
    }


def _add(api: Api, namespace: str, pod: str, uid: str, *, container: dict[str, Any]) -> None:
    found = api.get(f"/api/v1/namespaces/{namespace}/pods/{pod}")
    others = found["spec"].get("ephemeralContainers") or []
    body = {"metadata": {"uid": uid}, "spec": {"ephemeralContainers": [*others, container]}}
    try:
        api.patch(f"/api/v1/namespaces/{namespace}/pods/{pod}/ephemeralcontainers", body)
    except kubernetes.Forbidden as error:
        wanted = ", ".join(container["securityContext"]["capabilities"]["add"]) or "no capability"
        raise Unsupported(f"unsupported: no container with {wanted} may be put there: {error}") from error


def _await_running(api: Api, namespace: str, pod: str, container: str, wanted: Callable[[], bool]) -> None:
    deadline, last = time.monotonic() + RUNS_WITHIN_S, "no word from the kubelet"
    while time.monotonic() < deadline and wanted():
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
    last = f"nft delete table inet {table} 2>/dev/null; kill -TERM 1"
    api.exec(namespace, pod, container_of(table), ["sh", "-c", last])


def _hear(stream: Attached, pod: str, *, within_s: float = ANSWERS_WITHIN_S) -> dict[str, Any]:
    line = stream.hear(timeout_s=within_s)
    try:
        found: dict[str, Any] = json.loads(line)
    except ValueError:
        raise NoInjector(f"the injector in {pod} says {line!r}") from None
    return found
