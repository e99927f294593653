"""The states of each of several sources behind one entry, where arrivals tell the source.

Who kept back a call that did not arrive is drawn many times over from all that explains what was seen
(`attribution.py`); each draw gives each source a row of decisions of its own, and so a course of states.
What nearly all of them agree on is told (`consensus.py`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from agent.breakers.courses.course import SLOWER, follow
from agent.breakers.courses.states import State
from agent.breakers.reading.decisions import BLIND, clearly_kept_back
from agent.breakers.replicas import attribution, routing
from agent.breakers.replicas.attribution import Asked
from agent.breakers.replicas.consensus import UNKNOWN, Consensus, agreed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.breakers.courses.states import Course
    from agent.breakers.replicas.routing import Routing
    from agent.breakers.streams import Flags, Ints
    from agent.breakers.view import View

SHARE_MIN = 0.05
"""A source of fewer of the calls is none of the replicas: a check, or somebody else."""
SOURCES_MAX = 5
DECISIONS_MAX = 20_000
"""Of more sources, or decisions around what went wrong, the states are not told: a bound to the work."""
CALM_MIN = 5
"""So many calls of each have to come out while nothing is wrong."""
FIRST_DRAWS, DRAWS = 10, 40
QUIET = 100
"""So many calls before and after anything that went wrong are looked at."""
EARLY, DUE = 0.3, 0.85
"""Shares of the usual open time: before the one hardly any trial comes, after the other most do."""
SILENT = 1e-6
"""A silence less likely than this, with no call kept back, is none by chance: calls are led past a source."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Source:
    """What is told of one source.

    ``number`` is its number among the arrivals, ``share`` its share of the calls in the calm, ``calls`` how
    many it let through.  ``view`` has the decisions of one draw, whose course has the states that are told,
    and the brackets of all; times in which nothing is told are left out.  Where ``why`` says something, no
    states are told at all.
    """

    number: int
    share: float
    calls: int
    consensus: Consensus
    view: View
    why: str = ""


def numbers(view: View) -> tuple[Ints, Ints]:
    """Return the sources of a share worth the name, and for each call the place of its own, -1 if unknown."""
    owner = np.full(len(view.calls), -1)
    mine = view.mapping.call >= 0
    owner[view.mapping.call[mine]] = view.arrivals.source[mine]
    found, counts = np.unique(owner[owner >= 0], return_counts=True)
    found = found[counts >= SHARE_MIN * max(int(counts.sum()), 1)]
    place = np.searchsorted(found, owner) if len(found) else owner
    is_one = (place < len(found)) & np.isin(owner, found)
    return found, np.where(is_one, place, -1)


class Apart:
    """The decisions of *view* with what is known of their sources."""

    def __init__(self, view: View) -> None:
        self._view = view
        self.numbers, self._place = numbers(view)
        self._dice = np.random.default_rng(len(view.calls))

    @cached_property
    def hindered(self) -> str:
        """Why nothing can be told, "" if it can."""
        count = len(self.numbers)
        if count < 2:
            return (
                "all requests come from one address, or one pod: nobody knows which replica let a call "
                "through: give each an address of its own towards the link, or have --pods match them all"
            )
        if count > SOURCES_MAX:
            return f"there are {count} sources; the states of at most {SOURCES_MAX} are told"
        if (came := int((self.routing.calls < CALM_MIN).sum())) > 0:
            return (
                f"{came} of {count} addresses sent hardly a request while nothing was wrong: a replica that "
                "came later takes calls of which nobody knows how many"
            )
        if (n := len(self._rows)) > DECISIONS_MAX:
            return (
                f"{n} calls came while something was wrong; the states of each are told up to {DECISIONS_MAX}"
            )
        return ""

    @cached_property
    def _rows(self) -> Ints:
        """The decisions around anything that went wrong, and the first and the last."""
        asked = self._view.asked
        eventful = np.flatnonzero(~asked.forwarded | ~asked.good)
        change = np.zeros(len(asked) + 1, "i8")
        np.add.at(change, np.maximum(eventful - QUIET, 0), 1)
        np.add.at(change, np.minimum(eventful + QUIET, len(asked)), -1)
        chosen = np.cumsum(change[:-1]) > 0
        chosen[:1] = chosen[-1:] = True
        return np.flatnonzero(chosen)

    @cached_property
    def routing(self) -> Routing:
        """How calls come to their sources."""
        first = min((fault.began for fault in self._view.faults), default=np.inf)
        calm = self._view.calls.ended < first
        return routing.learn(self._view.calls, self._place, calm, len(self.numbers))

    @cached_property
    def _asked(self) -> Asked:
        view, decisions = self._view, self._view.asked.where(self._rows)
        took, good = decisions.done - decisions.begun, decisions.forwarded & decisions.good
        usual = float(np.median(took[good])) if good.any() else np.inf
        return Asked(
            decisions=decisions,
            source=np.where(decisions.forwarded, self._place[decisions.call], -1),
            chances=self.routing.chances[decisions.call],
            bad=decisions.forwarded & (~decisions.good | (took > SLOWER * usual)),
            leak=np.full(len(decisions), attribution.LEAK),
            aside=view.baseline.aside_share if view.baseline.ambiguous else 0.0,
            blind=tuple(f.ended for f in view.faults if f.kind in BLIND and not view.sees(f)),
        )

    @cached_property
    def _clear(self) -> Flags:
        view = self._view
        found: Flags = clearly_kept_back(view.calls, view.asked, view.baseline, view.faults)[self._rows]
        return found

    def _courses(self, source: Ints) -> list[list[Course]]:
        """Return for each source its course in each draw."""
        decisions, baseline = self._asked.decisions, self._view.baseline
        return [
            [follow(decisions.where(mine), baseline, self._clear[mine]) for mine in source == number]
            for number in range(len(self.numbers))
        ]

    @cached_property
    def _open_s(self) -> list[float]:
        """How long each source usually stays open, 0 where that is not known."""
        drawn = attribution.draw(self._asked, FIRST_DRAWS, self._dice)
        each = [_lasted(courses) for courses in self._courses(drawn.source)]
        usual = [float(np.median(lasted)) if lasted else 0.0 for lasted in each]
        known = [open_s for open_s in usual if open_s]
        return [open_s or min(known, default=0.0) for open_s in usual]

    @cached_property
    def ahead(self) -> float:
        """How much better states of their own explain the decisions than one state for all, in nats."""
        one = np.where(self._asked.source >= 0, 0, -1)
        for_all = replace(self._asked, source=one, chances=np.ones((len(one), 1)))
        pooled = _lasted([self._view.course])
        tried = [0.0, *self._open_s, *([float(np.median(pooled))] if pooled else [])]
        together = max(attribution.explained(_timed(for_all, [open_s])) for open_s in set(tried))
        return attribution.explained(_timed(self._asked, self._open_s)) - together

    @cached_property
    def told(self) -> tuple[Source, ...]:
        """What is told of each source; nothing where that is `hindered`."""
        if self.hindered:
            return ()
        asked = _timed(self._asked, self._open_s)
        drawn = attribution.draw(asked, DRAWS, self._dice).source
        return tuple(
            self._source(number, courses, drawn) for number, courses in enumerate(self._courses(drawn))
        )

    def _source(self, number: int, courses: Sequence[Course], drawn: Ints) -> Source:
        found = agreed(courses)
        mine = drawn[found.like] == number
        seen = self._view_of(number, mine, found)
        return Source(
            number=int(self.numbers[number]),
            share=float(self.routing.shares[number]),
            calls=int((self._place[self._view.asked.call[self._view.asked.forwarded]] == number).sum()),
            consensus=found,
            view=seen,
            why=self._passed_by(number, mine) or _no_breaker(seen),
        )

    def _view_of(self, number: int, mine: Flags, found: Consensus) -> View:
        """Return the view of one source, with the decisions that are *mine* as far as states are told."""
        view, decisions = self._view, self._asked.decisions
        for since, until in found.untold:
            mine = mine & ~((decisions.at >= since) & (decisions.at <= until))
        theirs, came = decisions.where(mine), view.arrivals.source == self.numbers[number]
        course = follow(theirs, view.baseline, self._clear[mine])
        told = [step for step in found.steps if UNKNOWN not in (step.was, step.to)]
        if [step.to for step in told] == [str(step.to) for step in course.transitions]:
            wider = zip(course.transitions, told, strict=True)
            steps = tuple(replace(one, after=other.after, before=other.before) for one, other in wider)
            course = replace(course, transitions=steps)
        return replace(
            view,
            arrivals=view.arrivals.where(came),
            mapping=replace(view.mapping, call=view.mapping.call[came]),
            decisions=theirs,
            asked=theirs,
            course=course,
        )

    def _passed_by(self, number: int, mine: Flags) -> str:
        """Say that calls were led past a source, if it had none for longer than chance makes."""
        decisions = self._asked.decisions
        chance = np.minimum(self._asked.chances[:, number], 0.9)
        passed = np.concatenate([[0.0], np.cumsum(np.where(mine, 0.0, np.log1p(-chance)))])
        edges = np.concatenate([[0], np.flatnonzero(mine) + 1, [len(mine)]])
        silences = passed[edges[:-1]] - passed[edges[1:]]
        worst = int(np.argmax(silences))
        if silences[worst] <= -math.log(SILENT / max(len(mine), 1)):
            return ""
        since, until = decisions.at[edges[worst] - 1 if worst else 0], decisions.at[edges[worst + 1] - 1]
        return (
            f"for {until - since:.1f} s no call was led to it, and none kept back is its: the balancer leads "
            "calls past it, and nobody sees its states"
        )


def _no_breaker(seen: View) -> str:
    """Say that what decides has not three states, if it has not."""
    machine = seen.machine
    return "" if machine.three_state else f"what decides is no breaker with three states but {machine.kind}"


def _lasted(courses: Sequence[Course]) -> list[float]:
    """Return how long each was open, at most."""
    return [
        two.before - one.after
        for course in courses
        for one, two in pairwise(course.transitions)
        if one.to is State.OPEN and two.was is State.OPEN
    ]


def _timed(asked: Asked, open_s: Sequence[float]) -> Asked:
    """Return *asked* with the chances of trials that go with how long each source stays open."""
    leak = np.full(len(asked.decisions), attribution.LEAK)
    for number, lasts in enumerate(open_s):
        rows = np.flatnonzero(asked.source == number)
        if not lasts or len(rows) == 0:
            continue
        since = np.diff(asked.decisions.at[rows], prepend=-np.inf)
        leak[rows[since < EARLY * lasts]] = attribution.EARLY
        leak[rows[since > DUE * lasts]] = attribution.DUE
    return replace(asked, leak=leak)
