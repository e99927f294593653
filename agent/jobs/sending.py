"""Makes the Job of a run: first without a pod, then its Secret, then the pod; half-made it is idle."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

from agent.clients import jobs, rights
from agent.clients.kubernetes import KubernetesError, connect, own_namespace
from agent.jobs import words
from agent.jobs.order import Order, environ_for
from agent.jobs.place import JobPlace
from agent.model import Refused
from agent.safety.kubernetes_guard import EXEMPT
from agent.settings import PREFIX

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from agent.catalog.experiment import Experiment
    from agent.clients.kubernetes import Object
    from agent.model import RunRecord
    from agent.settings import Settings

MODULE = "agent.jobs"
IN_THE_BACKGROUND: Object = {"propagationPolicy": "Background"}


def send_out(
    record: RunRecord,
    experiment: Experiment,
    settings: Settings,
    environ: Mapping[str, str],
    *,
    folder: Path,
    because: str,
) -> JobPlace:
    """Make the Job of *record*'s run and let it begin; return where it is.

    Raises:
        Refused: There is no namespace for it, a right is missing, it is too large, or the API server did
            not take it.
            No pod was made.
    """
    namespace = settings.job_namespace or own_namespace()
    if namespace is None:
        raise Refused(
            "GAMEDAY_EXECUTOR=kubernetes-job: GAMEDAY_JOB_NAMESPACE is not set, and this process is in no pod"
        )
    try:
        with connect() as api:
            rights.require(api, "a run in a Job", rights.OF_JOBS, namespace)
            cluster = api.place.to_json()
        ends_by = time.time() + _deadline_s(experiment) + words.FENCE_S
        place = JobPlace(
            namespace=namespace, name=words.name_of(record.run), cluster=cluster, ends_by=ends_by
        )
        place.write(folder)
        _make(place, record, experiment, settings, environ, because=because)
    except KubernetesError as error:
        raise Refused(f"its Job could not be made in {namespace}: {error}; no pod was started") from error
    return place


def _make(
    place: JobPlace,
    record: RunRecord,
    experiment: Experiment,
    settings: Settings,
    environ: Mapping[str, str],
    *,
    because: str,
) -> None:
    with connect(place.cluster) as api:
        made = api.post(jobs.path_of(place.namespace), jobs.job(_work(place, record, experiment, settings)))
        try:
            uid = made["metadata"]["uid"]
            owner = {"apiVersion": "batch/v1", "kind": "Job", "name": place.name, "uid": uid}
            order = Order(
                run=record.run,
                path=record.experiment,
                definition=experiment.definition,
                leashed=record.leashed,
                because=because,
                environ={
                    **environ_for(experiment, environ),
                    PREFIX + "JOB": f"{place.namespace}/{place.name}/{uid}",
                },
            )
            api.post(f"/api/v1/namespaces/{place.namespace}/secrets", order.secret(place.name, owner))
            api.patch(place.path, {"metadata": {"uid": uid}, "spec": {"suspend": False}})
        except BaseException:
            with suppress(KubernetesError):  # it has no pod, and none is made without somebody who resumes it
                api.delete(place.path, IN_THE_BACKGROUND)
            raise


def _deadline_s(experiment: Experiment) -> float:
    return words.START_WITHIN_S + experiment.longest_s + words.GRACE_S


def _work(place: JobPlace, record: RunRecord, experiment: Experiment, settings: Settings) -> jobs.Work:
    return jobs.Work(
        name=place.name,
        namespace=place.namespace,
        image=settings.image,
        command=["-m", MODULE],
        account=settings.job_service_account,
        deadline_s=_deadline_s(experiment),
        grace_s=words.GRACE_S,
        keep_s=settings.job_keep_s,
        cpu=settings.job_cpu,
        memory=settings.job_memory,
        secret=place.name,
        suspended=True,
        labels={words.MANAGED: "gameday", words.EXECUTES: record.run, EXEMPT: "true"},
        annotations={"gameday/title": record.title},
    )
