"""How a service asks while nothing is wrong, on simulated ones of which it is known."""

from __future__ import annotations

import pytest

from agent.breakers.analysis import analyse
from agent.breakers.simulation.simulate import Design, Truth, World, simulate
from agent.breakers.view import View, view

DESIGN = Design(open_s=2.0)
WORLD = World(rate_rps=50.0, latency_s=0.05, fault_began=20.0, fault_ended=27.0, duration_s=40.0, seed=3)


def seen(truth: Truth) -> View:
    """Return what is inferred of a recording."""
    return view(truth.calls, truth.arrivals, truth.faults)


def played(**changes: object) -> Truth:
    """Play the world with some *changes*."""
    return simulate(DESIGN, World(**{name: getattr(WORLD, name) for name in WORLD.__slots__} | changes))  # type: ignore[arg-type]


def states(truth: Truth) -> tuple[str, ...]:
    """Return the states of a recording as they are told."""
    return tuple(map(str, seen(truth).course.sequence))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("ids", [True, False])
def test_a_service_that_asks_once_a_call_has_no_habit(ids: bool, seed: int) -> None:
    """With ids and without, with a cache too."""
    found = seen(played(passes_ids_on=ids, aside_share=0.3 * (seed % 2), seed=seed)).asking
    assert (found.retried, found.hedged, found.joined, found.says) == (0, 0, 0, ())


@pytest.mark.parametrize("ids", [True, False])
def test_hedging_is_told_by_its_delay(ids: bool) -> None:
    """A second request while the first is under way, always as late, is no retry."""
    found = seen(played(hedge_after_s=0.08, passes_ids_on=ids)).asking
    assert found.retried == 0
    assert found.hedged == pytest.approx(200, abs=60)  # a fifth of 1000 calls takes longer
    assert found.hedge_after_s == pytest.approx(0.08, abs=0.004)


def test_a_hedging_service_has_the_states_it_has() -> None:
    """Its second requests are neither calls nor retries."""
    truth = played(hedge_after_s=0.08)
    assert states(truth) == truth.sequence()


def test_a_retry_follows_a_failure() -> None:
    """In the calm, too: some requests take longer than the service waits."""
    found = seen(played(retries=1, timeout_s=0.15)).asking
    assert found.retried == pytest.approx(50, abs=25)  # one in twenty takes longer
    assert found.hedged == 0


@pytest.mark.parametrize("ids", [True, False])
def test_callers_who_wait_for_one_answer_are_told_and_left_out(ids: bool) -> None:
    """Under a fault they fail without a request of their own, and nobody kept them back."""
    truth = played(coalesces=True, passes_ids_on=ids, fault="hang", timeout_s=0.4, fault_ended=30.0)
    found = seen(truth)
    assert found.asking.joined > 400
    assert states(truth) == truth.sequence()


def test_a_cache_is_no_coalescing() -> None:
    """What is answered at once waited for nobody."""
    assert seen(played(aside_share=0.5, rate_rps=100.0)).asking.joined == 0


def test_the_answer_says_it_in_plain_words() -> None:
    """Beside what the breaker does."""
    truth = played(hedge_after_s=0.08)
    answer = analyse(truth.calls, {"link": truth.arrivals}, truth.faults).judged[0].answer
    assert "stays open 2.0 s" in answer
    assert "though the first request has not failed" in answer
