"""``gameday serve``: experiments on the schedule, and after the rollouts, that each file names."""

from __future__ import annotations

import select
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import structlog
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.cron import CronTrigger

from agent.catalog.problem import InvalidExperiment
from agent.catalog.read import discover, read
from agent.model import GamedayError, Verdict
from agent.safety.context import run_folder
from agent.schedule.releases import Releases
from agent.schedule.undo import undo_and_file

if TYPE_CHECKING:
    from pathlib import Path

    from agent.catalog.experiment import Experiment
    from agent.compose import Agent
    from agent.model import RunRecord
    from agent.schedule.rollouts import Rollout
    from agent.stop import StopRequest

log = structlog.get_logger()

LOOK_FOR_FILES_EVERY_S = 2.0
MISSED_AFTER_S = 30
"""A run that could not start for this long is missed, and missed runs are not caught up."""


@dataclass(slots=True)
class Calendar:
    """The files of a folder as jobs; :meth:`refresh` follows what was added, changed or taken away."""

    agent: Agent
    folder: Path
    stop: StopRequest
    scheduler: BackgroundScheduler
    releases: Releases = field(init=False)
    _seen: dict[Path, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.releases = Releases(self._start_after)

    def refresh(self) -> None:
        """Take over the folder as it is now; a broken file is told and stops no other."""
        try:
            found = {path: path.stat().st_mtime for path in discover([self.folder])}
        except (InvalidExperiment, OSError) as error:
            log.error("experiments_unreadable", folder=str(self.folder), why=str(error))
            return
        for path in self._seen.keys() - found.keys():
            self._drop(path)
        for path, changed in found.items():
            if self._seen.get(path) != changed:
                self._take(path)
        self._seen = found

    def _take(self, path: Path) -> None:
        try:
            experiment = read(path, environ=self.agent.environ)
        except InvalidExperiment as error:
            self._drop(path)
            log.error("experiment_refused", file=str(path), why=[str(each) for each in error.errors])
            return
        self.releases.take(experiment)
        due = experiment.allowance.schedule
        if due is None:
            self._unschedule(path)
            return
        trigger = CronTrigger.from_crontab(due.cron, timezone=ZoneInfo(due.timezone))
        trigger.jitter = due.jitter_s or None
        self.scheduler.add_job(
            self._run,
            trigger,
            args=[experiment],
            id=str(path),
            replace_existing=True,
            misfire_grace_time=MISSED_AFTER_S,
            coalesce=True,
            max_instances=1,
        )
        log.info("experiment_scheduled", file=str(path), cron=due.cron, timezone=due.timezone)

    def _drop(self, path: Path) -> None:
        self.releases.drop(path)
        self._unschedule(path)

    def _unschedule(self, path: Path) -> None:
        if self.scheduler.get_job(str(path)):
            self.scheduler.remove_job(str(path))
            log.info("experiment_unscheduled", file=str(path))

    def _start_after(self, experiment: Experiment, rollout: Rollout) -> None:
        """Have the run after *rollout* wait for its turn among the others."""
        self.scheduler.add_job(
            self._run_after,
            args=[experiment, rollout],
            id=f"{experiment.path} after {rollout.id}",
            replace_existing=True,
            misfire_grace_time=None,  # it was claimed, so nobody else will run it
        )

    def _run_after(self, experiment: Experiment, rollout: Rollout) -> None:
        after = experiment.allowance.after
        record = self._run(experiment, because=rollout.because)
        if record and after and after.rollback and record.verdict is Verdict.DEVIATED:
            undo_and_file(rollout, run=record.run, folder=run_folder(self.agent.settings.home, record.run))

    def _run(self, experiment: Experiment, *, because: str = "on its schedule") -> RunRecord | None:
        if self.stop.why is not None:
            return None
        try:
            record = self.agent.run(experiment, stop=self.stop, because=because)
        except GamedayError as error:
            log.error("run_failed", file=str(experiment.path), why=str(error))
            return None
        log.info(
            "run_ended", run=record.run, title=record.title, verdict=record.verdict, reason=record.reason
        )
        return record


def serve(agent: Agent, folder: Path, *, stop: StopRequest, at_once: int) -> None:
    """Run what is due until *stop*; a run that is going on then ends healed and with a report."""
    scheduler = BackgroundScheduler(executors={"default": ThreadPoolExecutor(at_once)}, timezone="UTC")
    calendar = Calendar(agent, folder, stop, scheduler)
    calendar.refresh()
    scheduler.start()
    log.info("serving", folder=str(folder), jobs=len(scheduler.get_jobs()))
    try:
        while not select.select([stop], [], [], LOOK_FOR_FILES_EVERY_S)[0]:
            calendar.refresh()
            calendar.releases.turn()
    finally:
        calendar.releases.end()
        scheduler.shutdown(wait=True)
        log.info("stopped", why=stop.why)
