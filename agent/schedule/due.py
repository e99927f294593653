"""When an experiment is due, so that several agents mean the same moment and one of them can claim it."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.triggers.cron import CronTrigger

if TYPE_CHECKING:
    from datetime import datetime

    from agent.catalog.experiment import Schedule


class SharedCron(CronTrigger):  # type: ignore[misc]  # apscheduler is untyped
    """A cron trigger whose jitter follows from the title and the moment, not from chance.

    Chance would make each agent mean another moment, and the claims of two would never meet.
    """

    title = ""

    def _apply_jitter(self, next_fire_time: datetime | None, jitter: float | None, _: datetime) -> Any:
        if next_fire_time is None or not jitter:
            return next_fire_time
        return next_fire_time + timedelta(seconds=jitter * _share(self.title, next_fire_time))


def trigger_of(due: Schedule, title: str) -> SharedCron:
    """Return the trigger for the experiment called *title*."""
    trigger: SharedCron = SharedCron.from_crontab(due.cron, timezone=ZoneInfo(due.timezone))
    trigger.jitter = due.jitter_s or None
    trigger.title = title
    return trigger


class DueExecutor(ThreadPoolExecutor):  # type: ignore[misc]  # apscheduler is untyped
    """Threads that carry out jobs, and which moment each job was due; a job may wait for its turn."""

    def __init__(self, at_once: int) -> None:
        super().__init__(at_once)
        self.due: dict[str, float] = {}

    def _do_submit_job(self, job: Any, run_times: list[datetime]) -> None:
        self.due[job.id] = round(run_times[-1].timestamp(), 3)
        super()._do_submit_job(job, run_times)


def _share(title: str, moment: datetime) -> float:
    """Return a number in [0, 1) that looks random and is not."""
    told = hashlib.sha256(f"{title}\n{moment.timestamp():.0f}".encode()).digest()
    return int.from_bytes(told[:6]) / 2**48
