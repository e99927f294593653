"""Which arrival at the dependency belongs to which call of the client."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from agent.breakers.streams import Arrivals, Calls, Ints

BY_ID_SHARE = 0.8
"""Ids are trusted when at least this share of the arrivals carries the id of a call."""
CLOCK_ERROR_S = 0.002


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Mapping:
    """``call`` holds, for each arrival, the row of its call, or -1 for one that no call explains.

    ``doubtful_share`` is the share of arrivals for which more than one call was possible.
    """

    call: Ints
    by_id: bool
    doubtful_share: float

    @property
    def strangers(self) -> int:
        """How many arrivals no call explains: another client, a health check, a late retry."""
        return int((self.call < 0).sum())


def match(calls: Calls, arrivals: Arrivals) -> Mapping:
    """Map by the id that the service passed on, or else by time.

    Source:
        Without ids: the maximum matching of points to intervals by earliest deadline (Glover 1967,
        convex bipartite graphs).  O((n + m) log n).
    """
    by_id = _by_id(calls, arrivals)
    if len(arrivals) == 0 or (by_id >= 0).mean() >= BY_ID_SHARE:
        return Mapping(call=by_id, by_id=True, doubtful_share=0.0)
    call, doubtful = _by_time(calls, arrivals)
    return Mapping(call=call, by_id=False, doubtful_share=doubtful / len(arrivals))


def _by_id(calls: Calls, arrivals: Arrivals) -> Ints:
    if len(calls) == 0:
        return np.full(len(arrivals), -1)
    order = np.argsort(calls.id, kind="stable")
    known = calls.id[order]
    place = np.minimum(np.searchsorted(known, arrivals.id), len(known) - 1)
    return np.where((known[place] == arrivals.id) & (arrivals.id != 0), order[place], -1)


def _by_time(calls: Calls, arrivals: Arrivals) -> tuple[Ints, int]:
    """Give each arrival the open call that ends first and has none yet."""
    call_of = np.full(len(arrivals), -1)
    waiting: list[tuple[float, int]] = []
    order = np.argsort(calls.begun, kind="stable").tolist()
    begun, ended = calls.begun.tolist(), calls.ended.tolist()
    at = arrivals.at.tolist()
    following = doubtful = 0
    for arrival in np.argsort(arrivals.at, kind="stable").tolist():
        now = at[arrival]
        while following < len(order) and begun[order[following]] <= now + CLOCK_ERROR_S:
            call = order[following]
            heapq.heappush(waiting, (ended[call], call))
            following += 1
        while waiting and waiting[0][0] < now - CLOCK_ERROR_S:
            heapq.heappop(waiting)
        if waiting:
            doubtful += len(waiting) > 1
            call_of[arrival] = heapq.heappop(waiting)[1]
    return call_of, doubtful
