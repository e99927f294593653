"""``gameday serve``: experiments on the schedule, and after the rollouts, that each file names."""

from __future__ import annotations

import hashlib
import logging
import select
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

from agent.catalog.problem import InvalidExperiment
from agent.catalog.read import discover, read
from agent.execution.spawn import fork_server_in_use
from agent.jobs.adopting import adopt, orphans
from agent.model import GamedayError, Verdict
from agent.safety.context import run_folder
from agent.schedule.due import DueExecutor, trigger_of
from agent.schedule.pulse import Pulse, listening
from agent.schedule.releases import Releases
from agent.schedule.undo import undo_and_file
from agent.store import StoreUnavailable

if TYPE_CHECKING:
    from pathlib import Path

    from agent.catalog.experiment import Experiment
    from agent.compose import Agent
    from agent.model import RunRecord
    from agent.schedule.rollouts import Rollout
    from agent.stop import StopRequest
    from agent.store import RunRow

log = structlog.get_logger()

LOOK_FOR_FILES_EVERY_S = 2.0
MISSED_AFTER_S = 30
"""A run that could not start for this long is missed, and missed runs are not caught up."""
READ_AGAIN_AFTER_S = 60.0
"""A file that was refused is read again: what it imports may have come up slowly, or be there by now."""
RECOVER_EVERY_S = 15
"""What another agent left behind is found so soon after it is known to be dead."""
MENDING = "mending"


@dataclass(slots=True)
class Calendar:
    """The files of a folder as jobs; :meth:`refresh` follows what was added, changed or taken away."""

    agent: Agent
    folder: Path
    stop: StopRequest
    scheduler: BackgroundScheduler
    executor: DueExecutor
    pulse: Pulse = field(default_factory=Pulse)
    releases: Releases = field(init=False)
    _seen: dict[Path, float] = field(default_factory=dict)
    _content: dict[Path, str] = field(default_factory=dict)
    _refused: dict[Path, tuple[float, list[str]]] = field(default_factory=dict)
    """When a file was refused last, and why."""

    def __post_init__(self) -> None:
        self.releases = Releases(self._start_after)

    def refresh(self) -> None:
        """Take over the folder as it is now; a broken file is told and stops no other."""
        try:
            found = {path: path.stat().st_mtime for path in discover([self.folder])}
        except (InvalidExperiment, OSError) as error:
            self.pulse.experiments_why = f"{self.folder} cannot be read: {error}"
            log.error("experiments_unreadable", folder=str(self.folder), why=str(error))
            return
        for path in self._seen.keys() - found.keys():
            self._drop(path)
            self._content.pop(path, None)
            self._refused.pop(path, None)
            self.pulse.forget(path)
        for path, changed in found.items():
            self.pulse.turn()
            if (self._seen.get(path) != changed and self._is_new(path)) or self._is_worth_a_try(path):
                self._take(path)
        self._seen = found
        self.pulse.experiments_why = None

    def _is_new(self, path: Path) -> bool:
        """Whether the file says anything else; with one key of a ConfigMap all its files are written anew."""
        try:
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError:
            return True  # reading it as an experiment says why
        known, self._content[path] = self._content.get(path), content
        return content != known

    def _is_worth_a_try(self, path: Path) -> bool:
        """Whether the file was refused a while ago."""
        return path in self._refused and time.monotonic() - self._refused[path][0] > READ_AGAIN_AFTER_S

    def _take(self, path: Path) -> None:
        try:
            experiment = read(path, environ=self.agent.environ)
        except InvalidExperiment as error:
            self._drop(path)
            self.pulse.refused(path)
            why = [str(each) for each in error.errors]
            _, told = self._refused.get(path, (0.0, None))
            self._refused[path] = (time.monotonic(), why)
            if why != told:
                log.error("experiment_refused", file=str(path), why=why)
            return
        self._refused.pop(path, None)
        self.pulse.took(path)
        self.releases.take(experiment)
        due = experiment.allowance.schedule
        if due is None:
            self._unschedule(path)
            return
        self.scheduler.add_job(
            self._run_due,
            trigger_of(due, experiment.title),
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

    def _run_due(self, experiment: Experiment) -> None:
        """Run *experiment* on its schedule, unless another agent has it."""
        due = self.executor.due[str(experiment.path)]
        try:
            mine = self.agent.claim(f"schedule: {experiment.title}", due)
        except StoreUnavailable as error:
            log.error("run_not_claimed", file=str(experiment.path), why=str(error))
            return
        if mine:
            self._run(experiment)
        else:
            log.info("run_is_another_agents", file=str(experiment.path))

    def _start_after(self, experiment: Experiment, rollout: Rollout) -> None:
        """Have the run after *rollout* wait for its turn among the others."""
        self.scheduler.add_job(
            self._run_after,
            args=[experiment, rollout],
            id=f"{experiment.path} after {rollout.id}",
            replace_existing=True,
            misfire_grace_time=None,  # it was claimed, so nobody else will run it
        )

    def mend(self) -> None:
        """Do what has to be done for the runs of agents that died."""
        self.agent.recover()
        self.adopt()

    def adopt(self) -> None:
        """Answer for the runs in Jobs whose parent died; nobody waits for their turn, they go on already."""
        for row in orphans(self.agent.store):
            follower = threading.Thread(target=self._follow, args=[row], name=f"adopted-{row.id}")
            follower.start()

    def _follow(self, row: RunRow) -> None:
        try:
            record = adopt(self.agent.store, row, stop=self.stop, halted=self.agent.halted)
        except GamedayError as error:
            log.error("run_failed", run=row.id, why=str(error))
            return
        if record is not None:
            _tell(record)

    def _run_after(self, experiment: Experiment, rollout: Rollout) -> None:
        after = experiment.allowance.after
        record = self._run(experiment, because=rollout.because)
        if record and after and after.rollback and record.verdict is Verdict.DEVIATED:
            undo_and_file(rollout, run=record.run, folder=run_folder(self.agent.settings.home, record.run))

    def _run(self, experiment: Experiment, *, because: str = "on its schedule") -> RunRecord | None:
        if self.stop.why is not None:
            return None
        try:
            with fork_server_in_use():
                record = self.agent.run(experiment, stop=self.stop, because=because)
        except GamedayError as error:
            log.error("run_failed", file=str(experiment.path), why=str(error))
            return None
        self.pulse.ran(record)
        _tell(record)
        return record


def _tell(record: RunRecord) -> None:
    log.info("run_ended", run=record.run, title=record.title, verdict=record.verdict, reason=record.reason)


def serve(agent: Agent, folder: Path, *, stop: StopRequest, at_once: int) -> None:
    """Run what is due until *stop*; a run that is going on then ends healed and with a report."""
    logging.getLogger("apscheduler").setLevel(logging.WARNING)  # what it does, our own events tell
    executor = DueExecutor(at_once)
    executors = {"default": executor, MENDING: ThreadPoolExecutor(1)}
    scheduler = BackgroundScheduler(executors=executors, timezone="UTC")
    calendar = Calendar(agent, folder, stop, scheduler, executor)
    with ExitStack() as ending:
        ending.callback(lambda: log.info("stopped", why=stop.why))
        if agent.settings.listen:
            ending.enter_context(listening(agent.settings.listen, calendar.pulse, agent.store))
        calendar.refresh()
        calendar.adopt()
        scheduler.start()
        ending.callback(scheduler.shutdown, wait=True)
        ending.callback(calendar.releases.end)
        log.info("serving", folder=str(folder), jobs=len(scheduler.get_jobs()))
        scheduler.add_job(
            calendar.mend, "interval", seconds=RECOVER_EVERY_S, executor=MENDING, id=MENDING, coalesce=True
        )
        while not select.select([stop], [], [], LOOK_FOR_FILES_EVERY_S)[0]:
            calendar.refresh()
            calendar.releases.turn()
            calendar.pulse.turn()
        calendar.pulse.ending = True
