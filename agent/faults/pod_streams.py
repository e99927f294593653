"""The streams to the injectors in pods: opened and held by the process that injects, undone by any.

The process that holds a stream is the fault's lifeline: when it dies the API server closes the stream
and the injector heals.  Everybody else can only look, and take the rules out by a command.
"""

from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from agent.clients import kubernetes
from agent.clients.kubernetes import KubernetesError, NotThere, Unreachable
from agent.clients.kubernetes_errors import PASSING
from agent.faults import pod_dose
from agent.faults.kubernetes_rights import INSIDE, Right, missing
from agent.faults.pod_clocks import Exchange
from agent.faults.pod_injectors import NoInjector, add, await_running, container_of, state_of
from agent.injector.orders import HEAL, RENEW, peers
from agent.model import Fact, Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from agent.clients.kubernetes import Api, Attached
    from agent.faults.packet_scope import Network
    from agent.faults.pod_injectors import Kit
    from agent.injector.orders import Order
    from agent.model import Json

log = structlog.get_logger()

ANSWERS_WITHIN_S = 5.0
BEATS_EVERY = 1 / 3
"""This share of a lease."""
ATTACH_PAUSES_S = (0.2, 0.5)
ANSWERED_WITHIN = 2 / 3
"""This share of a lease is waited for all answers to a beat: pods that are silent cost the others nothing."""
CARRIED_OUT_WITHIN_S = 15.0
"""A delay of a second, or a volume that is filled, takes a while to be seen."""
ENDS_WITHIN_S = 5.0
LAPSES_WITHIN_S = 1.0
"""After its lease: how late an injector, or the kernel, may end it."""
POLL_S = 0.1
READ = Right(resource="pods", verb="get")


@dataclass(slots=True)
class Held:
    """The streams of one injection, by pod."""

    streams: dict[str, Attached] = field(default_factory=dict)
    said: dict[str, dict[str, Any]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    log: pod_dose.ArrivalLog | None = None
    watch: Watch | None = None
    over: bool = False
    """Whether it is being taken out; what was said is kept until that has come to its end."""

    def lose(self, pod: str, why: str) -> None:
        """Let go of the stream to *pod*, which ends the fault there; the dose tells *why*."""
        self.streams.pop(pod).close()
        ended = f"its lease was not renewed ({why}), so its dead man ended it"
        self.said[pod] = {**self.said.get(pod, {}), "why": ended}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What an injector says to a line, and the four moments of the exchange."""

    says: Mapping[str, Any]
    exchange: Exchange


class Watch(Protocol):
    """Looks after pods that are replaced or added; see ``pod_follow``."""

    def stop(self) -> dict[str, Json]:
        """Look no more; return what became of the pods meanwhile."""


_held: dict[str, Held] = {}
"""What this process holds, by the name of the injection's nftables table."""
_ended: dict[tuple[str, str], float] = {}
"""Table and pod -> when this process first saw that its injector had ended, monotonic."""
_healed: set[tuple[str, str]] = set()
"""Table and pod whose injector said itself, to this process, that it has taken everything out."""
_unreached: dict[tuple[str, str], tuple[float, str]] = {}
"""Table and pod -> since when nobody beats there and the pod's node answers nobody, and what that says."""


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
        add(api, namespace, pod, uid, name=name, kit=kit)
    with _beating(table, min(order.lease_s for order in orders.values())):
        for pod, uid in pods.items():
            await_running(api, namespace, pod, uid, name, wanted)
            stream = _attached(api, namespace, pod, name)
            try:
                held.said[pod] = _give(stream, pod, orders[pod])
            except BaseException:
                stream.close()  # which heals
                raise
            held.streams[pod] = stream  # only now: from here on somebody else may beat


@contextmanager
def _beating(table: str, lease_s: float) -> Iterator[None]:
    """Renew the leases of the pods that are in meanwhile: the lifeline begins when all of them are."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(lease_s * BEATS_EVERY):
            renew(table=table, lease_s=lease_s)

    beating = threading.Thread(target=beat, name="first-beats", daemon=True)
    beating.start()
    try:
        yield
    finally:
        over.set()
        beating.join()


@contextmanager
def ordered(api: Api, namespace: str, pod: str, uid: str, *, order: Order, kit: Kit) -> Iterator[None]:
    """Have *order* carried out in *pod*, and the injector alive meanwhile; nothing is renewed.

    Raises:
        NoInjector: It did not come up or refused.
        KubernetesError: The API server said no.
    """
    name = container_of(order.table)
    add(api, namespace, pod, uid, name=name, kit=kit)
    await_running(api, namespace, pod, uid, name, lambda: True)
    stream = _attached(api, namespace, pod, name)
    try:
        _give(stream, pod, order)
        yield
    finally:
        stream.close()


def _attached(api: Api, namespace: str, pod: str, container: str) -> Attached:
    """Open the stream; a passing refusal is asked again, as nothing has read from the container yet."""
    for pause in (*ATTACH_PAUSES_S, None):
        try:
            return api.attach(namespace, pod, container, timeout_s=ANSWERS_WITHIN_S)
        except KubernetesError as error:
            if pause is None or error.status not in PASSING or isinstance(error, Unreachable):
                raise
            time.sleep(pause)
    raise AssertionError


def watched_by(table: str, watch: Watch) -> None:
    """Have *watch* stopped when *table* is removed."""
    if table in _held:
        _held[table].watch = watch


def is_held(table: str) -> bool:
    """Whether this process holds the streams of *table*."""
    return table in _held and not _held[table].over


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
            except KubernetesError as error:
                held.lose(pod, str(error))


def ask_all(table: str, line: Mapping[str, Json]) -> dict[str, Answered]:
    """Say *line* to every injector of *table* and return what each says to it, by pod; see :func:`ask`."""
    held = _held.get(table)
    return {pod: ask(table, line, pod=pod) for pod in (list(held.said) if held else [""])}


def ask(table: str, line: Mapping[str, Json], *, pod: str) -> Answered:
    """Say *line* to the injector of *table* in *pod* and return what it says to it.

    Raises:
        NoInjector: Another process holds the streams, or the injector has ended.
        KubernetesError: It does not answer; it is let go of, and heals.
    """
    held = _held.get(table)
    if held is None or held.over:
        raise NoInjector("nobody in this process holds the streams")
    with held.lock:
        if pod not in held.streams:
            why = held.said.get(pod, {}).get("why") or "its stream has ended"
            raise NoInjector(f"the injector in {pod} is gone: {why}")
        return _ask(held, pod, held.streams[pod], line)


def _ask(held: Held, pod: str, stream: Attached, line: Mapping[str, Json]) -> Answered:
    asked = time.monotonic()
    try:
        stream.say(json.dumps(line))
        answer = _hear(stream, pod)
    except KubernetesError as error:
        held.lose(pod, str(error))
        raise
    answered = time.monotonic()
    if "heard" not in answer:
        why = str(answer.get("says") or answer.get("why") or answer)
        held.lose(pod, why)
        raise NoInjector(f"{pod}: {why}")
    times = Exchange(asked=asked, heard=answer["heard"], told=answer["told"], answered=answered)
    return Answered(says=answer, exchange=times)


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
        answer = _hear(stream, pod, within_s=within_s)
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
    held = _held.get(table)
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
    del _held[table]
    return pod_dose.dose(held.said, held.watch.stop() if held.watch else {})


def _let_go(held: Held, table: str) -> None:
    """Tell every injector that is still heard to heal, and end its stream, which heals as well."""
    held.over = True
    with held.lock:
        for pod, stream in list(held.streams.items()):
            try:
                stream.say(json.dumps(HEAL))
                held.said[pod] = answer = _hear(stream, pod)
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
            if "running" in state:
                if (fact := _unknown(table, namespace, pod, lease_s)) is None:
                    continue
                return fact
            ended = state.get("terminated")
            # Counted since we saw it: the time that the pod's node wrote down is another clock's.
            since = time.monotonic() - _ended.setdefault((table, pod), time.monotonic()) if ended else 0.0
            if ended and ended.get("exitCode") != 0 and since < lease_s:
                return Fact(holds=False, says=f"{namespace}/{pod}: waiting for the lease to end")
    return Fact(holds=True)


def _unknown(table: str, namespace: str, pod: str, lease_s: float) -> Fact | None:
    """Tell of an injector that is listed as running; None if its node is lost, and its lease over since."""
    since, says = _unreached.get((table, pod), (None, f"the injector in {namespace}/{pod} still runs"))
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
        if state is None or "running" not in state:
            _unreached.pop((table, pod), None)
            return None  # one that starts later finds nobody who orders anything, and ends
        if known or time.monotonic() - began > ENDS_WITHIN_S:
            break
        time.sleep(POLL_S)
    last = f"nft delete table inet {table} 2>/dev/null; kill -TERM 1"
    try:
        api.exec(namespace, pod, container_of(table), ["sh", "-c", last], timeout_s=ENDS_WITHIN_S)
    except Unreachable as error:
        log.info("node_unreachable", pod=f"{namespace}/{pod}", why=str(error))
        says = f"the node of {namespace}/{pod} answers nobody: it ends there with its lease, unseen"
        _unreached.setdefault((table, pod), (began, says))
        return says
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


def _hear(stream: Attached, pod: str, *, within_s: float = ANSWERS_WITHIN_S) -> dict[str, Any]:
    line = stream.hear(timeout_s=within_s)
    try:
        found: dict[str, Any] = json.loads(line)
    except ValueError:
        raise NoInjector(f"the injector in {pod} says {line!r}") from None
    return found
