"""Which of several sources kept back each call that did not arrive: drawn from all that explains it.

Each source lets calls through, keeps them back, or tries.  A call that arrived tells its source; one that was
kept back tells only that some source to which it may have been led did so.

Source:
    A factorial hidden Markov model (Ghahramani and Jordan 1997) with three states a source, followed exactly:
    filtered forwards, sampled backwards (Carter and Kohn 1994).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from agent.breakers.courses.states import JUST_S

if TYPE_CHECKING:
    from agent.breakers.reading.decisions import Decisions
    from agent.breakers.streams import Flags, Floats, Ints

SELDOM = 5e-4
"""The chance of a change that no outcome explains, at each call that tells of it."""
UNCAUSED = 2e-5
"""The chance of one to have its source keep calls back, though none has failed."""
LEAK, EARLY, DUE = 0.02, 4e-4, 0.3
"""The chance of a call to be let through by a source that keeps calls back: it is the trial.  Sooner after
the last one than it ever stays open it is hardly one, and after so long most are."""
STRAY = 2e-4
"""The chance of one to be kept back by a source that lets calls through: two clocks, no order."""
BESIDE = 0.5
"""The chance of one to be kept back while a trial of that source is under way."""
CLOSED, OPEN, TRYING = 0, 1, 2
FAILED = np.array([[0.85, 0.15, 0.0], [0.0, 1.0, 0.0], [0.0, 0.97, 0.03]])
"""What a failed call makes of the source that let it through: from each state (a row) to each."""
GOOD = np.array([[1.0, 0.0, 0.0], [0.1, 0.9, 0.0], [0.6, 0.0, 0.4]])
"""What a good one makes of it."""
BY_ITSELF = np.array(
    [[1 - UNCAUSED, UNCAUSED, 0.0], [SELDOM, 1 - SELDOM, 0.0], [SELDOM, UNCAUSED, 1 - SELDOM - UNCAUSED]]
)
TRIED = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
"""What a call makes of it that is let through: who kept calls back tries."""
UNSEEN = np.array([[0.6, 0.4, 0.0], [0.3, 0.7, 0.0], [0.3, 0.4, 0.3]])
"""What may have become of it in a time in which nothing could be seen."""
STILL = np.eye(3)
NOTHING = np.empty(0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Asked:
    """Decisions with what is known of their sources.

    ``source`` is who let a call through, -1 where nobody knows; ``chances`` are those that it was led to
    each; ``bad`` are those that came out so that they may open a breaker.  ``leak`` is the chance of each to
    be let through by a source that keeps calls back.  ``aside`` is the share of calls kept back by nobody.
    After each moment in ``blind`` everything may have changed unseen.
    """

    decisions: Decisions
    source: Ints
    chances: Floats
    bad: Flags
    leak: Floats
    aside: float = 0.0
    blind: tuple[float, ...] = ()

    @property
    def sources(self) -> int:
        """How many there are."""
        return int(self.chances.shape[1])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Drawn:
    """``source`` has for each draw (a row) the source of each decision; ``nats`` is how likely all is."""

    source: Ints
    nats: float


class _Move(NamedTuple):
    """The state of the source ``of`` may change with the chances ``to`` (from a row to a column)."""

    of: int
    to: Floats


class _Sign(NamedTuple):
    """Something was seen that has a chance in each state; of unknown source, ``each`` has it for each.

    ``row`` is the decision.
    """

    row: int
    chance: Floats
    each: Floats | None


type _Event = _Move | _Sign


def draw(asked: Asked, count: int, dice: np.random.Generator) -> Drawn:
    """Draw the sources of all decisions *count* times.  O(n 3**sources)."""
    events = list(_events(asked))
    before, last, nats = _filtered(events, asked.sources)
    state = dice.choice(len(last), size=count, p=last)
    found = np.tile(asked.source, (count, 1))
    for event, alpha in zip(reversed(events), reversed(before), strict=True):
        if isinstance(event, _Move):
            state = _stepped_back(state, event, alpha, dice)
        elif event.each is not None:
            up_to = np.cumsum(event.each[state], axis=1)
            found[:, event.row] = (dice.random((count, 1)) * up_to[:, -1:] > up_to).sum(axis=1)
    return Drawn(source=found, nats=nats)


def explained(asked: Asked) -> float:
    """Return how well sources with a state each explain the decisions, in nats."""
    return _filtered(list(_events(asked)), asked.sources)[2]


def _events(asked: Asked) -> list[_Event]:
    """Return everything that tells, in order: outcomes when they were known, and decisions."""
    decisions, sources = asked.decisions, asked.sources
    every = range(sources)
    digits = (np.arange(3**sources)[:, None] // 3 ** np.arange(sources)) % 3
    by_state = np.eye(3)[digits]  # state, source, and which of the three it is in
    ended = np.flatnonzero(decisions.forwarded)
    at = np.concatenate([asked.blind, decisions.done[ended], decisions.at])
    what = np.concatenate([np.zeros(len(asked.blind), "i8"), ended, np.arange(len(decisions))])
    kind = np.repeat([0, 1, 2], [len(asked.blind), len(ended), len(decisions)])
    busy_until = np.full(sources, -np.inf)
    back = np.array([max(STRAY, asked.aside), 1 - LEAK, max(STRAY, asked.aside)])
    beside = np.array([0.0, 0.0, BESIDE])
    by_itself = np.linalg.matrix_power(BY_ITSELF, sources)  # at a call of unknown source one takes its turn
    found: list[_Event] = []
    for place in np.lexsort((kind, at)).tolist():
        row, source = int(what[place]), int(asked.source[what[place]])
        if kind[place] == 0:
            found += [_Move(of, UNSEEN) for of in every]
        elif kind[place] == 1:
            to = FAILED if asked.bad[row] else GOOD
            chances = asked.chances[row]
            found += (
                [_Move(source, to)]
                if source >= 0
                else [_Move(of, chances[of] * to + (1 - chances[of]) * STILL) for of in every]
            )
        else:
            is_busy = busy_until >= decisions.at[row]
            kept = np.where(is_busy[:, None], np.maximum(back, beside), back)
            if source >= 0:
                found.append(_Move(source, BY_ITSELF))
                through = 1 - kept[source]
                through[OPEN] = asked.leak[row]
                found.append(_Sign(row, by_state[:, source] @ through, None))
                found.append(_Move(source, TRIED))
                busy_until[source] = max(busy_until[source], decisions.done[row] + JUST_S)
                continue
            found.append(_Move(row % sources, by_itself))
            chance = 1 - kept if decisions.forwarded[row] else kept
            each = (by_state * chance).sum(axis=2) * asked.chances[row]
            found.append(_Sign(row, each.sum(axis=1), each))
    return found


def _filtered(events: list[_Event], sources: int) -> tuple[list[Floats], Floats, float]:
    """Return the chances of the states before each event, and after the last, and all in nats."""
    now = np.zeros(3**sources)
    now[0] = 1.0
    before, nats = [], 0.0
    for event in events:
        before.append(now.astype("f4") if isinstance(event, _Move) else NOTHING)
        if isinstance(event, _Move):
            now = (event.to.T @ now.reshape(-1, 3, 3**event.of)).ravel()
        else:
            now = now * event.chance
            total = float(now.sum())
            nats += float(np.log(total))
            now = now / total
    return before, now, nats


def _stepped_back(state: Ints, event: _Move, alpha: Floats, dice: np.random.Generator) -> Ints:
    """Return what the states were before *event*, which may have changed one source's."""
    unit = 3**event.of
    digit = (state // unit) % 3
    candidates = (state - digit * unit)[:, None] + unit * np.arange(3)
    up_to = np.cumsum(alpha[candidates] * event.to.T[digit], axis=1)
    was = (dice.random((len(state), 1)) * up_to[:, -1:] > up_to).sum(axis=1)
    before: Ints = candidates[np.arange(len(state)), was]
    return before
