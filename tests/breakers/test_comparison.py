"""What sources tell beside what is seen, on simulated breakers whose truth is known."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.breakers import analysis
from agent.breakers.boxes.comparison import Comparison, compare, to_json, with_disagreements
from agent.breakers.boxes.whitebox import Sample, Traps, spells
from agent.breakers.courses.states import State
from agent.breakers.simulation.simulate import Design, Truth, World, simulate
from agent.breakers.view import View, view

if TYPE_CHECKING:
    from collections.abc import Callable

CLOSED, OPEN, HALF_OPEN = State.CLOSED, State.OPEN, State.HALF_OPEN

designs = st.builds(
    Design,
    trip=st.sampled_from(["consecutive", "count"]),
    threshold=st.integers(3, 8),
    open_s=st.floats(1.5, 4.0),
    half_open=st.sampled_from(["reject", "queue", "admit"]),
)
worlds = st.builds(
    World,
    rate_rps=st.floats(35, 80),
    latency_s=st.floats(0.002, 0.03),
    timeout_s=st.floats(0.3, 1.0),
    fault=st.sampled_from(["error", "hang"]),
    seed=st.integers(0, 10_000),
)


def state_at(truth: Truth, at: float) -> State:
    """Return what the breaker really was."""
    passed = [State(to) for when, _, to in truth.transitions[0] if when <= at]
    return passed[-1] if passed else CLOSED


def polled(
    tell: Callable[[float], State | None],
    *,
    every_s: float = 0.1,
    until: float = 40.0,
    takes_s: float = 0.002,
) -> list[Sample]:
    """Read a source again and again that answers with what *tell* says."""
    return [
        Sample(asked=at, read=at + takes_s, state=tell(at + takes_s / 2), why="" if tell(at) else "silent")
        for at in np.arange(0.0, until, every_s).tolist()
    ]


def held(found: View, samples: list[Sample], **traps: Any) -> Comparison:
    """Compare under declared traps."""
    return compare(found, samples, kind="json", url="http://x", traps=Traps(**traps))


def one(fault: str = "error", open_s: float = 3.0) -> tuple[Truth, View]:
    """A plain breaker under one fault."""
    truth = simulate(Design(open_s=open_s), World(fault=fault, rate_rps=50.0))
    return truth, view(truth.calls, truth.arrivals, [truth.fault])


def bugs(comparison: Comparison) -> list[str]:
    """The classes of its disagreements."""
    return [each.bug for each in comparison.disagreements]


@settings(deadline=None, max_examples=40)
@given(design=designs, world=worlds, every_s=st.floats(0.02, 1.5))
def test_a_source_that_tells_the_truth_is_never_blamed(design: Design, world: World, every_s: float) -> None:
    """However seldom it is read, and whatever it misses for that."""
    truth = simulate(design, world)
    found = view(truth.calls, truth.arrivals, [truth.fault])
    comparison = held(found, polled(lambda at: state_at(truth, at), every_s=every_s))
    assert bugs(comparison) == []
    agreement = comparison.agreement
    assert agreement.compared_s > 20
    assert agreement.agreed_s + agreement.explained_s == pytest.approx(agreement.compared_s)
    assert set(comparison.explained) <= {"sampling"}
    if every_s < 0.1:
        assert agreement.share is not None
        assert agreement.share > 0.98
        assert agreement.matched == agreement.transitions >= 2


@pytest.mark.parametrize("late_s", [0.4, 1.0])
def test_a_source_that_is_late_is_called_late(late_s: float) -> None:
    """It says everything, only later; nothing else is made of that."""
    truth, found = one()
    samples = polled(lambda at: state_at(truth, at - late_s), every_s=0.05)
    assert bugs(held(found, samples)) == ["late-event"]
    (finding,) = held(found, samples).disagreements
    assert finding.calls
    assert finding.span is not None


def test_what_a_source_declares_about_its_lateness_is_no_disagreement() -> None:
    """The same, declared: it is counted as explained, and by what."""
    truth, found = one()
    samples = polled(lambda at: state_at(truth, at - 0.4), every_s=0.05)
    comparison = held(found, samples, late_s=0.5)
    assert bugs(comparison) == []
    assert comparison.explained["late_s"] > 0
    assert comparison.agreement.explained_s > 0
    assert comparison.agreement.matched == comparison.agreement.transitions


def test_half_open_that_is_told_after_the_trial_is_late_unless_declared() -> None:
    """A breaker whose trial takes a second, and whose event comes when that is over."""
    truth, found = one(fault="hang")
    samples = polled(lambda at: OPEN if (real := state_at(truth, at)) is HALF_OPEN else real, every_s=0.05)
    assert bugs(held(found, samples)) == ["late-event"]
    declared = held(found, samples, late_half_open=True)
    assert bugs(declared) == []
    assert declared.explained["late_half_open"] > 0
    assert bugs(held(found, samples, half_open=False)) == []


def test_open_that_goes_on_after_it_has_closed_is_stale() -> None:
    """Nobody calls the breaker that is read any more."""
    truth, found = one()
    opened = truth.transitions[0][0][0]
    samples = polled(lambda at: OPEN if at > opened else CLOSED)
    assert bugs(held(found, samples, lazy=True, half_open=False)) == ["stale-open"]
    assert bugs(held(found, samples, half_open=False)) == ["stale-open"]


def test_a_breaker_that_says_closed_all_along_hides_another_one() -> None:
    """The one that is read is not the one that keeps calls back."""
    _, found = one()
    comparison = held(found, polled(lambda _: CLOSED))
    assert bugs(comparison) == ["hidden-breaker"]
    assert comparison.agreement.matched < comparison.agreement.transitions
    assert bugs(held(found, polled(lambda _: CLOSED), falls_back=True)) == []


def test_what_is_read_too_seldom_hides_nothing() -> None:
    """An opening between two looks may have been told to nobody."""
    _, found = one(open_s=2.0)
    comparison = held(found, polled(lambda _: CLOSED, every_s=10.0))
    assert bugs(comparison) == []
    assert comparison.explained["sampling"] > 0


def test_open_while_everything_is_forwarded_is_a_phantom() -> None:
    """Before anything fails it says open, and calls arrive."""
    _, found = one()
    assert "phantom-open" in bugs(held(found, polled(lambda at: OPEN if 4 < at < 8 else CLOSED)))


def test_what_cannot_be_read_is_compared_with_nothing() -> None:
    """Errors are counted by reason; they are never a state."""
    _, found = one()
    comparison = held(found, polled(lambda _: None))
    assert bugs(comparison) == []
    assert comparison.agreement.share is None
    assert comparison.agreement.compared_s == 0
    assert comparison.errors == {"silent": len(polled(lambda _: None))}


def test_an_error_between_two_samples_widens_the_bracket() -> None:
    """The change may have been at any time since something was known."""
    told = spells(
        [
            Sample(asked=1.0, read=1.1, state=CLOSED),
            Sample(asked=2.0, read=2.1, state=None, why="refused"),
            Sample(asked=3.0, read=3.1, state=OPEN),
        ]
    )
    assert [each.state for each in told] == [CLOSED, None, OPEN]
    assert (told[2].began_after, told[2].began_before) == (1.0, 3.1)


def test_an_event_has_a_bracket_of_its_own() -> None:
    """What a source wrote down itself is not as wide as the time between two looks."""
    told = spells(
        [
            Sample(asked=1.0, read=1.1, state=CLOSED),
            Sample(asked=1.50, read=1.51, state=OPEN, event=True),
            Sample(asked=2.0, read=2.1, state=OPEN),
        ]
    )
    assert (told[1].began_after, told[1].began_before, told[1].ended_after) == (1.50, 1.51, 2.0)
    assert told[1].ended_before == math.inf


def test_the_answer_is_plain_data() -> None:
    """No infinity, no state of an enumeration, and both clocks."""
    truth, found = one()
    answer = to_json(held(found, polled(lambda at: state_at(truth, at))), wall_ahead_s=100.0)
    assert [each["state"] for each in answer["states"]][:2] == ["closed", "open"]
    assert answer["states"][0]["after"] is None
    assert answer["states"][1]["after_at"] == answer["states"][1]["after"] + 100.0
    assert answer["disagreements"] == []


def test_what_a_source_contradicts_leaves_the_stream_judged() -> None:
    """The stream that a finding is added to is still the one that the answer is about."""
    truth = simulate(Design(), World())
    answer = analysis.analyse(truth.calls, {"link": truth.arrivals}, truth.faults)
    told = analysis.to_json(with_disagreements(answer, []), wall_ahead_s=0.0)
    assert [each["judged"] for each in told["streams"]] == [True]
