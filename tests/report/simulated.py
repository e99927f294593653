"""Run records as real runs leave them: simulated traffic and looks with a seed, one story each."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from typing import Any

from agent.model import (
    Activity,
    Call,
    Injection,
    InjectionState,
    Json,
    Look,
    Mark,
    Reading,
    RunRecord,
    TrafficBin,
)

T0 = 1_795_471_205.120
CHECK = Call(func="agent.faults.links:has_toxic", arguments={"ids": ["5e1f"]})


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What the simulated system does: lengths in seconds from the start, ratios, milliseconds."""

    length_s: float = 32.0
    fault: tuple[float, float] | None = (10.0, 18.0)
    failing: float = 0.0
    degraded: float = 0.0
    slow_ms: float = 0.0
    hit_s: float = 99.0
    every_s: float = 0.2
    rate_rps: float = 50.0
    bin_s: float = 0.5
    unknown: tuple[float, float] | None = None
    seed: int = 7
    extra: dict[str, Any] = field(default_factory=dict)


def traffic(story: Story) -> tuple[TrafficBin, ...]:
    """Draw bins of requests: log-normal latencies, and what the fault does to them for ``hit_s``."""
    draw = random.Random(story.seed)
    bins = []
    for k in range(int(story.length_s / story.bin_s)):
        at = k * story.bin_s
        hit = bool(story.fault and story.fault[0] <= at < min(story.fault[1], story.fault[0] + story.hit_s))
        degrading = bool(story.fault and story.fault[0] <= at < story.fault[1])
        n = max(1, round(story.rate_rps * story.bin_s + draw.gauss(0, 0.6)))
        took = sorted(
            draw.lognormvariate(1.1, 0.35) + story.slow_ms * hit * (draw.random() < 0.34) for _ in range(n)
        )
        failed = sum(draw.random() < story.failing for _ in range(n)) if hit else 0
        gone = sum(draw.random() < story.degraded for _ in range(n)) if degrading else 0
        p50, p95, p99 = (took[min(n - 1, math.floor(n * q))] for q in (0.5, 0.95, 0.99))
        bins.append(
            TrafficBin(
                at=T0 + at,
                width_s=story.bin_s,
                n=n,
                ok=n - failed,
                degraded=min(gone, n - failed),
                p50_ms=round(p50, 2),
                p95_ms=round(p95, 2),
                p99_ms=round(p99, 2),
            )
        )
    return tuple(bins)


def looks(story: Story, bins: tuple[TrafficBin, ...]) -> tuple[Look, ...]:
    """Look at a sliding window of three seconds every ``every_s``, as the watch does."""
    found = []
    for k in range(int((story.length_s - 2) / story.every_s)):
        at = T0 + 2 + k * story.every_s
        inside = [b for b in bins if at - 3 <= b.at and b.at + b.width_s <= at]
        if not inside:
            continue
        ratio = sum(b.ok for b in inside) / sum(b.n for b in inside)
        late = max(b.p95_ms or 0.0 for b in inside)
        blind = bool(story.unknown and story.unknown[0] <= at - T0 < story.unknown[1])
        good = _reading("success-ratio", round(ratio, 4), met=ratio >= 0.99, blind=blind)
        fast = _reading("latency-p95", round(late, 1), met=late <= 100.0, blind=False)
        mets = [good.met, fast.met]
        steady = False if False in mets else None if None in mets else True
        found.append(Look(at=at, ended_at=at + 0.012, steady=steady, readings=(good, fast)))
    return tuple(found)


def _reading(probe: str, value: Json, *, met: bool, blind: bool) -> Reading:
    if blind:
        return Reading(probe=probe, error="no answer within 1.0 s", took_s=1.0)
    return Reading(probe=probe, value=value, met=met, took_s=0.004)


def injection(story: Story, fault: str, victim: str, dose: dict[str, Json], **changes: Any) -> Injection:
    """Return the injection of *story*, healed and gone unless *changes* say otherwise."""
    assert story.fault is not None
    at, healed = T0 + story.fault[0], T0 + story.fault[1]
    given: dict[str, Any] = {
        "id": "5e1f0c2d",
        "run": "r",
        "fault": fault,
        "victims": (victim,),
        "undo": Call(func=f"{fault.rpartition('.')[0]}:undo", arguments={"ids": ["5e1f"]}),
        "landed_check": CHECK,
        "gone_check": CHECK,
        "max_duration_s": 30.0,
        "state": InjectionState.HEALED,
        "intended_at": at - 0.021,
        "applied_at": at,
        "landed_at": at + 0.034,
        "healed_at": healed,
        "landed": True,
        "gone": True,
        "dose": dose,
    }
    return Injection(**(given | changes))


def activities(
    story: Story, action: str, output: Json, second: dict[str, bool | None]
) -> tuple[Activity, ...]:
    """Return what Chaos Toolkit played: two probes before, the action, two probes after, the heal."""
    assert story.fault is not None
    start, end = T0 + story.fault[0], T0 + story.fault[1]
    values: dict[str, Json] = {"success-ratio": 1.0, "latency-p95": 5.2}

    def probe(name: str, section: str, at: float, met: bool | None) -> Activity:
        return Activity(
            name=name,
            kind="probe",
            section=section,
            started_at=at,
            ended_at=at + 0.006,
            status="succeeded" if met is not None else "failed",
            met=met,
            output=values[name],
        )

    return (
        probe("success-ratio", "before", start - 0.30, met=True),
        probe("latency-p95", "before", start - 0.25, met=True),
        Activity(
            name=action,
            kind="action",
            section="method",
            started_at=start - 0.03,
            ended_at=end - 1.2,
            status="succeeded",
            output=output,
        ),
        probe("success-ratio", "after", end - 1.1, second.get("success-ratio", True)),
        probe("latency-p95", "after", end - 1.05, second.get("latency-p95", True)),
        Activity(
            name="heal",
            kind="action",
            section="rollbacks",
            started_at=end - 0.02,
            ended_at=end + 0.004,
            status="succeeded",
            output={"healed": 1, "not_recovered": 0},
        ),
    )


def definition(title: str, func: str, arguments: dict[str, Json]) -> dict[str, Any]:
    """Return an experiment as it is run, redacted."""
    window = {"window_s": 3}
    return {
        "version": "1.0.0",
        "title": title,
        "description": "One of three shards suffers; players on the other shards notice nothing.",
        "tags": ["sandbox", "shard"],
        "configuration": {"gateway": {"type": "env", "key": "GAMEDAY_SANDBOX_URL"}},
        "secrets": {"gateway": {"token": "[redacted]"}},
        "extensions": [
            {
                "name": "gameday",
                "owner": "leaderboard",
                "timeout_s": 60,
                "blast_radius": {"count": 1, "fraction": 0.34},
                "watch": {"every_s": 0.2, "abort_after_s": 5},
                "during": {"unsteady_s_max": 3},
                "recover_within_s": 15,
            }
        ],
        "steady-state-hypothesis": {
            "title": "Players get their rank in time",
            "probes": [
                {
                    "name": "success-ratio",
                    "type": "probe",
                    "tolerance": {"type": "range", "range": [0.99, 1.0]},
                    "provider": {
                        "type": "python",
                        "module": "probes.traffic",
                        "func": "success_ratio",
                        "arguments": window,
                    },
                },
                {
                    "name": "latency-p95",
                    "type": "probe",
                    "tolerance": {"type": "range", "range": [0, 100]},
                    "provider": {
                        "type": "python",
                        "module": "probes.traffic",
                        "func": "latency_p95_ms",
                        "arguments": window,
                    },
                },
            ],
        },
        "method": [
            {
                "name": func.replace("_", "-"),
                "type": "action",
                "provider": {
                    "type": "python",
                    "module": "agent.faults.links",
                    "func": func,
                    "arguments": arguments,
                },
            }
        ],
        "rollbacks": [
            {
                "name": "heal",
                "type": "action",
                "provider": {"type": "python", "module": "agent.faults", "func": "heal"},
            }
        ],
    }


def record(story: Story, name: str, **changes: Any) -> RunRecord:
    """Return a run of *story* with simulated traffic and looks; *changes* tell the rest."""
    bins = traffic(story)
    given: dict[str, Any] = {
        "run": f"20261123t220005-{name}",
        "experiment": f"experiments/sandbox/{name}.yaml",
        "title": name.replace("-", " ").capitalize(),
        "started_at": T0,
        "ended_at": T0 + story.length_s,
        "traffic": bins,
        "looks": looks(story, bins),
        "host": "sre-runner-3",
        "agent_version": "0.1.0",
    }
    return RunRecord(**(given | changes))


def marks(*told: tuple[float, str, str]) -> tuple[Mark, ...]:
    """Return marks from offsets, kinds and what they say."""
    return tuple(Mark(at=T0 + at, kind=kind, says=says) for at, kind, says in told)
