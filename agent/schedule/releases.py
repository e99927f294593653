"""Runs experiments after the rollouts that they name: once each, settled, and by one agent only."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

import structlog

from agent.clients.kubernetes import connect
from agent.model import GamedayError
from agent.schedule import memory
from agent.schedule.follow import Follower, News
from agent.schedule.rollouts import Due, Rollout, Workload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from agent.catalog.experiment import Experiment

log = structlog.get_logger()


@dataclass(slots=True, kw_only=True)
class Waiting:
    """One experiment and one of the workloads it waits for; ``known`` once the memory has begun."""

    experiment: Experiment
    due: Due
    known: bool = False


@dataclass(slots=True)
class Releases:
    """Who waits for which rollout; :meth:`turn` is called every second or two.

    *start* is given the experiment and the rollout, and must return at once.
    """

    start: Callable[[Experiment, Rollout], None]
    _waiting: dict[tuple[Workload, Path], Waiting] = field(default_factory=dict)
    _followers: dict[tuple[str, str], Follower] = field(default_factory=dict)
    _news: SimpleQueue[News] = field(default_factory=SimpleQueue)
    _latest: dict[Workload, Rollout | None] = field(default_factory=dict)
    _over: threading.Event = field(default_factory=threading.Event)

    def take(self, experiment: Experiment) -> None:
        """Wait for the rollouts that *experiment* names, instead of those it named before."""
        self.drop(experiment.path)
        after = experiment.allowance.after
        if after is None:
            return
        for text in after.workloads:
            workload = Workload.parse(text, after.namespace)
            waiting = Waiting(experiment=experiment, due=Due(after=after))
            self._waiting[workload, experiment.path] = waiting
            if workload in self._latest:
                waiting.due.see(self._latest[workload], time.monotonic())
            self._follow(workload)
            log.info("experiment_awaits_rollouts", file=str(experiment.path), workload=str(workload))

    def drop(self, path: Path) -> None:
        """Wait no longer for what the file at *path* named."""
        for key in [key for key in self._waiting if key[1] == path]:
            del self._waiting[key]

    def turn(self) -> None:
        """Take in what came meanwhile and start what is due."""
        now = time.monotonic()
        for news in self._drained():
            self._latest[news.workload] = news.rollout
            for (workload, _), waiting in self._waiting.items():
                if workload == news.workload:
                    waiting.due.see(news.rollout, now)
        try:
            self._claim(now)
        except GamedayError as error:
            log.warning("rollout_not_claimed", why=str(error))  # it stays due, and the next turn tries again

    def end(self) -> None:
        """Let go of every watch."""
        self._over.set()

    def _claim(self, now: float) -> None:
        fresh = [each for each in self._waiting.items() if self._latest.get(each[0][0])]
        if not any(not waiting.known or waiting.due.ready(now) for _, waiting in fresh):
            return
        with connect() as api:
            for (workload, _), waiting in fresh:
                latest = self._latest[workload]
                title = waiting.experiment.title
                if not waiting.known and latest is not None:
                    memory.begin(api, title, latest)
                    waiting.known = True
                if ready := waiting.due.ready(now):
                    mine = memory.claim(api, title, ready) and not ready.undoing
                    waiting.due.settled(started=now if mine else None)
                    if mine:
                        log.info("rollout_finished", workload=str(workload), revision=ready.revision)
                        self.start(waiting.experiment, ready)

    def _follow(self, workload: Workload) -> None:
        place = (workload.namespace, workload.kind)
        if place not in self._followers:
            self._followers[place] = Follower(
                *place, wanted=lambda: self._names(*place), news=self._news, over=self._over
            )
            self._followers[place].start()

    def _names(self, namespace: str, kind: str) -> set[str]:
        return {
            each.name for each, _ in list(self._waiting) if (each.namespace, each.kind) == (namespace, kind)
        }

    def _drained(self) -> Iterable[News]:
        while True:
            try:
                yield self._news.get_nowait()
            except Empty:
                return
