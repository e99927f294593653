"""What runs in the pod of a Job: plays one run and sends its report back.

It is a whole agent with a state folder of its own: parent, child, watch and reaper are processes of
this pod, and heal from the ledger in here.  Its exit code tells whether the report was sent, no more.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from agent import log as log_of
from agent import settings as settings_of
from agent.catalog.problem import InvalidExperiment
from agent.catalog.read import read
from agent.clients import jobs, rights
from agent.clients.kubernetes import KubernetesError, connect
from agent.compose import open_agent
from agent.filing import folder as filing
from agent.jobs import order as orders
from agent.jobs import parcel, words
from agent.jobs.tether import Tether
from agent.model import GamedayError, Refused, RunRecord, Verdict
from agent.safety.context import run_folder
from agent.stop import on_signals

if TYPE_CHECKING:
    from agent.catalog.experiment import Experiment
    from agent.jobs.order import Order

log = structlog.get_logger()

SEND_WITHIN_S = 40.0
PAUSES_S = (0.5, 1.0, 2.0, 5.0)


def main() -> int:
    """Play the run that the Secret names; return 0 once its report is sent, and what else ``words`` says."""
    stop = on_signals()
    order = orders.parse((Path(jobs.MOUNTED) / orders.KEY).read_text(encoding="utf-8"))
    os.environ.update(order.environ)
    settings = settings_of.current()
    log_of.configure(settings)
    assert settings.job is not None, "the Job says who it is"
    folder = run_folder(settings.home, order.run)
    if why := _forbidden(settings.job):
        return _refuse(order, why, folder, settings.job)
    tether = Tether(*settings.job.split("/"), stop=stop)
    tether.start()
    try:
        experiment = _experiment(order, folder)
        agent = open_agent(settings)
        record = agent.run(
            experiment,
            run=order.run,
            stop=stop,
            leashed=order.leashed,
            because=order.because,
            observe=tether.observe,
        )
    except GamedayError as error:
        record = _not_started(order, error)
    if not (folder / filing.RECORD).exists():
        filing.file(record, folder)  # a run that was refused files nothing by itself
    log.info("run_ended", run=record.run, verdict=record.verdict, reason=record.reason)
    return 0 if _send(settings.job, parcel.packed(folder)) else 1


def _forbidden(job: str) -> Refused | None:
    """Return why this account cannot be a run's: nobody could stop it, or its report would be lost."""
    try:
        with connect() as api:
            rights.require(api, "a run in a Job", rights.IN_A_JOB, job.partition("/")[0])
    except Refused as error:
        return error
    except KubernetesError as error:
        log.warning("rights_unknown", why=str(error))  # the tether waits for an API server that is away
    return None


def _refuse(order: Order, why: Refused, folder: Path, job: str) -> int:
    """Begin nothing; say so in the report if that may be sent, and else in the last words."""
    log.error("run_refused", run=order.run, why=str(why))
    filing.file(_not_started(order, why), folder)
    if _send(job, parcel.packed(folder)):
        return 0
    with suppress(OSError):
        Path(words.LAST_WORDS).write_text(str(why), encoding="utf-8")
    return words.REFUSED


def _experiment(order: Order, folder: Path) -> Experiment:
    """Read the experiment anew: what it names has to be there in this image, too."""
    path = folder / "experiment.json"
    path.write_text(json.dumps(order.definition), encoding="utf-8")
    return replace(read(path), path=Path(order.path))


def _not_started(order: Order, error: GamedayError) -> RunRecord:
    now = time.time()
    is_no = isinstance(error, Refused | InvalidExperiment)
    return RunRecord(
        run=order.run,
        experiment=order.path,
        title=str(order.definition.get("title", "")),
        started_at=now,
        ended_at=now,
        verdict=Verdict.REFUSED if is_no else Verdict.INCONCLUSIVE,
        reason=f"Inside its Job: {error}",
        leashed=order.leashed,
    )


def _send(job: str, sent: bytes) -> bool:
    """Send the report, for a while over failures; the last word is how many parts there are."""
    namespace, name, uid = job.split("/")
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": uid}
    deadline = time.monotonic() + SEND_WITHIN_S
    for turn in range(1_000):
        try:
            with connect() as api:
                parts = parcel.send(api, namespace, f"{name}-{turn}", owner, sent)
                told = {words.PARTS: f"{turn}/{parts}"}
                api.patch(jobs.path_of(namespace, name), {"metadata": {"uid": uid, "annotations": told}})
        except (KubernetesError, parcel.ParcelLost) as error:
            log.error("report_not_sent", job=name, why=str(error))
            passing = isinstance(error, KubernetesError) and error.passing
            pause = PAUSES_S[min(turn, len(PAUSES_S) - 1)]
            if not passing or time.monotonic() + pause > deadline:
                return False
            time.sleep(pause)
        else:
            return True
    return False
