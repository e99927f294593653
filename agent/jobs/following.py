"""Follows a run in its Job from outside, until its report is there or it is dead; mends and tells nothing."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any

import structlog

from agent.clients import jobs
from agent.clients.kubernetes import NotThere, connect
from agent.jobs import words
from agent.model import GamedayError, Mark
from agent.safety.copies import copies

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from agent.clients.kubernetes import Api, Object
    from agent.jobs.place import JobPlace
    from agent.run import Stop

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a run in a Job ended: ``parts`` names its report, and ``why`` is what became of it without one.

    ``annotations`` are the Job's last ones that were seen; without *known* there may have been more.
    A *suspended* Job does not end by itself, and so is not deleted by itself.  *refused* is a run that began
    nothing and could not even send that word.
    """

    annotations: Mapping[str, str]
    parts: str | None = None
    why: str = ""
    known: bool = True
    suspended: bool = False
    refused: bool = False


@dataclass(slots=True)
class Following:
    """One run in its Job; :meth:`until_it_ends` is all there is to it.

    *halted* tells why everything is to stop, None while it is not; *beat* says that this process
    answers for the run; *tell* is told of marks and injections as they are seen.
    """

    run: str
    place: JobPlace
    stop: Stop
    halted: Callable[[], str | None]
    beat: Callable[[], None]
    tell: Callable[[object], None]
    _annotations: Mapping[str, str] = field(default_factory=dict)
    _looked_at: float = field(default_factory=time.monotonic)
    _heard_at: float = field(default_factory=time.monotonic)
    _beaten_at: float = float("-inf")
    _asked: bool = False
    _shown: set[str] = field(default_factory=set)

    def until_it_ends(self) -> Ended:
        """Look every second; ask it to end when that is due; give it up when its Job must have ended it."""
        deadline = time.monotonic() + max(words.GRACE_S, self.place.ends_by - time.time())
        was_asked = False
        while True:
            if ended := self.look_once():
                return ended
            if time.monotonic() > deadline:
                return self._ended("nobody could tell what became of its Job in time", known=False)
            if was_asked:
                time.sleep(words.LOOK_EVERY_S)
            elif wait([self.stop.fileno()], words.LOOK_EVERY_S):
                was_asked = True
                deadline = min(deadline, time.monotonic() + words.GRACE_S + words.FENCE_S)

    def look_once(self) -> Ended | None:
        """Return how it ended if it has; None also while nobody can tell."""
        try:
            if time.monotonic() - self._beaten_at > words.BEAT_EVERY_S:
                self._beaten_at = time.monotonic()
                self.beat()
            with connect(self.place.cluster) as api:
                found = api.get(self.place.path)
                return self._take(api, found)
        except NotThere:
            return self._ended("its Job was deleted", known=False)
        except GamedayError as error:  # the cluster or our own store: neither ends the run
            log.warning("job_unseen", job=self.place.name, why=str(error))
            self._heard_at += time.monotonic() - self._looked_at  # who cannot look cannot call it silent
        finally:
            self._looked_at = time.monotonic()
        return None

    def _take(self, api: Api, found: Object) -> Ended | None:
        had, self._annotations = self._annotations, found["metadata"].get("annotations") or {}
        if had.get(words.BEAT) != self._annotations.get(words.BEAT):
            self._heard_at = time.monotonic()
        self._show(had)
        if parts := self._annotations.get(words.PARTS):
            return Ended(annotations=self._annotations, parts=parts)
        if jobs.is_over(found):
            why, refused = _death(api, self.place)
            return Ended(annotations=self._annotations, why=why, refused=refused)
        if found["spec"].get("suspend"):
            began = words.BEAT in self._annotations
            says = "its former parent gave it up" if began else "it was never begun"
            return self._ended(says, suspended=True)
        return self._lost(api)

    def _lost(self, api: Api) -> Ended | None:
        """Ask the run to end where that is due, and give it up when it does not say a word any more."""
        silent_s = time.monotonic() - self._heard_at
        began = words.BEAT in self._annotations
        if why := self._due(silent_s, began=began):
            self._ask(api, why)
        if began and silent_s > words.SILENCE_S + words.FENCE_S:
            self._suspend(api)
            says = f"nothing was heard from its pod for {silent_s:.0f} s; did its node die?"
            return self._ended(says, suspended=True)
        if not began and (silent_s > words.START_WITHIN_S or self._asked):
            return self._call_back(api, f"its pod had not begun after {silent_s:.0f} s")
        return None

    def _call_back(self, api: Api, says: str) -> Ended:
        """End the pod that has not begun; should it just have, wait until it is gone, and look once more."""
        why = _waits(api, self.place)
        self._suspend(api)
        deadline = time.monotonic() + words.GRACE_S
        while any(_runs(pod) for pod in _pods(api, self.place)) and time.monotonic() < deadline:
            time.sleep(words.LOOK_EVERY_S)
        self._annotations = api.get(self.place.path)["metadata"].get("annotations") or {}
        if parts := self._annotations.get(words.PARTS):
            return Ended(annotations=self._annotations, parts=parts, suspended=True)
        return self._ended(f"{says}: {why}", suspended=True)

    def _suspend(self, api: Api) -> None:
        """End the pod, and keep the Job and what stands on it."""
        api.patch(self.place.path, {"spec": {"suspend": True}})

    def _due(self, silent_s: float, *, began: bool) -> str | None:
        if why := self.stop.why:
            return why
        if (reason := self.halted()) is not None:
            return f"Halted ({reason})"
        if began and silent_s > words.SILENCE_S:
            return f"Its parent had not heard of it for {silent_s:.0f} s"
        return None

    def _ask(self, api: Api, why: str) -> None:
        if not self._asked:
            api.patch(self.place.path, {"metadata": {"annotations": {words.STOP: why}}})
            self._asked = True

    def _show(self, had: Mapping[str, str]) -> None:
        phase = self._annotations.get(words.PHASE)
        if phase and phase != had.get(words.PHASE):
            self.tell(Mark(at=time.time(), kind=phase))
        for injection in copies(self._annotations, run=self.run, place=self.place.cluster).injections:
            if injection.id not in self._shown:
                self._shown.add(injection.id)
                self.tell(injection)

    def _ended(self, why: str, *, known: bool = True, suspended: bool = False) -> Ended:
        return Ended(annotations=self._annotations, why=why, known=known, suspended=suspended)


def _death(api: Api, place: JobPlace) -> tuple[str, bool]:
    """Return how the pod of a Job that is over ended, in words, and whether it had begun nothing."""
    for pod in _pods(api, place):
        for each in pod["status"].get("containerStatuses") or ():
            if ended := each["state"].get("terminated"):
                code, said = ended["exitCode"], ended.get("message", "").strip()
                if code == words.REFUSED and said:
                    return said, True
                reason = ended.get("reason", "Error")
                return f"its pod ended without a report ({reason}, exit code {code})", False
        return f"its pod {pod['metadata']['name']} is {pod['status'].get('phase')} without a report", False
    return "its pod was taken away", False


def _waits(api: Api, place: JobPlace) -> str:
    """Return what the pod of a Job waits for, in words."""
    for pod in _pods(api, place):
        for each in pod["status"].get("containerStatuses") or ():
            if waiting := each["state"].get("waiting"):
                return f"{waiting.get('reason')} {waiting.get('message', '')}".strip()
        for each in pod["status"].get("conditions") or ():
            if each["status"] == "False" and each.get("message"):
                return str(each["message"])
    return "no pod of it was seen"


def _runs(pod: Mapping[str, Any]) -> bool:
    """Whether a container of *pod* runs, as far as the kubelet has told."""
    return any("running" in each["state"] for each in pod["status"].get("containerStatuses") or ())


def _pods(api: Api, place: JobPlace) -> list[dict[str, Any]]:
    selector = f"batch.kubernetes.io/job-name={place.name}"
    return list(api.items(f"/api/v1/namespaces/{place.namespace}/pods", selector=selector))
