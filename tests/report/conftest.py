"""One run record for each story a report has to tell."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from agent.model import Activity, InjectionState, Mark, RunRecord, Verdict

if TYPE_CHECKING:
    from hypothesis import strategies as st


def _load(name: str) -> Any:
    """Import a neighbour of this file; the importlib mode of pytest puts no folder on the path."""
    spec = importlib.util.spec_from_file_location(f"report_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


sim = _load("simulated")
told = _load("answers")

KILL = "agent.faults.processes.kill"
DELAY = "agent.faults.links.delay"
HEALING = ((17.98, "heal_started", ""), (18.0, "healed", "1 injection, gone"))


def held() -> RunRecord:
    """A shard is killed; a third of the answers is degraded for a while, nobody gets an error."""
    story = sim.Story(fault=(10.0, 14.4), length_s=24.0, degraded=0.33, failing=0.33, hit_s=0.5)
    dose = {"asked": {"signal": "SIGKILL"}, "measured": {"replaced_by_pid": 41822, "down_s": 2.31}}
    output = {"fault": KILL, "victims": ["sandbox/shard-2"], "landed": True, "dose": dose}
    return sim.record(
        story,
        "survives-a-killed-shard",
        title="The leaderboard survives a killed shard",
        verdict=Verdict.HELD,
        reason="Steady before and after; unsteady for 2.6 s of the 3 s allowed while the shard was down.",
        injections=(sim.injection(story, KILL, "sandbox/shard-2", dose),),
        activities=sim.activities(story, "kill-a-shard", output, {}),
        marks=sim.marks(
            (0.0, "started", ""),
            (14.37, "heal_started", ""),
            (14.4, "healed", "replacement is up"),
            (14.5, "recovered", "steady again"),
            (24.0, "ended", ""),
        ),
        definition=sim.definition(
            "The leaderboard survives a killed shard", "kill", {"selector": "sandbox/shard-*", "quantity": 1}
        ),
    )


def deviated() -> RunRecord:
    """A shard answers late; the breaker counts errors only, so every third player waits."""
    story = sim.Story(slow_ms=400.0, unknown=(21.0, 22.0))
    dose = {
        "asked_ms": 400.0,
        "asked_jitter_ms": 20.0,
        "measured_ms": 400.7,
        "measured_jitter_ms": 19.2,
        "chunks": 274,
    }
    output = {"fault": DELAY, "victims": ["shard-1"], "landed": True, "dose": dose}
    title = "The leaderboard stays fast when a shard is slow"
    return sim.record(
        story,
        "stays-fast-with-a-slow-shard",
        title=title,
        verdict=Verdict.DEVIATED,
        reason="latency-p95 was unsteady for 7.4 s of 3 s allowed; p95 404 ms (n = 404).",
        injections=(sim.injection(story, DELAY, "shard-1", dose, lease_s=3.0, renew=sim.CHECK),),
        activities=sim.activities(story, "slow-a-shard", output, {"latency-p95": False}),
        marks=sim.marks((0, "started", ""), *HEALING, (21.2, "recovered", "steady again"), (32, "ended", "")),
        definition=sim.definition(title, "delay", {"link": "shard-1", "latency_ms": 400, "jitter_ms": 20}),
    )


def inconclusive() -> RunRecord:
    """The fault met no traffic, so nothing was tested."""
    story = sim.Story(rate_rps=1.2)
    injected = sim.injection(
        story, DELAY, "shard-3", {"asked_ms": 200.0, "chunks": 0}, landed=None, missed="met no traffic"
    )
    return sim.record(
        story,
        "stays-fast-with-an-idle-shard",
        verdict=Verdict.INCONCLUSIVE,
        reason="The delay met no traffic on link shard-3, so nothing can be said about it.",
        injections=(injected,),
        activities=sim.activities(story, "slow-a-shard", None, {"success-ratio": None}),
        marks=sim.marks(*HEALING),
    )


def refused() -> RunRecord:
    """A gate said no; the record has nothing but that."""
    return RunRecord(
        run="20261123t220005-refused",
        experiment="experiments/sandbox/survives-a-partition.yaml",
        title="The leaderboard survives a partition",
        started_at=sim.T0,
        ended_at=sim.T0,
        verdict=Verdict.REFUSED,
        reason="Not started: the kill switch is on since 21:40 UTC (payment incident); see `gameday resume`.",
        host="sre-runner-3",
        agent_version="0.1.0",
    )


def not_recovered() -> RunRecord:
    """The partition could not be taken out again, and the watch had given up before."""
    story = sim.Story(fault=(8.0, 24.0), length_s=30.0, failing=0.35)
    left = sim.injection(
        story,
        "agent.faults.packets.partition",
        "10.0.3.17:5432",
        {"asked": {"packets": "all"}, "measured": {"dropped": 812}},
        state=InjectionState.NOT_RECOVERED,
        healed_at=None,
        gone=False,
        error="nft: Operation not permitted (tried 6 times over 15.2 s)",
    )
    return sim.record(
        replace(story, fault=(8.0, 99.0)),
        "survives-a-partition",
        title="The leaderboard survives a partition from its database",
        verdict=Verdict.DEVIATED,
        reason="success-ratio was unsteady for 5.0 s and the watch stopped the run; lowest 64 % (n = 150).",
        recovered=False,
        aborted=True,
        injections=(left,),
        activities=sim.activities(story, "partition-the-database", None, {"success-ratio": False})[:3],
        marks=sim.marks(
            (8.02, "landed", ""),
            (13.4, "abort", "unsteady for 5.0 s"),
            (13.41, "heal_started", ""),
            (13.5, "child_died", "SIGKILL by the agent"),
            (28.6, "not_recovered", "10.0.3.17:5432 is still partitioned"),
        ),
    )


def aborted() -> RunRecord:
    """The watch healed at once when the abort rule was met."""
    story = sim.Story(fault=(8.0, 13.45), length_s=24.0, failing=0.3)
    injected = (
        sim.injection(
            story,
            "agent.faults.links.refuse",
            "shard-1",
            {"asked": {"toxicity": 1.0}, "measured": {"refused": 91}},
        ),
        sim.injection(
            story,
            DELAY,
            "shard-2",
            {"asked_ms": 80.0, "measured_ms": 80.4},
            id="2",
            applied_at=sim.T0 + 9.1,
            landed_at=None,
        ),
    )
    return sim.record(
        story,
        "survives-two-faults",
        verdict=Verdict.DEVIATED,
        reason="success-ratio was unsteady for 5.0 s, so the watch healed and stopped the run.",
        aborted=True,
        injections=injected,
        activities=sim.activities(story, "refuse-a-shard", None, {})[:3],
        marks=sim.marks(
            (13.4, "abort", "unsteady for 5.0 s"),
            (13.41, "heal_started", ""),
            (13.45, "healed", ""),
            (16.4, "recovered", ""),
        ),
    )


def leashed() -> RunRecord:
    """Everything but the harm."""
    story = sim.Story(fault=None, length_s=8.0)
    return sim.record(
        story,
        "survives-a-killed-shard",
        verdict=Verdict.INCONCLUSIVE,
        leashed=True,
        reason="On the leash: would have killed sandbox/shard-2 (1 of 3).",
    )


def empty() -> RunRecord:
    """A run that has only just begun."""
    return RunRecord(run="r", experiment="", title="", started_at=sim.T0)


def long() -> RunRecord:
    """Ten minutes at five looks a second, with a probe that wavers all the time."""
    story = sim.Story(length_s=600.0, fault=(180.0, 420.0), failing=0.012, slow_ms=90.0)
    dose = {"asked_ms": 90.0, "measured_ms": 90.2}
    return sim.record(
        story,
        "holds-for-ten-minutes",
        verdict=Verdict.DEVIATED,
        reason="success-ratio was unsteady for 51 s of 240 s.",
        injections=(sim.injection(story, DELAY, "shard-1", dose, max_duration_s=300.0),),
        activities=sim.activities(story, "slow-a-shard", None, {}),
        marks=tuple(Mark(at=sim.T0 + 180 + k, kind="lease_renewed") for k in range(240)),
    )


HOSTILE = (
    '</title></svg><script>alert(1)</script><img src=x onerror=alert(2)> {{ 7*7 }} & "\' onload="x" '
    "]]> --> `tick` | pipe *bold* [x](javascript:alert(3)) @everyone \u202egnp.exe \x00\x1b[31m \ud800 https://evil.example/"
)


def hostile() -> RunRecord:
    """Every text that comes from outside tries to break out of where it is written."""
    tale = deviated()
    probe = tale.looks[0].readings[0]
    readings = (replace(probe, probe=HOSTILE, value=HOSTILE, error=HOSTILE),)
    return tale.with_(
        run=HOSTILE,
        experiment=HOSTILE,
        title=HOSTILE,
        reason=HOSTILE,
        host=HOSTILE,
        agent_version=HOSTILE,
        recovered=False,
        looks=tuple(replace(k, readings=readings) for k in tale.looks),
        marks=tuple(replace(m, kind=HOSTILE, says=HOSTILE) for m in tale.marks),
        injections=tuple(
            replace(
                i,
                fault=HOSTILE,
                victims=(HOSTILE,) * 40,
                dose={HOSTILE: HOSTILE},
                error=HOSTILE,
                healed_at=None,
                state=InjectionState.APPLIED,
            )
            for i in tale.injections
        ),
        activities=(
            Activity(
                name=HOSTILE,
                kind="probe",
                section="before",
                started_at=sim.T0 + 1,
                status=HOSTILE,
                output={HOSTILE: HOSTILE},
                error=HOSTILE,
            ),
            Activity(
                name="loud",
                kind="action",
                section="method",
                started_at=sim.T0 + 2,
                status="succeeded",
                output="x" * 5_000_000,
            ),
        ),
        definition={HOSTILE: [HOSTILE]},
        breaker=told.named(HOSTILE),
    )


def breaker() -> RunRecord:
    """A circuit breaker was exercised, and a stampede was found."""
    return deviated().with_(
        title="The circuit breaker opens, fails fast, tries carefully and closes again",
        reason="breaker was Half-open stampede.",
        breaker=told.stampede(),
    )


STORIES = (
    held,
    deviated,
    inconclusive,
    refused,
    not_recovered,
    aborted,
    leashed,
    empty,
    long,
    hostile,
    breaker,
)


@pytest.fixture(scope="session")
def stories() -> dict[str, RunRecord]:
    """Every story by its name."""
    return {story.__name__: story() for story in STORIES}


@pytest.fixture(params=STORIES, ids=lambda story: story.__name__)
def story(request: pytest.FixtureRequest) -> RunRecord:
    """Each story in turn."""
    return request.param()


@pytest.fixture(scope="session")
def any_record() -> st.SearchStrategy[RunRecord]:
    """Return a strategy for run records of every kind, also those no run would leave."""
    return _load("arbitrary").records  # type: ignore[no-any-return]


@pytest.fixture(scope="session")
def pages() -> Any:
    """Return what reads pages."""
    return _load("pages")


@pytest.fixture(scope="session")
def answers() -> Any:
    """Return answers about circuit breakers, and a strategy for any at all."""
    return told


@pytest.fixture(params=told.EXTREMES, ids=lambda extreme: extreme.__name__)
def extreme(request: pytest.FixtureRequest) -> RunRecord:
    """A run with each of the extreme answers in turn."""
    return deviated().with_(breaker=request.param())
