"""States of a breaker, and a course of them over a recording."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

JUST_S = 0.005
"""Between what the link sees and what the service knows."""


class State(StrEnum):
    """What a breaker does with calls: lets them through, keeps them back, or tries some."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """A change of state, not before ``after`` and not after ``before`` (monotonic seconds)."""

    was: State
    to: State
    after: float
    before: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """The decisions from row ``first`` up to row ``end`` (exclusive), taken in one state.

    ``trials`` are the rows of a half-open stretch that were let through, in order.
    """

    state: State
    first: int
    end: int
    trials: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """The states of one breaker over a recording: n stretches and the n - 1 transitions between them."""

    stretches: tuple[Stretch, ...]
    transitions: tuple[Transition, ...]

    @property
    def sequence(self) -> tuple[State, ...]:
        """The states in order."""
        return tuple(each.state for each in self.stretches)

    def of(self, state: State) -> tuple[Stretch, ...]:
        """Return the stretches in *state*."""
        return tuple(each for each in self.stretches if each.state is state)
