"""Strategies for any run record at all, also those no run would leave."""

from __future__ import annotations

from hypothesis import strategies as st

from agent.model import (
    Activity,
    Call,
    Injection,
    InjectionState,
    Look,
    Mark,
    Reading,
    RunRecord,
    TrafficBin,
    Verdict,
)

__all__ = ["records"]

texts = st.text(max_size=20)
times = st.floats(0, 4e9)
maybe_times = st.none() | times
answers = st.sampled_from([True, False, None])
leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
objects = st.dictionaries(texts, values, max_size=3)
calls = st.builds(Call, func=texts, arguments=objects)
injections = st.builds(
    Injection,
    id=texts,
    run=texts,
    fault=texts,
    victims=st.lists(texts, max_size=3).map(tuple),
    undo=calls,
    landed_check=calls,
    gone_check=calls,
    renew=st.none() | calls,
    lease_s=st.none() | st.floats(0, 1e6),
    max_duration_s=st.floats(0, 1e9),
    state=st.sampled_from(InjectionState),
    intended_at=times,
    applied_at=maybe_times,
    landed_at=maybe_times,
    healed_at=maybe_times,
    landed=answers,
    gone=answers,
    dose=objects,
    missed=st.none() | texts,
    error=st.none() | texts,
)
readings = st.builds(
    Reading, probe=texts, value=values, met=answers, error=st.none() | texts, took_s=st.floats(0, 9)
)
looks = st.builds(
    Look, at=times, ended_at=times, steady=answers, readings=st.lists(readings, max_size=3).map(tuple)
)
activities = st.builds(
    Activity,
    name=texts,
    kind=st.sampled_from(["action", "probe"]) | texts,
    section=st.sampled_from(["before", "method", "after", "rollbacks"]) | texts,
    started_at=times,
    ended_at=maybe_times,
    status=st.none() | texts,
    met=answers,
    output=values,
    error=st.none() | texts,
)
marks = st.builds(Mark, at=times, kind=texts, says=texts)
milliseconds = st.none() | st.floats(0, 1e9)
bins = st.builds(
    TrafficBin,
    at=times,
    width_s=st.floats(0, 100),
    n=st.integers(0, 10**9),
    ok=st.integers(0, 10**9),
    degraded=st.integers(0, 10**9),
    p50_ms=milliseconds,
    p95_ms=milliseconds,
    p99_ms=milliseconds,
)
records = st.builds(
    RunRecord,
    run=texts,
    experiment=texts,
    title=texts,
    started_at=times,
    ended_at=maybe_times,
    verdict=st.none() | st.sampled_from(Verdict),
    reason=texts,
    recovered=st.booleans(),
    aborted=st.booleans(),
    leashed=st.booleans(),
    injections=st.lists(injections, max_size=3).map(tuple),
    activities=st.lists(activities, max_size=3).map(tuple),
    looks=st.lists(looks, max_size=5).map(tuple),
    marks=st.lists(marks, max_size=5).map(tuple),
    traffic=st.lists(bins, max_size=5).map(tuple),
    definition=objects,
    host=texts,
    agent_version=texts,
    report=st.none() | texts,
)
