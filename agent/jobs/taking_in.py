"""Takes the report of a run in a Job in; of a run that died there, mends what it left and closes the book."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog

from agent import report
from agent.clients.kubernetes import KubernetesError, NotThere, connect
from agent.filing import folder as filing
from agent.jobs import parcel
from agent.model import Mark, Verdict
from agent.report.document import RecordError
from agent.safety.copies import NotOurs, copies, from_here
from agent.safety.heal import heal

if TYPE_CHECKING:
    from pathlib import Path

    from agent.clients.kubernetes import Api
    from agent.jobs.following import Ended
    from agent.jobs.place import JobPlace
    from agent.model import RunRecord
    from agent.store import Store

log = structlog.get_logger()

LOG = "job.log"
LOG_BYTES = 1 << 20


def take_in(store: Store, record: RunRecord, place: JobPlace, ended: Ended, folder: Path) -> RunRecord:
    """Return the finished record of a run whose Job has *ended*: filed, and ended in the *store*."""
    _keep_log(place, folder)
    done = _reported(record, place, ended, folder) if ended.parts else None
    if done is None:
        done = _died(store, record, place, ended)
    elif not done.recovered:
        done = _mended(store, done, place)
    done = filing.file(done, folder)
    assert done.ended_at is not None
    store.end_run(done.run, done.summary(), ended_at=done.ended_at)
    _tidy(place, ended)
    return done


def _reported(record: RunRecord, place: JobPlace, ended: Ended, folder: Path) -> RunRecord | None:
    """Return the record that came back; None if it is not whole, and then the run counts as dead."""
    assert ended.parts is not None
    turn, _, parts = ended.parts.partition("/")
    try:
        with connect(place.cluster) as api:
            sent = parcel.fetch(api, place.namespace, f"{place.name}-{turn}", int(parts))
        parcel.unpack(sent, folder)
        found = report.from_json((folder / filing.RECORD).read_text(encoding="utf-8"))
    except (KubernetesError, parcel.ParcelLost, RecordError, OSError, ValueError, KeyError) as error:
        log.error("report_lost", run=record.run, job=place.name, why=str(error))
        return None
    return found if found.run == record.run else None


def _died(store: Store, record: RunRecord, place: JobPlace, ended: Ended) -> RunRecord:
    """Undo and check from out here what the copies on the Job name; nobody can judge the run any more."""
    found = copies(ended.annotations, run=record.run, place=place.cluster)
    for injection in found.injections:
        store.adopt(injection)
    store.abort(record.run)
    result = heal(store, record.run)
    why = ended.why or "its report was not whole"
    if found.strange:
        log.error("copies_refused", run=record.run, why=found.strange)
    known = ended.known and not found.strange
    clean = result.clean and known
    gone = "everything it broke is gone" if clean else "what it broke is NOT known to be gone"
    if not known:
        gone += " (every fault in a Job ends by itself; `gameday heal --sweep` looks for what is left)"
    now = time.time()
    died = Mark(at=now, kind="child_died", says=why)
    refused = ended.refused and not found.injections
    return record.with_(
        ended_at=now,
        verdict=Verdict.REFUSED if refused else Verdict.INCONCLUSIVE,
        reason=f"Inside its Job: {why}" if refused else f"Nobody was left to judge it: {why}; {gone}.",
        recovered=clean,
        injections=store.injections(record.run),
        marks=(*record.marks, died),
    )


def _mended(store: Store, record: RunRecord, place: JobPlace) -> RunRecord:
    """Try from out here to heal what the run said is NOT RECOVERED; until it is, it stands in our ledger."""
    try:
        for injection in record.injections:
            if injection.open:
                store.adopt(from_here(injection, run=record.run, place=place.cluster))
    except NotOurs as error:
        log.error("record_refused", run=record.run, why=str(error))
        return record
    result = heal(store, record.run)
    if not result.clean:
        return record
    healed = {each.id: each for each in store.injections(record.run)}
    mark = Mark(at=time.time(), kind="healed", says=f"by its parent: {', '.join(result.healed)}")
    return record.with_(
        recovered=True,
        injections=tuple(healed.get(each.id, each) for each in record.injections),
        marks=(*record.marks, mark),
    )


def _tidy(place: JobPlace, ended: Ended) -> None:
    """Delete the Secret, which nobody needs any more, and a Job that would not go by itself."""
    at_once = {"propagationPolicy": "Background"}
    path = place.path if ended.suspended else f"/api/v1/namespaces/{place.namespace}/secrets/{place.name}"
    try:
        with connect(place.cluster) as api:
            api.delete(path, at_once)
    except NotThere:
        return
    except KubernetesError as error:
        log.warning("job_not_tidied", job=place.name, why=str(error))


def _keep_log(place: JobPlace, folder: Path) -> None:
    """Keep the log of the Job's pod beside the report, as far as it is still there."""
    try:
        with connect(place.cluster) as api:
            for path in _log_paths(api, place):
                (folder / LOG).write_bytes(api.raw(path))
    except (KubernetesError, OSError) as error:
        log.warning("job_log_not_kept", job=place.name, why=str(error))


def _log_paths(api: Api, place: JobPlace) -> list[str]:
    selector = f"batch.kubernetes.io/job-name={place.name}"
    pods = f"/api/v1/namespaces/{place.namespace}/pods"
    found = api.items(pods, selector=selector)
    return [f"{pods}/{each['metadata']['name']}/log?limitBytes={LOG_BYTES}" for each in found]
