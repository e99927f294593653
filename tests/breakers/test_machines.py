"""Which machine it is, on simulated ones whose kind is known: a small sample of docs/accuracy.md."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.breakers.analysis import analyse, to_json
from agent.breakers.answer import plain_answer
from agent.breakers.findings import find
from agent.breakers.machines import chains
from agent.breakers.machines.kinds import Kind
from agent.breakers.measures.estimate import Status
from agent.breakers.measures.properties import STATELESS, measure
from agent.breakers.simulation.simulate import Design, World, simulate
from agent.breakers.view import View, view
from bench._scenarios import OTHERS, breaker, judge, other, truth_of

SEEDS = 4


def seen(kind: str, seed: int = 1) -> View:
    """Return what is seen of a machine of *kind*."""
    truth = truth_of(other(kind, seed))
    return view(truth.calls, truth.arrivals, truth.faults)


@pytest.mark.parametrize("kind", OTHERS)
def test_each_machine_is_called_by_its_name(kind: str) -> None:
    """Of four drawn at random at most one is called otherwise, and that one not with confidence."""
    judged = [judge(other(kind, seed)) for seed in range(SEEDS)]
    wrong = [each.machine for each in judged if not each.kind_right]
    assert len(wrong) <= 1, wrong
    assert all(each.confidence != "high" for each in wrong), wrong


@settings(deadline=None, max_examples=12)
@given(seed=st.integers(0, 10_000), per_open=st.floats(50, 200))
def test_a_breaker_with_three_states_is_called_nothing_else(seed: int, per_open: float) -> None:
    """Whatever its threshold, half-open family, open times and latency, not with high confidence."""
    machine = judge(breaker(seed, per_open=per_open)).machine
    assert machine.three_state or machine.confidence != "high", machine


def test_what_is_open_until_a_fault_is_over_is_no_window_of_failures() -> None:
    """A check closes it: it is let in again twice, and some window explains so little by chance."""
    assert judge(breaker(20_003_098, per_open=200.0, aside=(0.3,))).machine.kind is Kind.BREAKER


def test_everybody_let_in_after_each_open_time_is_a_breaker() -> None:
    """Under a hang alone its failures come, and would expire, together; one open time explains it as well."""
    truth = simulate(Design(half_open="admit"), World(fault="hang", rate_rps=60.0, seed=4))
    assert view(truth.calls, truth.arrivals, truth.faults).machine.kind is Kind.BREAKER


@pytest.mark.parametrize(
    ("kind", "seed"),
    [
        pytest.param("bulkhead", 40, id="a bucket that fills within milliseconds explains anything"),
        pytest.param("throttle", 23, id="one rejection in the calm is no sign of a cache"),
        pytest.param("rate-limiter", 49, id="a bucket may not be empty before the calm is over"),
    ],
)
def test_what_could_be_taken_for_another_is_not(kind: str, seed: int) -> None:
    """Each was once called otherwise, for the reason that it is named after."""
    assert seen(kind, seed).machine.kind == kind


@pytest.mark.parametrize("kind", ["replicas", "gradual", "throttle", "sliding", "bulkhead", "ejection"])
def test_no_state_is_made_up_where_there_is_none(kind: str) -> None:
    """Properties of states are left open with the reason, and nothing is found in such states."""
    found = seen(kind)
    properties = measure(found)
    open_ones = {name for name, each in properties.items() if each.status is Status.INCONCLUSIVE}
    assert not found.machine.three_state
    assert set(properties) - set(STATELESS) <= open_ones
    assert all(found.machine.why in properties[name].why for name in set(properties) - set(STATELESS))
    assert {each.bug for each in find(found, properties)} <= {"per-replica", "serialises-calls"}
    assert "no breaker with three states" in plain_answer(found, properties)


def test_replicas_are_told_to_find_out_each_for_itself() -> None:
    """Wherever they are named with confidence, and nothing that has states is."""
    told = [find(found, measure(found)) for found in (seen("replicas", seed) for seed in range(SEEDS))]
    named = [{each.bug for each in findings} for findings in told]
    assert {"per-replica"} in named
    assert all(bugs <= {"per-replica"} for bugs in named), named


@pytest.mark.parametrize("count", [2, 3, 4])
def test_replicas_that_come_from_different_peers_are_counted(count: int) -> None:
    """Their number is exact where the link can tell them apart."""
    truth = simulate(
        Design(replicas=count, open_s=2.0), World(rate_rps=60.0, fault_ended=26.0, duration_s=44.0, seed=2)
    )
    machine = view(truth.calls, truth.arrivals, truth.faults).machine
    assert machine.kind is Kind.REPLICAS
    assert (machine.figures["replicas"], machine.figures["by"]) == (count, "peer")


def test_no_state_is_told_where_nobody_knows_who_was_let_through() -> None:
    """Without ids and with very many calls: it says so, and what it would take."""
    world = World(
        rate_rps=1500.0, passes_ids_on=False, fault_began=3.0, fault_ended=6.0, duration_s=9.0, latency_s=0.05
    )
    truth = simulate(Design(open_s=1.0), world)
    found = analyse(truth.calls, {"link": truth.arrivals}, truth.faults)
    told = to_json(found, wall_ahead_s=0.0)
    assert told["mapping"]["doubtful_share"] > 0.5
    assert told["streams"][0]["sequence"] == []
    assert told["properties"]["time_to_half_open_s"]["status"] == "inconclusive"
    assert "pass x-request-id or traceparent on, or call it" in told["answer"]


def test_the_limit_of_a_rule_is_told() -> None:
    """A sliding expiry is told with how many failures it bears and for how long."""
    scenario = other("sliding", 3)
    truth = truth_of(scenario)
    machine = view(truth.calls, truth.arrivals, truth.faults).machine
    assert machine.figures["limit"] == scenario.design.threshold
    assert machine.figures["span"] == pytest.approx(scenario.design.window, abs=0.05)


def test_without_a_call_nothing_is_called_anything() -> None:
    """An empty recording is unclear, not a machine."""
    truth = simulate(Design(), World(duration_s=1.0))
    nothing = np.zeros(0, "i8")
    found = view(truth.calls.where(nothing), truth.arrivals.where(nothing), [])
    assert found.machine.kind is Kind.UNCLEAR


@given(st.lists(st.sampled_from([chains.KEPT_BACK, chains.GOOD, chains.FAILED]), min_size=1, max_size=60))
def test_runs_and_single_decisions_are_equally_likely(symbols: list[int]) -> None:
    """Taking equal decisions together changes no likelihood: each is the same product of matrices."""
    matrices = chains.throttles().matrices(0.1)
    together = chains.likelihood(chains.runs_of(np.array(symbols)), matrices)
    single = chains.Runs(tuple(symbols), (1,) * len(symbols))
    assert together == pytest.approx(chains.likelihood(single, matrices), rel=1e-6)
