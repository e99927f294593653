"""Follows a run in a Job to its end: one that was just sent out, or one whose parent died."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from agent import __version__
from agent.clients.kubernetes import connect
from agent.jobs import words
from agent.jobs.following import Following
from agent.jobs.place import read_place
from agent.jobs.taking_in import take_in
from agent.model import GamedayError, RunRecord
from agent.safety import owner
from agent.safety.context import run_folder
from agent.stop import StopRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from agent.jobs.following import Ended
    from agent.jobs.place import JobPlace
    from agent.run import Stop
    from agent.store import RunRow, Store

log = structlog.get_logger()


def lives_in_a_job(home: Path, row: RunRow) -> bool:
    """Whether *row* is a run that was sent out to a Job, so that its parent's death is not its own."""
    return row.ended_at is None and read_place(run_folder(home, row.id)) is not None


def follow(
    store: Store,
    record: RunRecord,
    place: JobPlace,
    *,
    stop: Stop,
    halted: Callable[[], str | None],
    observe: Callable[[RunRecord, object], None] = lambda _record, _event: None,
) -> RunRecord:
    """Follow the run of *record* to its end and return its finished, filed record.

    *stop* and what *halted* says reach it through its Job.
    """
    following = Following(
        run=record.run,
        place=place,
        stop=stop,
        halted=halted,
        beat=lambda: store.beat(record.run),
        tell=lambda event: observe(record, event),
    )
    ended = following.until_it_ends()
    return take_in(store, record, place, ended, run_folder(store.home, record.run))


def orphans(store: Store) -> Iterator[RunRow]:
    """Yield the runs in Jobs that nobody answers for any more."""
    for row in store.runs(open_only=True):
        if not owner.is_alive(row) and lives_in_a_job(store.home, row):
            yield row


def take_in_what_ended(store: Store) -> None:
    """Take in every orphan whose Job has ended; those that go on are left to ``gameday serve``.

    Never raises for the cluster's sake: what cannot be looked at now is looked at next time.
    """
    for row in orphans(store):
        folder = run_folder(store.home, row.id)
        place = read_place(folder)
        assert place is not None, "it is an orphan"
        try:
            ended = _look(store, row.id, place)
            if ended is None:
                log.warning("run_goes_on", run=row.id, job=f"{place.namespace}/{place.name}")
            elif store.take_over(row, owner.this_process()):
                take_in(store, _record(row), place, ended, folder)
        except GamedayError as error:
            log.warning("run_not_adopted", run=row.id, why=str(error))


def adopt(store: Store, row: RunRow, *, stop: Stop, halted: Callable[[], str | None]) -> RunRecord | None:
    """Answer for the orphan *row* from now on, and follow it to its end; None if somebody else does."""
    place = read_place(run_folder(store.home, row.id))
    assert place is not None, "it is an orphan"
    if not store.take_over(row, owner.this_process()):
        return None
    log.warning("run_adopted", run=row.id, job=f"{place.namespace}/{place.name}")
    return follow(store, _record(row), place, stop=stop, halted=halted)


def stop_all(store: Store, why: str, *, run: str | None = None) -> list[str]:
    """Ask every run in a Job that nobody answers for (or only *run*) to end; return their names.

    Raises:
        KubernetesError: A Job could not be told.
    """
    told = []
    for row in orphans(store):
        if run not in (None, row.id):
            continue
        place = read_place(run_folder(store.home, row.id))
        assert place is not None, "it is an orphan"
        with connect(place.cluster) as api:
            api.patch(place.path, {"metadata": {"annotations": {words.STOP: why}}})
        told.append(row.id)
    return told


def _look(store: Store, run: str, place: JobPlace) -> Ended | None:
    quiet = StopRequest()
    return Following(
        run=run, place=place, stop=quiet, halted=store.halted, beat=lambda: None, tell=lambda _: None
    ).look_once()


def _record(row: RunRow) -> RunRecord:
    return RunRecord(
        run=row.id,
        experiment=row.experiment,
        title=row.title,
        started_at=row.started_at,
        leashed=row.leashed,
        host=row.owner.host,
        agent_version=__version__,
    )
