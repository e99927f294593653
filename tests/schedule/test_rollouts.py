"""Rollouts, read from objects as the API gives them, and when a run is due after one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.catalog.experiment import After
from agent.model import UsageError
from agent.schedule.rollouts import Due, Progress, Rollout, Workload, read_rollout

GATEWAY = Workload(kind="deployment", namespace="shop", name="gateway")
SHARDS = Workload(kind="statefulset", namespace="shop", name="shards")
LOGS = Workload(kind="daemonset", namespace="shop", name="logs")


def deployment(**changes: Any) -> dict[str, Any]:
    """Return a Deployment of three whose second revision has rolled out."""
    status = {"observedGeneration": 2, "replicas": 3, "updatedReplicas": 3, "availableReplicas": 3}
    return {
        "metadata": {
            "uid": "u-1",
            "generation": changes.pop("generation", 2),
            "annotations": {"deployment.kubernetes.io/revision": changes.pop("revision", "2")},
        },
        "spec": {"replicas": changes.pop("wanted", 3)},
        "status": status | changes,
    }


def stateful_set(*, partition: int = 0, strategy: str = "RollingUpdate", **changes: Any) -> dict[str, Any]:
    """Return a StatefulSet of three that has rolled out."""
    status = {"observedGeneration": 2, "replicas": 3, "updatedReplicas": 3, "availableReplicas": 3}
    status |= {"currentRevision": "shards-b", "updateRevision": "shards-b"}
    rolling = {"type": strategy} | ({"rollingUpdate": {"partition": partition}} if partition else {})
    return {
        "metadata": {"uid": "u-2", "generation": 2},
        "spec": {"replicas": 3, "updateStrategy": rolling},
        "status": status | changes,
    }


def daemon_set(**changes: Any) -> dict[str, Any]:
    """Return a DaemonSet on two nodes that has rolled out."""
    status = {"observedGeneration": 4, "desiredNumberScheduled": 2}
    status |= {"updatedNumberScheduled": 2, "numberAvailable": 2}
    annotations = {"deprecated.daemonset.template.generation": "3"}
    metadata = {"uid": "u-3", "generation": 4, "annotations": annotations}
    return {"metadata": metadata, "spec": {}, "status": status | changes}


@pytest.mark.parametrize(
    ("workload", "found", "progress", "says"),
    [
        (GATEWAY, deployment(), Progress.FINISHED, "all 3 replicas"),
        (GATEWAY, deployment(generation=3), Progress.GOING_ON, "has not seen the change"),
        (GATEWAY, deployment(updatedReplicas=1), Progress.GOING_ON, "old replicas"),
        (
            GATEWAY,
            deployment(updatedReplicas=1, replicas=1),
            Progress.GOING_ON,
            "1 of 3 replicas are updated",
        ),
        (GATEWAY, deployment(availableReplicas=2), Progress.GOING_ON, "2 of 3 replicas are available"),
        (GATEWAY, deployment(replicas=4), Progress.GOING_ON, "1 old replicas"),
        (
            GATEWAY,
            deployment(
                updatedReplicas=1,
                conditions=[
                    {"type": "Progressing", "reason": "ProgressDeadlineExceeded", "message": "timed out"}
                ],
            ),
            Progress.FAILED,
            "timed out",
        ),
        (SHARDS, stateful_set(), Progress.FINISHED, "all 3 replicas"),
        (SHARDS, stateful_set(updateRevision="shards-c", updatedReplicas=2), Progress.GOING_ON, "2 of 3"),
        (
            SHARDS,
            stateful_set(partition=2, updateRevision="shards-c", updatedReplicas=1),
            Progress.FINISHED,
            "all 1 replicas",
        ),
        (SHARDS, stateful_set(strategy="OnDelete"), Progress.GOING_ON, "OnDelete"),
        (SHARDS, stateful_set(availableReplicas=1), Progress.GOING_ON, "1 of 3 replicas are available"),
        (LOGS, daemon_set(), Progress.FINISHED, "all 2 replicas"),
        (LOGS, daemon_set(updatedNumberScheduled=1), Progress.GOING_ON, "1 of 2 replicas are updated"),
        (LOGS, daemon_set(numberAvailable=0), Progress.GOING_ON, "0 of 2 replicas are available"),
    ],
)
def test_a_rollout_is_read_as_kubectl_reads_it(
    workload: Workload, found: dict[str, Any], progress: Progress, says: str
) -> None:
    """Generation observed, all updated, all available; and in words what is missing."""
    rollout = read_rollout(workload, found)
    assert progress is rollout.progress
    assert says in rollout.says


def test_scaling_is_no_rollout_and_a_new_object_is_one() -> None:
    """The identity changes with the revision and with the uid, and with nothing else."""
    before = read_rollout(GATEWAY, deployment())
    scaled = read_rollout(GATEWAY, deployment(wanted=5, replicas=5, updatedReplicas=5, generation=3))
    assert scaled.id == before.id
    assert read_rollout(GATEWAY, deployment(revision="3")).id != before.id
    again = deployment()
    again["metadata"]["uid"] = "u-9"
    assert read_rollout(GATEWAY, again).id != before.id


def test_an_undoing_is_told_from_what_is_rolled_out_later() -> None:
    """The mark names the revision that it brought about, and no other."""
    found = deployment(revision="3")
    found["metadata"]["annotations"]["gameday/undone-to"] = "3"
    assert read_rollout(GATEWAY, found).undoing
    found["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = "4"
    assert not read_rollout(GATEWAY, found).undoing


def test_a_fresh_object_without_status_is_going_on() -> None:
    """Nothing is assumed about what its controller has not written yet."""
    for workload in (GATEWAY, SHARDS, LOGS):
        found = {"metadata": {"uid": "u", "generation": 1}, "spec": {"replicas": 2}}
        assert read_rollout(workload, found).progress is Progress.GOING_ON


@pytest.mark.parametrize("text", ["gateway", "pod/gateway", "deployment/", "Deployment/x", ""])
def test_what_is_no_workload_is_refused_with_the_form(text: str) -> None:
    """The sentence shows what to write."""
    with pytest.raises(UsageError, match="deployment/NAME"):
        Workload.parse(text, "shop")


def after(settle_s: float = 10.0, debounce_s: float = 60.0) -> After:
    """Return the keys that matter here."""
    return After(
        workloads=("deployment/gateway",), namespace="shop", settle_s=settle_s, debounce_s=debounce_s
    )


def take(due: Due, now: float) -> Rollout | None:
    """Start what is ready."""
    ready = due.ready(now)
    if ready is not None:
        due.settled(started=now)
    return ready


def rollout(revision: int, progress: Progress = Progress.FINISHED) -> Rollout:
    """Return a rollout of the gateway."""
    return Rollout(workload=GATEWAY, uid="u-1", revision=str(revision), progress=progress, says="")


def test_it_is_due_once_when_the_rollout_has_settled() -> None:
    """Not before the settle time, not for a rollout that began anew meanwhile, and not twice."""
    due = Due(after=after(settle_s=10))
    due.see(rollout(2), now=100.0)
    assert take(due, 109.9) is None
    due.see(rollout(3, Progress.GOING_ON), now=109.9)
    assert take(due, 111.0) is None
    due.see(rollout(3), now=112.0)
    assert take(due, 121.0) is None
    taken = take(due, 122.0)
    assert taken is not None
    assert taken.revision == "3"
    due.see(rollout(3), now=300.0)
    assert take(due, 500.0) is None


def test_of_rollouts_in_quick_succession_the_newest_counts() -> None:
    """What finishes within the debounce time waits, and is overtaken by what comes after it."""
    due = Due(after=after(settle_s=1, debounce_s=60))
    due.see(rollout(2), now=0.0)
    assert take(due, 1.0) is not None
    due.see(rollout(3), now=10.0)
    assert take(due, 20.0) is None
    due.see(rollout(4), now=30.0)
    assert due.at() == 61.0
    taken = take(due, 61.0)
    assert taken is not None
    assert taken.revision == "4"


@given(
    st.lists(
        st.tuples(st.floats(0.01, 50), st.integers(1, 5), st.sampled_from(Progress), st.booleans()),
        max_size=60,
    )
)
def test_whatever_happens_runs_keep_their_distance_and_never_repeat_without_news(
    events: list[tuple[float, int, Progress, bool]],
) -> None:
    """Starts are ``debounce_s`` apart, each is ``settle_s`` after the last news of its rollout."""
    due, now, starts = Due(after=after()), 0.0, []
    last_change, seen, settled = 0.0, None, ""
    for wait, revision, progress, gone in events:
        now += wait
        fresh = None if gone else rollout(revision, progress)
        standing = fresh if fresh and fresh.progress is Progress.FINISHED else None
        if standing is None or seen is None or standing.id != seen.id:
            last_change = now
        seen = standing
        due.see(fresh, now)
        if taken := take(due, now):
            assert now - last_change >= 10.0
            assert not starts or now - starts[-1] >= 60.0
            assert taken.progress is Progress.FINISHED
            assert taken.id != settled
            settled = taken.id
            starts.append(now)
