"""Who is hit: never more than asked for, and the same again with the same seed."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.model import NoTargets, UsageError
from agent.safety import gates
from agent.safety.targets import Choice, choose

names = st.lists(st.text(min_size=1, max_size=5), max_size=30)


@given(names, st.integers(1, 40), st.integers())
def test_a_quantity_is_met_exactly_or_refused(candidates: list[str], quantity: int, seed: int) -> None:
    """A smaller fault than the one asked for would be a weaker test that nobody notices."""
    found = set(candidates)
    if quantity > len(found):
        with pytest.raises(NoTargets):
            choose(candidates, quantity=quantity, seed=seed)
        return
    victims = choose(candidates, quantity=quantity, seed=seed)
    assert len(victims) == len(set(victims)) == quantity
    assert set(victims) <= found


@given(names, st.floats(0.01, 1.0), st.integers())
def test_a_fraction_is_rounded_down_and_never_to_nothing(
    candidates: list[str], fraction: float, seed: int
) -> None:
    """A third of three is one; a third of two is a refusal."""
    count = len(set(candidates))
    wanted = math.floor(fraction * count + 1e-9)
    if wanted < 1:
        with pytest.raises(NoTargets):
            choose(candidates, fraction=fraction, seed=seed)
        return
    assert len(choose(candidates, fraction=fraction, seed=seed)) == wanted


@given(st.lists(st.text(max_size=5), min_size=1, max_size=20, unique=True), st.integers(), st.randoms())
def test_a_seed_repeats_the_choice_whatever_the_order(candidates: list[str], seed: int, dice: object) -> None:
    """Platforms list their targets in any order."""
    shuffled = list(candidates)
    dice.shuffle(shuffled)  # type: ignore[attr-defined]
    quantity = (len(candidates) + 1) // 2
    first = choose(candidates, quantity=quantity, seed=seed)
    assert first == choose(shuffled, quantity=quantity, seed=seed)


@pytest.mark.parametrize(
    "wrong", [{}, {"quantity": 1, "fraction": 0.5}, {"quantity": 0}, {"fraction": 0.0}, {"fraction": 1.1}]
)
def test_a_choice_that_is_none_is_a_mistake(wrong: dict[str, float]) -> None:
    """Nothing is guessed."""
    with pytest.raises(UsageError):
        choose(["a", "b"], **wrong)  # type: ignore[arg-type]


def test_the_first_closed_gate_is_the_reason() -> None:
    """And one that is open asks the next."""
    assert gates.ask([]) is None
    assert gates.ask([lambda: None, lambda: None]) is None
    assert gates.ask([lambda: None, lambda: "not today", lambda: "never"]) == "not today"


def test_a_gate_that_cannot_tell_refuses() -> None:
    """Not knowing is no reason to start."""

    def weather() -> str | None:
        raise ConnectionError("nobody answers")

    assert gates.ask([weather]) == "weather could not tell: nobody answers"


@given(names.filter(bool), st.integers())
def test_arguments_that_say_nothing_mean_one(candidates: list[str], seed: int) -> None:
    """What is not asked for is never "all"."""
    assert Choice(seed=seed).of(candidates) == choose(candidates, quantity=1, seed=seed)
    assert Choice().wanted(len(candidates)) == 1


@given(names.filter(bool), st.floats(0.001, 1.0), st.integers())
def test_what_is_wanted_later_is_what_would_be_chosen_then(
    candidates: list[str], fraction: float, seed: int
) -> None:
    """Pods that come in the place of others are hit up to the same share, rounded the same way."""
    found = set(candidates)
    choice = Choice(fraction=fraction, seed=seed)
    wanted = choice.wanted(len(found))
    if wanted:
        assert len(choice.of(candidates)) == wanted
    else:
        with pytest.raises(NoTargets):
            choice.of(candidates)
