"""Follows workloads in the cluster: one watch for each kind in a namespace, begun anew when it ends."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog

from agent.clients import rights
from agent.clients.kubernetes import KubernetesError, connect
from agent.clients.kubernetes_errors import GONE
from agent.model import GamedayError
from agent.schedule.rollouts import KINDS, Rollout, Workload, read_rollout

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from queue import SimpleQueue

log = structlog.get_logger()

WATCH_S = 240.0
"""A watch is asked to end after so long, so that a connection that died in silence is noticed."""
SHORT_S = 1.0
"""Who closes a watch sooner than that does it again: the next one waits a moment."""
PAUSES_S = (1.0, 2.0, 5.0, 10.0, 30.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """How a workload stands now; ``rollout`` is None when it is not there."""

    workload: Workload
    rollout: Rollout | None


class Follower(threading.Thread):
    """Puts :class:`News` about the workloads of *kind* in *namespace* that ``wanted`` names into a queue.

    A daemon thread that nothing depends on for safety; it ends with *over*, or with the process.
    """

    def __init__(
        self,
        namespace: str,
        kind: str,
        *,
        wanted: Callable[[], Collection[str]],
        news: SimpleQueue[News],
        over: threading.Event,
    ) -> None:
        super().__init__(name=f"follow-{namespace}-{kind}", daemon=True)
        self._namespace, self._kind = namespace, kind
        self._path = f"/apis/apps/v1/namespaces/{namespace}/{KINDS[kind]}"
        self._wanted, self._news, self._over = wanted, news, over

    def run(self) -> None:
        """List, watch, and begin again, until it is over."""
        failures = 0
        while not self._over.is_set():
            try:
                with connect() as api:  # anew each time: the token may have been renewed
                    self._check(api)
                    since = self._list(api)
                    failures, began = 0, time.monotonic()
                    self._watch(api, since)
                if time.monotonic() - began < SHORT_S:
                    self._over.wait(PAUSES_S[0])
            except GamedayError as error:
                pause = PAUSES_S[min(failures, len(PAUSES_S) - 1)]
                failures += 1
                log.warning("rollouts_unseen", namespace=self._namespace, kind=self._kind, why=str(error))
                self._over.wait(pause)

    def _check(self, api: Any) -> None:
        """Refuse to see half of it: who may not watch, or not write down what was seen, runs nothing.

        Raises:
            Refused: A right is missing.
        """
        plural = KINDS[self._kind]
        needed = (*rights.of_rollouts(plural), *rights.OF_MEMORIES)
        rights.require(
            api, f"following {plural}", needed, self._namespace, so="nothing is run after rollouts"
        )

    def _list(self, api: Any) -> str:
        """Tell how everything wanted stands now, and return since when to watch."""
        found = api.get(self._path)
        there = {each["metadata"]["name"]: each for each in found["items"]}
        for name in self._wanted():
            self._tell(name, there.get(name))
        return str(found["metadata"]["resourceVersion"])

    def _watch(self, api: Any, since: str) -> None:
        """Tell of every change after *since*, until the watch ends or that past is no longer kept."""
        try:
            for event in api.watch(self._path, since=since, timeout_s=WATCH_S):
                self._take(event)
                if self._over.is_set():
                    return
        except KubernetesError as error:
            if error.status != GONE:
                raise
            log.info("watch_expired", namespace=self._namespace, kind=self._kind, why=str(error))

    def _take(self, event: dict[str, Any]) -> None:
        found = event["object"]
        if event["type"] == "ERROR":
            raise KubernetesError(f"watch {self._path}: {found.get('message')}", status=found.get("code"))
        if event["type"] != "BOOKMARK" and (name := found["metadata"]["name"]) in self._wanted():
            self._tell(name, None if event["type"] == "DELETED" else found)

    def _tell(self, name: str, found: dict[str, Any] | None) -> None:
        workload = Workload(kind=self._kind, namespace=self._namespace, name=name)
        rollout = None if found is None else read_rollout(workload, found)
        self._news.put(News(workload=workload, rollout=rollout))
