"""A bulkhead beside a breaker: so many calls under way at a time, and what it turned away is nobody's state.

What only a bulkhead does is to keep calls back while as many are under way as there ever are, and to let in
the next one as soon as there is room; a breaker that is open goes on when there is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from agent.breakers.reading.decisions import Decisions
    from agent.breakers.streams import Flags, Ints

GUARD_S = 0.004
"""How many are under way is known but for those that come or end so shortly before or after."""
FREED_S = 0.02
"""Whoever is kept back so shortly after there was room may still have met a full one."""
WAITED_S = 0.05
"""A rejection that took longer waited for something; how many were under way then is known no better."""
LEAST = 3
"""Fewer at a time are those of a half-open breaker."""
CLOSED_ROW = 20
"""So many let in in a row, and as many as there is room for, were let in by a closed breaker."""
SIGNS, UNTOLD = 3, 2
"""So often a place that had become free is taken, and it is full again, since the breaker was surely closed:
one that opens then lets nobody in.  Where it was full with no call ended since the last was let in that
counts so many times more, for a breaker has learnt nothing then that could open it."""
SHORT, STRAYS = 2, 0.25
"""So few kept back in a row with room left are no opening; a bulkhead keeps hardly any back like that: at
most this share of the times at which it was full again."""
OVER = 0.02
"""So few may be let in though it is full: two processes, two clocks."""
ALONE = 0.25
"""Where it explains all but so few of the calls kept back it is the whole machine, and no part of one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """The ``limit`` of calls under way, and which decisions were taken while there were so many."""

    limit: int
    full: Flags


def room(decisions: Decisions) -> Room | None:
    """Return the limit that a bulkhead beside the breaker keeps, None where none is seen; O(n log n)."""
    through = decisions.forwarded
    if through.all() or not through.any():
        return None
    least, most = _under_way(decisions, 0.0)
    limit = _never_more_than(np.sort(least[through]))
    if limit is None or _signs(decisions, ~through & (most >= limit), limit) < SIGNS:
        return None
    full: Flags = ~through & (_under_way(decisions, FREED_S)[1] >= limit)
    alone = (~through & ~full).sum() <= ALONE * (~through).sum()
    return None if alone else Room(limit=limit, full=full)


def _never_more_than(levels: Ints) -> int | None:
    """Return the lowest limit that hardly any of the sorted *levels* exceeds, of those that it was met by."""
    limits = np.arange(LEAST, int(levels[-1]) + 1)
    over = len(levels) - np.searchsorted(levels, limits, "right")
    met = len(levels) - np.searchsorted(levels, limits, "left")
    kept = limits[over <= OVER * met]
    return int(kept[0]) if len(kept) else None


def _under_way(decisions: Decisions, freed_s: float) -> tuple[Ints, Ints]:
    """Return how many are under way at each decision, the one let in included: at least, and at most."""
    through = decisions.forwarded
    began, done = np.sort(decisions.at[through]), np.sort(decisions.done[through])
    since = np.maximum(decisions.begun, decisions.at - WAITED_S)
    least = np.searchsorted(began, decisions.at, "right") - np.searchsorted(
        done, decisions.at + GUARD_S, "right"
    )
    most = np.searchsorted(began, decisions.at + GUARD_S, "right") - np.searchsorted(
        done, since - GUARD_S - freed_s, "right"
    )
    return least, most


def _signs(decisions: Decisions, full: Flags, limit: int) -> int:
    """Return how often it was full, let one in that found room, and so on, since the breaker was closed.

    0 where calls are kept back here and there with room left, too: then it was full by chance.
    """
    at, let_in = decisions.at, np.flatnonzero(decisions.forwarded)
    done = np.sort(decisions.done[let_in])
    first = at[np.minimum(let_in[:-1] + 1, len(at) - 1)]
    told = np.searchsorted(done, first + GUARD_S, "right") > np.searchsorted(done, at[let_in[:-1]] - GUARD_S)
    kept = np.diff(let_in) - 1
    were_full = np.diff(np.cumsum(full)[let_in])
    closed, in_a_row, found, strays = False, 0, 0, 0
    for back, away, news in zip(kept.tolist(), were_full.tolist(), told.tolist(), strict=True):
        closed |= in_a_row >= CLOSED_ROW + limit
        in_a_row = in_a_row + 1 if back == 0 else 0
        if back == 0:
            continue
        if away == back:
            found += closed * (1 if news else 1 + UNTOLD)
        else:
            strays += closed and away == 0 and back <= SHORT
            closed = False
    return found if strays <= STRAYS * found else 0
