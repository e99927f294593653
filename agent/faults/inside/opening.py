"""Injectors are put into pods, the streams to them opened, and their orders given."""

from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from agent.clients.kubernetes import KubernetesError, NotThere, Unreachable
from agent.clients.kubernetes_errors import PASSING, NotRunning
from agent.faults.cluster.rights import INSIDE, Right, missing
from agent.faults.inside.dose import ArrivalLog
from agent.faults.inside.injectors import NoInjector, add, container_of, delayed_by
from agent.faults.inside.lifelines import ANSWERS_WITHIN_S, HELD, Held, hear
from agent.faults.inside.streams import renew
from agent.model import Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from agent.clients.kubernetes import Api, Attached
    from agent.faults.inside.injectors import Kit
    from agent.injector.orders import Order

BEATS_EVERY = 1 / 3
"""This share of a lease."""
RUNS_WITHIN_S = 30.0
"""An image that is on the node runs within half a second; one that has to be pulled takes longer."""
POLL_S, SOON_S, LATER_S = 0.05, 2.0, 0.25
ATTACH_PAUSES_S = (0.2, 0.5)
CARRIED_OUT_WITHIN_S = 15.0
"""A delay of a second, or a volume that is filled, takes a while to be seen."""
READ = Right(resource="pods", verb="get")


def check_rights(api: Api, namespace: str) -> None:
    """Ask for every right beforehand, because the first of them already changes the pod.

    Raises:
        Refused: One is missing.
    """
    if lacking := missing(api, (READ, *INSIDE), namespace):
        what = ", ".join(lacking)
        raise Refused(f"in namespace {namespace} the right is missing: {what}; nothing was touched")


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
    held = HELD.setdefault(table, Held(log=None if log is None else ArrivalLog(log)))
    name = container_of(table)
    for pod, uid in pods.items():
        add(api, namespace, pod, uid, name=name, kit=kit)
    with _beating(table, min(order.lease_s for order in orders.values())):
        for pod, uid in pods.items():
            stream, held.said[pod] = _opened(api, namespace, pod, uid, orders[pod], wanted)
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
    add(api, namespace, pod, uid, name=container_of(order.table), kit=kit)
    stream, _ = _opened(api, namespace, pod, uid, order, lambda: True)
    try:
        yield
    finally:
        stream.close()


def _opened(
    api: Api, namespace: str, pod: str, uid: str, order: Order, wanted: Callable[[], bool]
) -> tuple[Attached, dict[str, Any]]:
    """Return the stream to the injector in the very pod, and what it said to *order*.

    The kubelet tells up to a second late that a container runs (it looks once a second), so nobody waits for
    its word: the stream is tried until somebody hears.  Gives up when it is not *wanted* any more.

    Raises:
        NoInjector: It does not run, refused, or the pod is gone.
        KubernetesError: The API server said no.
    """
    container, why = container_of(order.table), "nobody wants it any more"
    began = time.monotonic()
    while wanted() and time.monotonic() - began < RUNS_WITHIN_S:
        with suppress(NotRunning, NotThere):  # what is the matter is seen by a look at the pod
            return _tried(api, namespace, pod, order)
        why = delayed_by(api, namespace, pod, uid, container)
        time.sleep(POLL_S if time.monotonic() - began < SOON_S else LATER_S)
    raise NoInjector(f"the injector in {namespace}/{pod} does not run: {why}")


def _tried(api: Api, namespace: str, pod: str, order: Order) -> tuple[Attached, dict[str, Any]]:
    stream = _attached(api, namespace, pod, container_of(order.table))
    try:
        return stream, _give(stream, pod, order)
    except BaseException:
        stream.close()  # which heals
        raise


def _attached(api: Api, namespace: str, pod: str, container: str) -> Attached:
    """Open the stream; a passing refusal is asked again, as nothing has read from the container yet.

    That it is open does not mean that there is somebody at its other end.
    """
    for pause in (*ATTACH_PAUSES_S, None):
        try:
            return api.attach(namespace, pod, container, timeout_s=ANSWERS_WITHIN_S)
        except KubernetesError as error:
            if pause is None or error.status not in PASSING or isinstance(error, (NotRunning, Unreachable)):
                raise
            time.sleep(pause)
    raise AssertionError


def _give(stream: Attached, pod: str, order: Order) -> dict[str, Any]:
    """Return what the injector says once *order* is carried out.

    Raises:
        NoInjector: It refused.
    """
    stream.say(json.dumps(order.to_json()))
    answer = hear(stream, pod, within_s=CARRIED_OUT_WITHIN_S)
    if answer["is"] != "in":
        raise NoInjector(f"{pod}: {answer.get('says') or answer}")
    return answer
