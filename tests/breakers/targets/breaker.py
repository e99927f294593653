"""A small breaker that is right: consecutive failures open it, trials close it, late results are ignored."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Literal

from child import State
from layers import Failed, Rejected

if TYPE_CHECKING:
    from collections.abc import Callable

    from child import Truth
    from layers import Reply, Work


class Verdict(Enum):
    """What a call's end says about the dependency."""

    SUCCESS = auto()
    FAILURE = auto()
    NEITHER = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """When a breaker opens, and how it closes again.

    ``threshold`` failures in a row open it for ``open_s``; then up to ``budget`` trials are under way at a
    time, and ``half_open`` says what becomes of the other calls: ``reject``, ``queue`` (they wait for a
    trial's end) or ``admit``.  ``successes`` good trials close it, one bad one opens it again.
    """

    threshold: int = 5
    open_s: float = 1.5
    budget: int = 1
    successes: int = 1
    half_open: Literal["reject", "queue", "admit"] = "reject"


@dataclass(frozen=True, slots=True, kw_only=True)
class Permit:
    """A call that was let through; its result counts only in the generation that let it through."""

    generation: int
    began: float


class Breaker:
    """Closed, open, half-open.  Each step is a method, so that a bug is one method that is wrong."""

    def __init__(
        self, name: str, rules: Rules, truth: Truth, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.name, self.rules, self.truth, self.clock = name, rules, truth, clock
        self.state = State.CLOSED
        self.generation = 0
        self.opened_at = 0.0
        self.failures = self.good_trials = self.trials = 0
        self._changed = asyncio.Event()

    async def call(self, work: Work) -> Reply:
        """Do *work* if a call may pass.

        Raises:
            Rejected: None may; *work* was not begun.
        """
        permit = await self.admit()
        try:
            reply = await work()
        except BaseException as error:
            self.settle(permit, self.judge_error(error))
            raise
        self.settle(permit, self.judge_reply(reply))
        return reply

    def mark_up(self) -> None:
        """Pay no attention to active checks."""

    # what is let through

    async def admit(self) -> Permit:
        """Return a permit, perhaps after waiting for a trial's end."""
        while True:
            if self.state is State.OPEN and self.is_rested():
                self.move(State.HALF_OPEN)
            if self.state is State.CLOSED:
                return self.permit()
            if self.state is State.HALF_OPEN and self.has_room():
                self.trials += 1
                return self.permit()
            await self.turn_away()

    def permit(self) -> Permit:
        """Return a permit of this generation."""
        return Permit(generation=self.generation, began=self.clock())

    def is_rested(self) -> bool:
        """Whether it has been open for long enough."""
        return self.clock() - self.opened_at >= self.rules.open_s

    def has_room(self) -> bool:
        """Whether one more trial may begin."""
        return self.rules.half_open == "admit" or self.trials < self.rules.budget

    async def turn_away(self) -> None:
        """Raise `Rejected`; or return when waiting for a trial's end may have changed things."""
        if self.state is State.OPEN or self.rules.half_open == "reject":
            raise Rejected
        await self._changed.wait()

    # what the results mean

    def judge_error(self, error: BaseException) -> Verdict:
        """Judge a call that raised; a cancelled one says nothing about the dependency."""
        return Verdict.FAILURE if isinstance(error, Failed) else Verdict.NEITHER

    def judge_reply(self, reply: Reply) -> Verdict:
        """Judge an answer; a 4xx is the caller's doing and says nothing about the dependency."""
        return Verdict.NEITHER if 400 <= reply.status < 500 else Verdict.SUCCESS

    def settle(self, permit: Permit, verdict: Verdict) -> None:
        """Take a call's end into account."""
        if permit.generation != self.generation:
            self.late(permit, verdict)
            return
        self.trials = max(0, self.trials - 1)
        if verdict is Verdict.SUCCESS:
            self.succeeded()
        elif verdict is Verdict.FAILURE:
            self.failed(permit)
        self._wake()

    def late(self, permit: Permit, verdict: Verdict) -> None:
        """Ignore the end of a call that an earlier state let through."""

    def succeeded(self) -> None:
        """Count a success."""
        self.failures = 0
        if self.state is State.HALF_OPEN:
            self.good_trials += 1
            if self.good_trials >= self.rules.successes:
                self.move(State.CLOSED)

    def failed(self, permit: Permit) -> None:
        """Count a failure."""
        self.failures += 1
        if self.state is State.HALF_OPEN or self.failures >= self.rules.threshold:
            self.open(permit)

    # the states

    def open(self, permit: Permit) -> None:  # noqa: ARG002  # a bug looks at it
        """Open, because the call with *permit* failed."""
        self.opened_at = self.clock()
        self.move(State.OPEN)

    def move(self, to: State) -> None:
        """Change the state; every call that is under way is late from now on."""
        self.truth.moved(self.name, self.state, to)
        self.state = to
        self.generation += 1
        self.failures = self.good_trials = self.trials = 0
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
