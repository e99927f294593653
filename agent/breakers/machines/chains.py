"""How likely a row of decisions is under a hidden chain of levels: shares of calls that are let through.

Each machine is a chain: which levels there are, and which may follow which.  The chain whose likelihood is
the greatest explains the row best; all are of the same decisions, so their likelihoods compare.

Source:
    Rabiner 1989, "A tutorial on hidden Markov models", section III.A (the forward algorithm), taken run by
    run: the step matrix of a run of m equal decisions is a power of the one of a single decision.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from agent.breakers.streams import Floats, Ints

    type Moves = Sequence[tuple[int, float]]
    type Table = Sequence[Moves]


KEPT_BACK, GOOD, FAILED = 0, 1, 2
"""What a decision was, and of one let through how it ended; peers have two numbers each."""
RUNS_MAX = 3_000
"""So many runs of equal decisions are looked at: enough to tell, and a bound to the work."""
REPLICAS_MAX = 5
"""More than so many that cannot be told apart by their peers look like a ramp."""
NEVER = 1e-250
STRAY = 0.004
"""A decision that comes out of order has about this chance: two processes, two clocks."""
LEAKS = (0.004, 0.02, 0.05)
"""The shares of calls that an open breaker lets through that are tried: trials, leaks, a trickle."""
SHARES = (0.05, 0.15, 0.3, 0.5, 0.7, 0.85)
"""The shares of trials among the calls to a half-open breaker that are tried."""
TRIPS = (0.02, 0.1, 0.3)
"""The chances that are tried for a failed call to open what let it in."""
RECOVERS = (0.1, 0.4)
"""The chances that are tried for a good trial to close what let it in."""
SELDOM = 0.001
"""The chance of a change that nothing explains, or that a clock brings about."""
QUIETLY = 0.1
"""A call kept back changes a throttle's share so many times as seldom as one that has an outcome."""
BEGINS = (0.00005, 0.001, 0.02)
"""The chances that are tried for an open breaker to become half-open; the least for one that stays open for a
thousand calls or more."""
FAILS = (0.7, 0.15)
"""The chances that are tried for a failed trial to open a half-open breaker: a trial that hangs is known to
have failed when others have been let in already."""
RAMP = tuple(round(0.1 * step, 1) for step in range(1, 10))
RAMP_PACES = (0.5, 0.25, 0.12, 0.05, 0.02)
THROTTLE = (0.01, 0.03, 0.06, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


@dataclass(frozen=True, slots=True, eq=False)
class Family:
    """Chains of one shape, tried together.

    ``levels`` has the share that each state of each chain lets through; the others have the chances of
    going from each state to each with a decision: one kept back, let through and good, and let through
    and failed.
    """

    levels: Floats
    kept_back: Floats
    good: Floats
    failed: Floats

    def matrices(self, aside: float) -> tuple[Floats, ...]:
        """Return for each kind of decision the chances of it and of the next state."""
        through = np.clip(self.levels * (1 - aside), 1e-9, 1 - max(STRAY, aside))[:, :, None]
        return self.kept_back * (1 - through), self.good * through, self.failed * through


@dataclass(frozen=True, slots=True)
class Runs:
    """Decisions as runs of equal ones: what they were, and how many."""

    symbols: tuple[int, ...]
    lengths: tuple[int, ...]


def runs_of(symbols: Ints) -> Runs:
    """Return the runs of *symbols*, the first so many."""
    starts = np.flatnonzero(np.diff(symbols, prepend=-1))[: RUNS_MAX + 1]
    ends = np.append(starts[1:], len(symbols))[: len(starts)]
    kept = slice(0, RUNS_MAX)
    return Runs(tuple(symbols[starts].tolist()[kept]), tuple((ends - starts).tolist()[kept]))


def likelihood(runs: Runs, one: Sequence[Floats]) -> float:
    """Return the logarithm of the chance of *runs* under the best chain; *one* has a decision's matrices."""

    @cache
    def power(symbol: int, length: int) -> tuple[Floats, Floats]:
        if length == 1:
            return one[symbol], np.zeros(len(one[symbol]))
        half, log_half = power(symbol, length // 2)
        whole, log_whole = half @ half, 2 * log_half
        if length % 2:
            whole = whole @ one[symbol]
        scale = np.maximum(whole.max(axis=(1, 2)), NEVER)
        return whole / scale[:, None, None], log_whole + np.log(scale)

    chains, _, states = one[0].shape
    at = np.full((chains, 1, states), 1 / states)
    total = np.zeros(chains)
    for symbol, length in zip(runs.symbols, runs.lengths, strict=True):
        matrix, log_scale = power(symbol, length)
        at = at @ matrix
        weight = np.maximum(at.sum(axis=2), NEVER)
        at /= weight[:, :, None]
        total += np.log(weight[:, 0]) + log_scale
    return float(total.max())


def _matrix(moves: Table) -> Floats:
    """Return the chances where state i goes to others with those in ``moves[i]`` and stays otherwise."""
    matrix = np.zeros((len(moves), len(moves)))
    for here, going in enumerate(moves):
        for there, chance in going:
            matrix[here, there] += chance
        matrix[here, here] += 1 - matrix[here].sum()
    return matrix


def _family(chains: Iterable[tuple[Sequence[float], Table, Table, Table]]) -> Family:
    """Return the chains of levels, and of moves after a call kept back, a good one and a failed one."""
    levels, kept_back, good, failed = zip(*chains, strict=True)
    return Family(
        levels=np.array(levels, "f8"),
        kept_back=np.array([_matrix(moves) for moves in kept_back]),
        good=np.array([_matrix(moves) for moves in good]),
        failed=np.array([_matrix(moves) for moves in failed]),
    )


@cache
def breakers() -> Family:
    """Closed, open, and a half-open in which a steady share is let through, until a trial fails.

    Closed never goes to half-open.
    """
    return _family(
        (
            [1.0, leak, share],
            [[(1, SELDOM)], [(2, begins), (0, min(begins, SELDOM))], [(1, SELDOM)]],
            [[(1, SELDOM)], [(0, recovers), (2, recovers)], [(0, recovers)]],
            [[(1, trips)], [(0, SELDOM)], [(1, fails)]],
        )
        for leak, share, trips, recovers, begins, fails in product(
            LEAKS, SHARES, TRIPS, RECOVERS, BEGINS, FAILS
        )
    )


@cache
def replicas(count: int) -> Family:
    """So many machines of which a failure opens one and a success closes one at a time."""
    still: Moves = ()
    return _family(
        (
            [max(leak, k / count) for k in range(count + 1)],
            [still] * count + [[(count - 1, SELDOM)]],
            [[(k + 1, recovers)] for k in range(count)] + [[(count - 1, SELDOM)]],
            [still] + [[(k - 1, trips)] for k in range(1, count + 1)],
        )
        for leak, trips, recovers in product(LEAKS, TRIPS, (0.05, *RECOVERS))
    )


@cache
def gradual() -> Family:
    """Closed, open, then one level after the other; a failure on the way may open it again."""
    last = len(RAMP) + 1
    up = {level: level + 1 if level < last else 0 for level in range(2, last + 1)}
    return _family(
        (
            [1.0, leak, *RAMP],
            [[(1, SELDOM)], [(2, begins)], *([(up[level], pace)] for level in up)],
            [[(1, SELDOM)], [(2, 0.5)], *([(up[level], pace)] for level in up)],
            [[(1, trips)], [(2, 0.2)], *([(up[level], pace), (1, trips)] for level in up)],
        )
        for leak, pace, begins, trips in product(LEAKS[:2], RAMP_PACES, (0.03, 0.01), TRIPS)
    )


@cache
def throttles() -> Family:
    """Any share, which goes up and down by a level or a few at a time, and down only after a failure."""
    top = len(THROTTLE) - 1

    def moves(leave: float, reach: float, *, up: bool, top_leave: float) -> list[Moves]:
        return [
            [
                (there, (leave if here < top else top_leave) * reach ** abs(there - here))
                for there in range(top + 1)
                if there != here and (up or there < here)
            ]
            for here in range(top + 1)
        ]

    return _family(
        (
            THROTTLE,
            moves(leave * QUIETLY, reach, up=True, top_leave=SELDOM),
            moves(leave, reach, up=True, top_leave=SELDOM),
            moves(leave, reach, up=False, top_leave=trips),
        )
        for leave, reach, trips in product((0.3, 0.1, 0.03), (0.2, 0.5), (0.03, 0.1, 0.3))
    )
