"""The machines that the simulation knows: how each decides, and what it truly went through.

Times are seconds of the simulated clock.  Nothing of the inference is used here.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import random


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """How the simulated machine is built.  Times are seconds.

    ``kind`` names it as the inference should (see :mod:`agent.breakers.machines.kinds`); what follows is
    about breakers unless it says otherwise.

    ``trip`` is ``consecutive`` (``threshold`` failures in a row), ``count`` (a share ``ratio`` of the last
    ``window`` calls, of at least ``threshold``), ``time`` (the same over the last ``window`` seconds), or
    ``slow`` (as ``count``, and a call that took longer than ``slow_s`` is as bad as a failed one).
    ``opens`` is how the open time goes on: ``constant``, ``jittered`` (by up to a half, either way) or
    ``growing`` (half as long again after each failed trial).
    ``half_open`` is what becomes of others while ``budget`` trials are in flight: ``reject``, ``queue`` or
    ``admit``; or ``share``: each call is a trial with the chance ``share``.  ``successes`` good trials
    close it.  ``late`` is what an outcome does that was admitted in an earlier state: ``ignored`` or
    ``counted``.  ``trickle`` is the share of calls that an open one lets through all the same.
    ``closes_by_check`` is how often an active check that finds the dependency well closes it (0: never).
    Of several ``replicas`` each stays open ``open_step`` times as long as the one before.

    A ``sliding`` one keeps everybody out while ``threshold`` failures are younger than ``window``; a
    ``bulkhead`` lets ``threshold`` calls in at a time; a ``rate-limiter`` has ``threshold`` tokens that
    come back at ``ratio`` times the rate offered, or with ``trip`` ``window`` as many calls a ``window``;
    an ``ejection`` takes one of ``hosts`` out for ``open_s``; ``gradual`` takes ``window`` to recover;
    a ``throttle`` looks at the last ``window`` seconds and turns away at most ``ratio`` of the calls.
    """

    kind: str = "breaker"
    trip: str = "consecutive"
    threshold: int = 5
    ratio: float = 0.5
    window: float = 20.0
    slow_s: float = 0.2
    open_s: float = 3.0
    opens: str = "constant"
    half_open: str = "reject"
    budget: int = 1
    share: float = 0.3
    successes: int = 1
    late: str = "ignored"
    trickle: float = 0.0
    closes_by_check: float = 0.0
    replicas: int = 1
    open_step: float = 1.0
    hosts: int = 3

    def of_replica(self, number: int) -> Design:
        """Return how one of the replicas is built."""
        return replace(self, open_s=self.open_s * self.open_step**number)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a call ended that was let through: when, how well, how long it took, and who let it in."""

    at: float
    good: bool
    took_s: float
    generation: int


class Machine(Protocol):
    """What the simulation asks of a machine."""

    generation: int
    log: list[tuple[float, str, str]]
    met: list[int]

    def admits(self, now: float) -> bool | None:
        """Say True (go), False (rejected) or None (wait)."""
        ...

    def ended(self, call: Ended) -> None:
        """Take in how a call ended."""
        ...

    @property
    def keeps_waiting(self) -> bool:
        """Whether those who wait have to go on waiting."""
        ...


@dataclass(slots=True)
class Breaker:
    """Closed, open, half-open, in all the ways of `Design`.

    ``met`` counts for each of the states it went through how many calls it decided about in it.
    """

    design: Design
    dice: random.Random
    generation: int = 0
    log: list[tuple[float, str, str]] = field(default_factory=list)
    met: list[int] = field(default_factory=lambda: [0])
    state: str = "closed"
    _failures: int = 0
    _recent: deque[tuple[float, bool]] = field(default_factory=deque)
    _opened_at: float = 0.0
    _rest_s: float = 0.0
    _vain: int = 0
    _in_trial: int = 0
    _good_trials: int = 0

    def admits(self, now: float) -> bool | None:
        """Say what becomes of a call."""
        said = self._said(now)
        self.met[-1] += said is not None
        return said

    def _said(self, now: float) -> bool | None:
        design = self.design
        if self.state == "open":
            if now - self._opened_at < self._rest_s:
                return self.dice.random() < design.trickle
            if design.closes_by_check:
                return False
            if design.half_open == "share" and self.dice.random() >= design.share:
                return False
            self._go("half_open", now)
            self._in_trial = 1
            return True
        if self.state == "half_open":
            return self._admits_trial()
        return True

    def _admits_trial(self) -> bool | None:
        design = self.design
        if design.half_open == "share":
            return self.dice.random() < design.share
        if design.half_open == "admit" or self._in_trial < design.budget:
            self._in_trial += 1
            return True
        return None if design.half_open == "queue" else False

    @property
    def keeps_waiting(self) -> bool:
        """Whether there is no room for another trial."""
        return self.state == "half_open" and self._in_trial >= self.design.budget

    def checked(self, now: float, *, well: bool) -> None:
        """Take the word of an active check."""
        if well and self.state != "closed":
            self._go("closed", now)

    def ended(self, call: Ended) -> None:
        """Count it, unless it is late and late ones are ignored."""
        good = call.good and not (self.design.trip == "slow" and call.took_s > self.design.slow_s)
        if call.generation != self.generation and self.design.late == "ignored":
            return
        if self.state == "half_open":
            self._tried(call.at, good=good)
        elif self.state == "closed":
            self._count(call.at, good=good)
        elif call.generation == self.generation:
            return  # let through by the trickle
        elif good:
            self._go("closed", call.at)
        else:
            self._opened_at = call.at

    def _tried(self, now: float, *, good: bool) -> None:
        self._in_trial = max(0, self._in_trial - 1)
        if not good:
            self._vain += 1
            self._go("open", now)
            return
        self._good_trials += 1
        if self._good_trials >= self.design.successes:
            self._vain = 0
            self._go("closed", now)

    def _count(self, now: float, *, good: bool) -> None:
        design = self.design
        if design.trip == "consecutive":
            self._failures = 0 if good else self._failures + 1
            if self._failures >= design.threshold:
                self._go("open", now)
            return
        self._recent.append((now, good))
        if design.trip == "time":
            while self._recent and self._recent[0][0] < now - design.window:
                self._recent.popleft()
        else:
            while len(self._recent) > design.window:
                self._recent.popleft()
        failed = sum(not each for _, each in self._recent)
        if len(self._recent) >= design.threshold and failed >= design.ratio * len(self._recent):
            self._go("open", now)

    def _go(self, to: str, now: float) -> None:
        self.log.append((now, self.state, to))
        self.met.append(0)
        self.state = to
        self.generation += 1
        self._failures = self._in_trial = self._good_trials = 0
        self._recent.clear()
        if to == "open":
            self._opened_at = now
            self._rest_s = self.design.open_s * self._factor()

    def _factor(self) -> float:
        if self.design.opens == "jittered":
            return self.dice.uniform(0.5, 1.5)
        return min(1.5**self._vain, 5.0) if self.design.opens == "growing" else 1.0


@dataclass(slots=True)
class Stateless:
    """What machines without states share: there is nothing to log, and nobody waits."""

    design: Design
    dice: random.Random
    rate_rps: float
    generation: int = 0
    log: list[tuple[float, str, str]] = field(default_factory=list)
    met: list[int] = field(default_factory=list)
    keeps_waiting: bool = False

    def admits(self, now: float) -> bool | None:  # noqa: ARG002  # others look at it
        """Let everybody through."""
        return True

    def ended(self, call: Ended) -> None:
        """Learn nothing."""


@dataclass(slots=True)
class Gradual(Stateless):
    """After an open time a share of the calls that grows from a tenth is let through, until all are."""

    _failures: int = 0
    _opened_at: float = -1e9

    def admits(self, now: float) -> bool | None:
        """Say what becomes of a call."""
        since = now - self._opened_at - self.design.open_s
        if since < 0:
            return False
        return self.dice.random() < 0.1 + 0.9 * since / self.design.window

    def ended(self, call: Ended) -> None:
        """Open after so many failures in a row."""
        self._failures = 0 if call.good else self._failures + 1
        if self._failures >= self.design.threshold and call.at > self._opened_at + self.design.open_s:
            self._opened_at, self._failures = call.at, 0


@dataclass(slots=True)
class Throttle(Stateless):
    """Client-side throttling.

    Source:
        Site Reliability Engineering, chapter 21: max(0, (requests - K accepts) / (requests + 1)), K = 2.
    """

    _calls: deque[float] = field(default_factory=deque)
    _good: deque[float] = field(default_factory=deque)

    def admits(self, now: float) -> bool | None:
        """Say what becomes of a call."""
        self._calls.append(now)
        for times in (self._calls, self._good):
            while times and now - times[0] > self.design.window:
                times.popleft()
        turned_away = (len(self._calls) - 2 * len(self._good)) / (len(self._calls) + 1)
        return self.dice.random() >= min(self.design.ratio, turned_away)

    def ended(self, call: Ended) -> None:
        """Remember successes."""
        if call.good:
            self._good.append(call.at)


@dataclass(slots=True)
class Sliding(Stateless):
    """So many failures younger than the window keep everybody out."""

    _failed: deque[float] = field(default_factory=deque)

    def admits(self, now: float) -> bool | None:
        """Say what becomes of a call."""
        while self._failed and now - self._failed[0] > self.design.window:
            self._failed.popleft()
        return len(self._failed) < self.design.threshold

    def ended(self, call: Ended) -> None:
        """Remember failures."""
        if not call.good:
            self._failed.append(call.at)


@dataclass(slots=True)
class Bulkhead(Stateless):
    """So many calls at a time."""

    _inside: int = 0

    def admits(self, now: float) -> bool | None:  # noqa: ARG002
        """Say whether there is room."""
        room = self._inside < self.design.threshold
        self._inside += room
        return room

    def ended(self, call: Ended) -> None:  # noqa: ARG002
        """Make room."""
        self._inside -= 1


@dataclass(slots=True)
class RateLimiter(Stateless):
    """A bucket of tokens, or so many calls in each window of the clock."""

    _tokens: float = 0.0
    _at: float = -1e9

    def admits(self, now: float) -> bool | None:
        """Say whether there is a token."""
        design = self.design
        most = float(design.threshold)
        if design.trip == "window":
            most = design.ratio * self.rate_rps * design.window
            if now // design.window != self._at // design.window:
                self._tokens = most
        else:
            self._tokens = min(most, self._tokens + (now - self._at) * design.ratio * self.rate_rps)
        self._at = now
        admitted = self._tokens >= 1
        self._tokens -= admitted
        return admitted


STATELESS: dict[str, type[Stateless]] = {
    "none": Stateless,
    "gradual": Gradual,
    "throttle": Throttle,
    "sliding": Sliding,
    "bulkhead": Bulkhead,
    "rate-limiter": RateLimiter,
}


def machine_of(design: Design, dice: random.Random, rate_rps: float) -> Machine:
    """Return a new machine of *design*; an ejection is a breaker that comes back without a trial."""
    if design.kind in STATELESS:
        return STATELESS[design.kind](design, dice, rate_rps)
    return Breaker(design, dice)
