"""Which arrival at the dependency belongs to which call of the client."""

from __future__ import annotations

import heapq
from bisect import bisect_left
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from agent.breakers.reading.beats import beat_of, on_beat

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from agent.breakers.reading.beats import Beat
    from agent.breakers.streams import Arrivals, Calls, Flags, Ints

BY_ID_SHARE = 0.8
"""Ids are trusted when at least this share of the arrivals carries the id of a call."""
KNOWN_SHARE = 0.25
"""They are too when at least this share of the calls is found by its id: the rest is another client's."""
CLOCK_ERROR_S = 0.002
CLOSE_S = 0.002
"""Two calls that end so close to each other may be mistaken for one another."""
NEAR_S = 0.3
"""Of calls that end so soon after an arrival has, one that came out as the arrival did is preferred."""
LIKELY_CALLS = 40
CANDIDATES_MAX = 500
MOSTLY = 0.9
"""An answer that so large a share of those who are kept back get is how a rejection looks."""
AT_ONCE_S = 0.005
"""A call that is answered so soon after a request arrived that then hangs did not send it."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Mapping:
    """``call`` holds, for each arrival, the row of its call, or -1 for one that no call explains.

    ``doubtful_share`` is the share of arrivals for which more than one call was possible.  ``beat`` is the
    interval of active checks that were told by it, without ids.
    """

    call: Ints
    by_id: bool
    doubtful_share: float
    beat: Beat | None = None

    @property
    def strangers(self) -> int:
        """How many arrivals no call explains: another client, a health check, a late retry."""
        return int((self.call < 0).sum())


def match(calls: Calls, arrivals: Arrivals) -> Mapping:
    """Map by the id that the service passed on, or else by time.

    Source:
        Without ids: greedy matching by earliest deadline (Glover 1967, convex bipartite graphs), with
        the arrival's end as the earliest end of its call.  O((n + m) log n) for a bounded concurrency.
    """
    by_id = _by_id(calls, arrivals)
    known = by_id >= 0
    found = int(np.count_nonzero(np.bincount(by_id[known], minlength=len(calls))))
    if len(arrivals) == 0 or known.mean() >= BY_ID_SHARE or found >= max(1, KNOWN_SHARE * len(calls)):
        return Mapping(call=by_id, by_id=True, doubtful_share=0.0)
    order = np.argsort(arrivals.at, kind="stable")
    beat = beat_of(arrivals.at[order])
    checks = on_beat(beat, arrivals.at[order]) if beat else np.zeros(len(arrivals), bool)
    theirs = order[~checks]
    call = np.full(len(arrivals), -1)
    asked = arrivals.where(theirs)
    first, _ = _by_time(calls, asked, np.zeros(len(calls), bool))
    call[theirs], doubtful = _by_time(calls, asked, _look_rejected(calls, first))
    return Mapping(call=call, by_id=False, doubtful_share=doubtful / len(arrivals), beat=beat)


def _by_id(calls: Calls, arrivals: Arrivals) -> Ints:
    if len(calls) == 0:
        return np.full(len(arrivals), -1)
    order = np.argsort(calls.id, kind="stable")
    known = calls.id[order]
    place = np.minimum(np.searchsorted(known, arrivals.id), len(known) - 1)
    return np.where((known[place] == arrivals.id) & (arrivals.id != 0), order[place], -1)


def _look_rejected(calls: Calls, call_of: Ints) -> Flags:
    """Return which calls came out as hardly any does that has an arrival: *call_of* is mostly right."""
    kind = calls.kind
    with_one = np.zeros(len(calls), bool)
    with_one[call_of[call_of >= 0]] = True
    kinds_, which, times = np.unique(kind, return_inverse=True, return_counts=True)
    kept = np.bincount(which, weights=~with_one, minlength=len(kinds_)) >= MOSTLY * times
    rejected: Flags = kept[which] & ~calls.good
    return rejected


def _by_time(calls: Calls, arrivals: Arrivals, rejected: Flags) -> tuple[Ints, int]:
    """Give each arrival the call that encloses it most closely at its end and has none yet.

    A service answers its caller when it has, or gives up, its own answer: so the call ends just after, and
    comes out alike.  Of calls that end at the same time the one that came last encloses it most closely.
    What is left (the service went on after its caller had gone) takes any open call that ends first.
    """
    call_of = np.full(len(arrivals), -1)
    order = np.argsort(calls.ended, kind="stable")
    begun, ended = calls.begun[order].tolist(), calls.ended[order].tolist()
    well, good = calls.good[order].tolist(), arrivals.good.tolist()
    unlikely = rejected[order].tolist()
    at, until = arrivals.at.tolist(), arrivals.ended.tolist()
    owner = [-1] * len(order)
    first = doubtful = 0
    left = []
    for arrival in np.argsort(arrivals.ended, kind="stable").tolist():
        while first < len(order) and (owner[first] >= 0 or ended[first] < until[arrival] - CLOCK_ERROR_S):
            first += 1
        fitting = list(islice(_fitting(owner, begun, first, at[arrival] + CLOCK_ERROR_S), LIKELY_CALLS))
        if not fitting:
            left.append(arrival)
            continue
        alike = [
            call
            for call in fitting
            if well[call] == good[arrival] and not unlikely[call] and ended[call] < ended[fitting[0]] + NEAR_S
        ]
        likely = alike or fitting
        as_soon = [call for call in likely if ended[call] - ended[likely[0]] < CLOSE_S]
        doubtful += len(as_soon) > 1
        owner[max(as_soon, key=begun.__getitem__)] = arrival

    def around(arrival: int) -> Iterator[int]:
        """Yield the calls that ended soon after the arrival has, and came out alike."""
        for call in range(bisect_left(ended, until[arrival] - CLOCK_ERROR_S), len(ended)):
            if ended[call] > until[arrival] + NEAR_S:
                return
            if begun[call] <= at[arrival] + CLOCK_ERROR_S and well[call] == good[arrival]:
                yield call

    left = [each for each in left if not _has_room_made(each, owner, around)]
    for call, arrival in enumerate(owner):
        if arrival >= 0:
            call_of[arrival] = order[call]
    _open_calls(call_of, left, calls, arrivals, rejected)
    return call_of, doubtful


def _has_room_made(arrival: int, owner: list[int], around: Callable[[int], Iterator[int]]) -> bool:
    """Give *arrival* a call whose own arrival can as well have another one; whether there is such a call.

    Source:
        An augmenting path of two steps (Berge 1957): arrivals that ended in one moment need not have come
        in the order in which they are looked at.
    """
    for call in islice(around(arrival), LIKELY_CALLS):
        if owner[call] < 0:
            owner[call] = arrival
            return True
        other = next((each for each in islice(around(owner[call]), LIKELY_CALLS) if owner[each] < 0), None)
        if other is not None:
            owner[other], owner[call] = owner[call], arrival
            return True
    return False


def _fitting(owner: Sequence[int], begun: Sequence[float], first: int, latest: float) -> Iterator[int]:
    """Yield the calls from *first* on, in the order of their ends, that had begun by *latest*."""
    for call in range(first, min(first + CANDIDATES_MAX, len(begun))):
        if owner[call] < 0 and begun[call] <= latest:
            yield call


def _open_calls(
    call_of: Ints, left: Sequence[int], calls: Calls, arrivals: Arrivals, rejected: Flags
) -> None:
    """Give each arrival that is *left* the open call without one that ends first; *rejected* ones last."""
    free = np.setdiff1d(np.arange(len(calls)), call_of)
    order = free[np.argsort(calls.begun[free], kind="stable")].tolist()
    waiting: list[tuple[float, int]] = []
    following = 0
    for arrival in sorted(left, key=arrivals.at.__getitem__):
        now = arrivals.at[arrival]
        while following < len(order) and calls.begun[order[following]] <= now + CLOCK_ERROR_S:
            heapq.heappush(waiting, (calls.ended[order[following]], order[following]))
            following += 1
        while waiting and waiting[0][0] < now - CLOCK_ERROR_S:
            heapq.heappop(waiting)
        if waiting:
            call_of[arrival] = _who_waited(waiting, now, rejected)


def _who_waited(waiting: list[tuple[float, int]], now: float, rejected: Flags) -> int:
    """Take the call that ends first, of those that go on for a while: a request that hangs has no answer."""
    passed = []
    while waiting and (waiting[0][0] < now + AT_ONCE_S or rejected[waiting[0][1]]):
        passed.append(heapq.heappop(waiting))
    found = heapq.heappop(waiting) if waiting else passed.pop(0)
    for each in passed:
        heapq.heappush(waiting, each)
    return found[1]
