"""Watches the Lease of a fault and puts back what the fault changed when nobody renews it any more.

Time is this process's own monotonic clock, counted from when it *saw* the Lease change: no clock is ever
compared with another one's, so none of them has to be right.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from agent.clients import kubernetes, rights
from agent.clients.kubernetes import KubernetesError, NotThere
from agent.model import GamedayError
from agent.restorer.restore import prove, restore

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping

    from agent.clients.kubernetes import Api, Object
    from agent.restorer.changes import Change
    from agent.restorer.orders import Order

log = structlog.get_logger()

POLL_S = 1.0
ASK_S = 3.0
BEAT_S = 3.0
"""So often a restorer says in the Lease that it is there."""
PREFIX = "gameday/"
"""A restorer's beats are an annotation of the Lease: this and the name of its pod."""
ENDED = "gameday/ended"
"""Annotation of the Lease: why the changes were put back by somebody else than the run itself."""


@dataclass(slots=True, kw_only=True)
class Silence:
    """How long nobody has renewed; *now* is monotonic seconds."""

    lease_s: float
    hard_end_s: float
    began: float
    heard: float
    renewed: str | None = None

    def saw(self, renewed: str | None, now: float) -> None:
        """Take in the Lease's ``renewTime``: any other one than before is a renewal, whatever it says."""
        if renewed != self.renewed:
            self.renewed, self.heard = renewed, now

    def due(self, now: float) -> str | None:
        """Return why it is time to put everything back, None while it is not."""
        if now - self.heard > self.lease_s:
            return f"nobody had renewed its lease for {now - self.heard:.1f} s"
        if now - self.began > self.hard_end_s:
            return f"it had lasted for {now - self.began:.1f} s"
        return None


def guard(order: Order, *, pod: str, stopped: threading.Event) -> int:
    """Prove that the changes could be put back, watch, put them back when it is time; return the exit code.

    Raises:
        GamedayError: They could not be put back, and waiting changes nothing about it.
    """
    _prove(order, stopped)
    why = _wait(order, pod, stopped)
    if why is None:
        log.info("restorer_left", pod=pod)  # its node is emptied: another one takes its place
        return 1
    _restore_all(order, why)
    return 0


def lease_path(namespace: str, name: str) -> str:
    """Return the path of a Lease."""
    return f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{name}"


def job_path(namespace: str, name: str) -> str:
    """Return the path of a Job."""
    return f"/apis/batch/v1/namespaces/{namespace}/jobs/{name}"


def _prove(order: Order, stopped: threading.Event) -> None:
    while not stopped.is_set():
        try:
            with kubernetes.connect() as api:
                rights.require(api, "watching over a fault", rights.OF_RESTORERS, order.namespace)
                for change in order.changes:
                    prove(api, change)
        except KubernetesError as error:
            if not error.passing:
                raise
            log.warning("not_proved", why=str(error))
            stopped.wait(POLL_S)
        else:
            return


def _wait(order: Order, pod: str, stopped: threading.Event) -> str | None:
    """Return why it is time; None if this process is to end although its Job goes on."""
    now = time.monotonic()
    silence = Silence(lease_s=order.lease_s, hard_end_s=order.hard_end_s, began=now, heard=now)
    beats, beaten = 0, float("-inf")
    while True:
        try:
            with kubernetes.connect() as api:
                if stopped.is_set():
                    return _job_ended(api, order)
                lease = api.get(lease_path(order.namespace, order.mark), timeout_s=ASK_S)
                silence.saw(lease["spec"].get("renewTime"), time.monotonic())
                if time.monotonic() - beaten >= BEAT_S:
                    beats, beaten = beats + 1, time.monotonic()
                    _annotate(api, order, {PREFIX + pod: str(beats)})
        except NotThere:
            return "its lease was taken away"
        except GamedayError as error:
            log.warning("not_looked", why=str(error))
        if why := silence.due(time.monotonic()):
            return why
        if stopped.wait(POLL_S):
            time.sleep(POLL_S / 5)  # a stopped one looks at its Job until the API server answers


def _job_ended(api: Api, order: Order) -> str | None:
    """Return that the Job is no more, None while it goes on and only this pod has to end."""
    try:
        found = api.get(job_path(order.namespace, order.mark), timeout_s=ASK_S)
    except NotThere:
        return "its Job was deleted"
    ending = "deletionTimestamp" in found["metadata"] or _has_failed(found)
    return "its Job was ended" if ending else None


def _has_failed(job: Object) -> bool:
    conditions = job.get("status", {}).get("conditions") or ()
    ended = ("FailureTarget", "Failed")
    return any(each["type"] in ended and each["status"] == "True" for each in conditions)


def _restore_all(order: Order, why: str) -> None:
    """Put everything back, however long that takes, and write down why."""
    told = [says for change in order.changes if (says := _restore(change, why))]
    if not told:
        return
    try:
        with kubernetes.connect() as api:
            _annotate(api, order, {ENDED: "; ".join([*told, why])})
    except GamedayError as error:
        log.warning("not_noted", why=str(error))


def _restore(change: Change, why: str) -> str | None:
    """Return what was done about one change; tried until it is done, since nobody else may be left."""
    while True:
        try:
            with kubernetes.connect() as api:
                outcome = restore(api, change)
        except GamedayError as error:
            log.warning("not_restored", object=change.name, why=str(error))
            time.sleep(POLL_S)
        else:
            log.info("restored", object=change.name, restored=outcome.restored, why=why, says=outcome.says)
            return f"{change.name} was put back by its dead man" if outcome.restored else outcome.says or None


def _annotate(api: Api, order: Order, notes: Mapping[str, str]) -> None:
    body: Object = {"metadata": {"annotations": dict(notes)}}
    api.patch(lease_path(order.namespace, order.mark), body, timeout_s=ASK_S)
