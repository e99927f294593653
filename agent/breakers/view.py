"""One breaker's recording with everything inferred so far: what properties and findings look at."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from agent.breakers.courses.course import follow
from agent.breakers.courses.lateness import seen_late
from agent.breakers.machines import recognition
from agent.breakers.reading import asking, rates
from agent.breakers.reading.decisions import (
    BLIND,
    clearly_kept_back,
    decide,
    learn,
    reveal,
    within,
    without_aside,
    without_given_up,
)
from agent.breakers.reading.mapping import match
from agent.breakers.reading.room import room
from agent.breakers.replicas.sources import Apart

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.breakers.courses.states import Course, State, Stretch, Transition
    from agent.breakers.machines.kinds import Machine
    from agent.breakers.reading.asking import Asking
    from agent.breakers.reading.decisions import Baseline, Decisions
    from agent.breakers.reading.mapping import Mapping
    from agent.breakers.streams import Arrivals, Calls, FaultWindow, Flags, Floats, Ints, Phase

BASELINE = "baseline"
GUARD_S = 0.005
"""Between what the link sees and what the service knows."""


@dataclass(frozen=True, kw_only=True)
class View:
    """The calls and arrivals of one key, their mapping, the decisions and the course of states.

    ``asked`` are the decisions the breaker was asked for, ``decisions`` include aside answers.
    ``asking`` is how calls become requests in the calm; calls that join another's request are left out.
    ``sees_refusals`` is whether a refused connection and a rejected call can be told apart.  ``phases``
    tell what the client itself did; the decisions at a rate that was taken back are ``too_many``, and no part
    of ``asked``.  ``limit`` is how many calls a bulkhead beside the breaker lets in at a time, None where
    there is none, and ``turned_away`` when it was full; those calls are not in ``asked`` either.
    """

    calls: Calls
    arrivals: Arrivals
    faults: tuple[FaultWindow, ...]
    mapping: Mapping
    decisions: Decisions
    asked: Decisions
    too_many: Decisions
    baseline: Baseline
    asking: Asking
    sees_refusals: bool
    course: Course
    phases: tuple[Phase, ...] = ()
    limit: int | None = None
    turned_away: Floats = field(default_factory=lambda: np.empty(0))

    @cached_property
    def machine(self) -> Machine:
        """Which kind of machine decides; the course means nothing where it has not three states."""
        return recognition.recognise(
            self.plain
        )  # other rates and two faults at once look like other machines

    @cached_property
    def apart(self) -> Apart:
        """What is known of the sources of requests, where replicas are behind one entry."""
        return Apart(self)

    # the course

    @cached_property
    def steps(self) -> tuple[tuple[Stretch, Stretch, Transition], ...]:
        """Each transition with the stretch before and after it."""
        course = self.course
        return tuple(zip(course.stretches, course.stretches[1:], course.transitions, strict=False))

    def steps_of(self, was: State, to: State) -> tuple[tuple[Stretch, Stretch, Transition], ...]:
        """Return the transitions from *was* to *to*."""
        return tuple(step for step in self.steps if step[2].was is was and step[2].to is to)

    def fault_at(self, at: float) -> FaultWindow | None:
        """Return the fault that was in at the moment *at*; faults are in order and do not overlap."""
        place = bisect_right(self.faults, at, key=lambda fault: fault.began) - 1
        return self.faults[place] if place >= 0 and at <= self.faults[place].ended else None

    def meets(self, since: float, until: float, *, hidden: bool = False) -> bool:
        """Whether a fault was in at any time from *since* until *until*; a *hidden* one, if so told."""
        faults = self._hidden if hidden else self.faults
        place = bisect_right(faults, until, key=lambda fault: fault.began) - 1
        return place >= 0 and faults[place].ended >= since

    @cached_property
    def _hidden(self) -> tuple[FaultWindow, ...]:
        return tuple(fault for fault in self.faults if not self.sees(fault))

    def sees(self, fault: FaultWindow) -> bool:
        """Whether who is let through and who is kept back can be told while *fault* is in."""
        return self.sees_refusals or fault.kind not in BLIND

    def phase_at(self, at: float) -> str:
        """Name the phase: ``baseline``, the fault's kind, or the kind and ``recovery``."""
        place = bisect_right(self.faults, at, key=lambda fault: fault.began) - 1
        if place < 0:
            return BASELINE
        fault = self.faults[place]
        return fault.kind if at <= fault.ended else f"{fault.kind} recovery"

    def phases_of(self, kind: str) -> tuple[Phase, ...]:
        """Return the phases of one *kind*, in order."""
        return tuple(each for each in self.phases if each.kind == kind)

    @cached_property
    def plain(self) -> View:
        """What is settled, up to the first extra phase; rows of calls are those of the whole."""
        settled = self.settled
        return self._before_extras() if settled is self else settled.plain

    @cached_property
    def settled(self) -> View:
        """What was called at the rate that was kept in the end; rows of calls are those of the whole."""
        since = rates.settled_since(self.faults, self.phases)
        if since == -np.inf:
            return self
        came = self.arrivals.at >= since
        return _inferred(
            self.calls,
            self.arrivals.where(came),
            [fault for fault in self.faults if fault.began >= since],
            [phase for phase in self.phases if phase.began >= since],
            mapping=replace(self.mapping, call=self.mapping.call[came]),
            since=since,
        )

    def _before_extras(self) -> View:
        extras = {each.kind for each in self.phases if each.extra}
        if not extras:
            return self
        until = min(
            [phase.began for phase in self.phases if phase.extra]
            + [fault.began for fault in self.faults if fault.kind in extras]
        )
        asked, came = self.asked.where(self.asked.at < until), self.arrivals.at < until
        return replace(
            self,
            arrivals=self.arrivals.where(came),
            mapping=replace(self.mapping, call=self.mapping.call[came]),
            faults=tuple(fault for fault in self.faults if fault.began < until),
            decisions=self.decisions.where(self.decisions.at < until),
            asked=asked,
            course=course_of(self.calls, asked, self.baseline, self.faults),
            phases=tuple(phase for phase in self.phases if phase.began < until),
        )

    def between(self, since: float, until: float) -> slice:
        """Return the rows of the decisions taken after *since* and before *until*."""
        at = self.asked.at
        return slice(int(np.searchsorted(at, since, "right")), int(np.searchsorted(at, until, "left")))

    # rows of `asked`

    @cached_property
    def latency_s(self) -> Floats:
        """How long each decided call took for the client."""
        return (self.calls.ended - self.calls.begun)[self.asked.call]

    @cached_property
    def well(self) -> Flags:
        """Which decided calls came out well for the client."""
        return self.calls.good[self.asked.call]

    @cached_property
    def degraded(self) -> Flags:
        """Which decided calls were answered in a degraded form."""
        return self.calls.degraded[self.asked.call]

    def rows(self, state: State) -> Flags:
        """Return which decisions were taken in *state*."""
        chosen = np.zeros(len(self.asked), bool)
        for stretch in self.course.of(state):
            chosen[stretch.first : stretch.end] = True
        return chosen

    @cached_property
    def good_done(self) -> Floats:
        """When calls that were let through came out well, sorted."""
        return np.sort(self.asked.done[self.asked.forwarded & self.asked.good])

    @cached_property
    def failed_done(self) -> Floats:
        """When calls that were let through failed, sorted."""
        return np.sort(self.asked.done[self.asked.forwarded & ~self.asked.good])

    @cached_property
    def _through(self) -> tuple[Floats, Floats]:
        through = self.asked.forwarded
        return np.sort(self.asked.at[through]), np.sort(self.asked.done[through])

    def under_way(self, at: Floats) -> Ints:
        """Return how many calls are at the dependency at each moment of *at*."""
        began, done = self._through
        return np.searchsorted(began, at, "right") - np.searchsorted(done, at, "right")

    @cached_property
    def late_s(self) -> float:
        """How late, in seconds, what the service decides or learns is seen."""
        return seen_late(self.asked, min((fault.began for fault in self.faults), default=np.inf))

    @cached_property
    def in_fault(self) -> Flags:
        """Which decisions fell into a fault."""
        return within(self.asked.at, self.faults)

    @cached_property
    def calm(self) -> Flags:
        """Which decisions came before the first fault, or in a further baseline."""
        return rates.during(self.asked.at, rates.calm(self.faults, self.phases))


def course_of(calls: Calls, asked: Decisions, baseline: Baseline, faults: Sequence[FaultWindow]) -> Course:
    """Return the course of states behind the decisions *asked* for."""
    first = min((fault.began for fault in faults), default=np.inf)
    clear = clearly_kept_back(calls, asked, baseline, faults)
    return follow(asked, baseline, clear, late_s=seen_late(asked, first))


def view(
    calls: Calls,
    arrivals: Arrivals,
    faults: Sequence[FaultWindow],
    phases: Sequence[Phase] = (),
    *,
    mapping: Mapping | None = None,
) -> View:
    """Infer the course of the one breaker between *calls* and *arrivals*, matched by *mapping* if given."""
    return _inferred(calls, arrivals, faults, phases, mapping=mapping or match(calls, arrivals))


def _inferred(
    calls: Calls,
    arrivals: Arrivals,
    faults: Sequence[FaultWindow],
    phases: Sequence[Phase],
    *,
    mapping: Mapping,
    since: float = -np.inf,
) -> View:
    """Return the view of what was decided *since* then."""
    calm_s = rates.calm(faults, phases)
    habits = asking.learn(calls, arrivals, mapping, calm_s)
    decisions = decide(calls, arrivals, mapping)
    decisions = decisions.where(decisions.at >= since)
    if habits.joined:  # nobody decided about those who waited for another's answer
        joined = asking.joined_calls(calls, mapping)
        decisions = decisions.where(~joined[decisions.call])
    baseline = learn(calls, decisions, rates.during(decisions.at, calm_s))
    told, sees_refusals = reveal(calls, decisions, baseline, faults)
    asked = without_given_up(calls, without_aside(calls, told, baseline), phases)
    overloaded = rates.during(asked.at, rates.taken_back(phases))
    asked, too_many = asked.where(~overloaded), asked.where(overloaded)
    limited = room(asked)
    turned_away = asked.at[limited.full] if limited else np.empty(0)
    asked = asked.where(~limited.full) if limited else asked
    return View(
        calls=calls,
        arrivals=arrivals,
        faults=tuple(sorted(faults, key=lambda fault: fault.began)),
        mapping=mapping,
        decisions=decisions,
        asked=asked,
        too_many=too_many,
        baseline=baseline,
        asking=habits,
        sees_refusals=sees_refusals,
        course=course_of(calls, asked, baseline, faults),
        phases=tuple(phases),
        limit=limited.limit if limited else None,
        turned_away=turned_away,
    )
