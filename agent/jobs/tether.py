"""The pod's tie to its Job: it beats there, and ends the run when the Job says so or is no more.

A thread that nothing of the healing depends on: when it ends the run, the run heals as for a signal.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import structlog

from agent.clients import jobs
from agent.clients.kubernetes import NotThere, connect
from agent.jobs import words
from agent.model import GamedayError, Mark

if TYPE_CHECKING:
    from agent.clients.kubernetes import Api
    from agent.stop import StopRequest

log = structlog.get_logger()

ASK_S = 3.0
CONNECTED_S = 60.0
"""A connection is made anew after so long: the token in its file may have been renewed."""


class Tether:
    """Ties this process to the Job at *namespace*, *name* and *uid*, until it ends."""

    def __init__(self, namespace: str, name: str, uid: str, *, stop: StopRequest) -> None:
        self._path, self._name, self._uid = jobs.path_of(namespace, name), name, uid
        self._stop = stop
        self._phase, self._told = "starting", ""
        self._beats, self._beaten_at = 0, -words.BEAT_EVERY_S
        self._heard_at = time.monotonic()
        self._thread = threading.Thread(target=self._hold, name="tether", daemon=True)

    def start(self) -> None:
        """Look for the first time, so that nothing begins that is to end already; then go on by itself."""
        while self._stop.why is None:
            try:
                with connect() as api:
                    self._look(api)
                break
            except NotThere:
                self._stop.ask("Its Job was deleted")
            except GamedayError as error:
                self._note_silence(error)
                time.sleep(words.LOOK_EVERY_S)
        self._thread.start()

    def observe(self, _: object, event: object) -> None:
        """Follow the run's phases."""
        if isinstance(event, Mark):
            self._phase = event.kind

    def _hold(self) -> None:
        while True:
            try:
                with connect() as api:
                    until = time.monotonic() + CONNECTED_S
                    while time.monotonic() < until:
                        self._look(api)
                        time.sleep(words.LOOK_EVERY_S)
            except NotThere:
                self._stop.ask("Its Job was deleted")
            except GamedayError as error:
                self._note_silence(error)
            time.sleep(words.LOOK_EVERY_S)

    def _note_silence(self, error: GamedayError) -> None:
        silent_s = time.monotonic() - self._heard_at
        log.warning("job_unreadable", job=self._name, silent_s=round(silent_s, 1), why=str(error))
        if silent_s > words.PATIENCE_S:
            says = f"Its Job could not be read for {silent_s:.0f} s, so nobody could have stopped it"
            self._stop.ask(says)

    def _look(self, api: Api) -> None:
        meta = api.get(self._path, timeout_s=ASK_S)["metadata"]
        self._heard_at = time.monotonic()
        if meta["uid"] != self._uid or "deletionTimestamp" in meta:
            self._stop.ask("Its Job was deleted")
        if why := meta.get("annotations", {}).get(words.STOP):
            self._stop.ask(why)
        if self._phase != self._told or time.monotonic() - self._beaten_at >= words.BEAT_EVERY_S:
            self._beat(api)

    def _beat(self, api: Api) -> None:
        self._told, self._beaten_at = self._phase, time.monotonic()
        self._beats += 1
        told = {words.BEAT: str(self._beats), words.PHASE: self._told}
        api.patch(self._path, {"metadata": {"uid": self._uid, "annotations": told}}, timeout_s=ASK_S)
