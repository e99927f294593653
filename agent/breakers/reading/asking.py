"""How a service asks while nothing is wrong: once a call, again, a second time meanwhile, or for several."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from agent.breakers.reading.rates import during

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.breakers.reading.mapping import Mapping
    from agent.breakers.reading.rates import Span
    from agent.breakers.streams import Arrivals, Calls, Flags, Floats, Ints

FEW = 8
"""Fewer than so many calls make no habit."""
GUARD_S = 0.005
"""Between what the link sees and what the service knows."""
LINK_S = 0.001
"""Between a connection that is closed and the next request, on one and the same link."""
ALIKE = 0.1
"""Delays are constant that differ by at most this share of the usual one, or by `GUARD_S`."""
MOSTLY = 0.8
RANGE_S = (0.005, 5.0)
"""The delays of second requests that are looked for where no ids are passed on, from and to."""
PEAK_S = 0.004
AROUND_S = 0.04
BACK = 12
"""A request is held against so many before it."""
SURE = 20.0
"""How much likelier than chance, in nats, a delay has to be that is told without ids."""
TOGETHER_S = 0.003
"""Callers who wait for one answer have it so soon after each other."""
JOINED_LEAST_S = 0.006
"""One who waited for less may have been answered from a cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """Of ``calls`` before the first fault, those that did not make one request of their own.

    ``retried`` were asked again after a request that failed or was given up; ``hedged`` while the first was
    under way and had not failed, always after ``hedge_after_s``; ``joined`` waited for the answer to
    somebody else's request.  Counts are 0 where it is no habit.
    """

    calls: int = 0
    retried: int = 0
    hedged: int = 0
    hedge_after_s: float | None = None
    joined: int = 0

    @property
    def says(self) -> tuple[str, ...]:
        """A sentence for each habit."""
        said = []
        if self.retried:
            said.append(
                f"While nothing is wrong it asks again after a request that failed ({self.retried} of "
                f"{self.calls} calls): retries."
            )
        if self.hedged:
            said.append(
                f"It asks a second time when there is no answer after {self.hedge_after_s:.3f} s, though the "
                f"first request has not failed ({self.hedged} of {self.calls} calls while nothing is wrong): "
                "hedging."
            )
        if self.joined:
            said.append(
                "Callers who come while a request is under way wait for its answer and make none "
                f"({self.joined} of {self.calls} while nothing is wrong): coalescing. They are left out."
            )
        return tuple(said)


def learn(calls: Calls, arrivals: Arrivals, mapping: Mapping, calm_s: Sequence[Span]) -> Asking:
    """Return how the service asked in the seconds that were calm."""
    began = during(calls.begun, calm_s)
    late = ~during(calls.ended, calm_s)
    mine = mapping.call >= 0
    calm = during(arrivals.at, calm_s)
    calm[mine] &= ~late[mapping.call[mine]]
    joined = joined_calls(calls, mapping) & began & ~late
    retried, hedged, after = _asked_again(calls, arrivals, mapping.call, calm)
    if not mapping.by_id:
        hedged, after = _peak(arrivals.where(calm))
    return Asking(
        calls=int((began & ~late).sum()),
        retried=retried,
        hedged=hedged,
        hedge_after_s=after,
        joined=_if_a_habit(calls, joined, began & ~late, arrivals, mapping),
    )


def joined_calls(calls: Calls, mapping: Mapping) -> Flags:
    """Return which calls without a request ended with one for the same key that was under way when they came.

    They were answered alike.  O(n log n).
    """
    asked = np.zeros(len(calls), bool)
    asked[mapping.call[mapping.call >= 0]] = True
    owners = np.flatnonzero(asked)
    found = np.zeros(len(calls), bool)
    others = np.flatnonzero(~asked)
    if len(owners) == 0 or len(others) == 0:
        return found
    # Keys one after the other on one line of time: whoever ended next to a call has its key, or is far.
    _, key = np.unique(calls.key, return_inverse=True)
    line = calls.ended + key * (float(np.ptp(calls.ended)) + 1.0)
    owners = owners[np.argsort(line[owners], kind="stable")]
    place = np.searchsorted(line[owners], line[others])
    answer = calls.kind
    for step in (-1, 0):
        owner = owners[np.clip(place + step, 0, len(owners) - 1)]
        found[others] |= (
            (np.abs(line[owner] - line[others]) <= TOGETHER_S)
            & (calls.begun[owner] <= calls.begun[others])
            & (answer[owner] == answer[others])
        )
    return found


def _if_a_habit(calls: Calls, joined: Flags, calm: Flags, arrivals: Arrivals, mapping: Mapping) -> int:
    """Return how many *joined*, if nearly all did who waited longer than for a cache, and not by chance."""
    asked = np.zeros(len(calls), bool)
    asked[mapping.call[mapping.call >= 0]] = True
    waited = calm & ~asked & calls.good & (calls.ended - calls.begun > JOINED_LEAST_S)
    n, rate = int(waited.sum()), int((calm & asked).sum()) / max(_length(arrivals.at), 1e-9)
    by_chance = min(0.5, 2 * TOGETHER_S * rate)
    if n < FEW or (joined & waited).sum() < max(MOSTLY, 1.5 * by_chance) * n:
        return 0
    return int(joined.sum())


def _length(at: Floats) -> float:
    return float(np.ptp(at)) if len(at) else 0.0


def _asked_again(calls: Calls, arrivals: Arrivals, call: Ints, calm: Flags) -> tuple[int, int, float | None]:
    """Return how many calls were retried, how many hedged, and after how long, by the requests of each."""
    mine = np.flatnonzero(calm & (call >= 0))
    mine = mine[np.lexsort((arrivals.at[mine], call[mine]))]
    again = np.flatnonzero(call[mine][1:] == call[mine][:-1])
    first, second = mine[again], mine[again + 1]
    under_way = arrivals.ended[first] > arrivals.at[second] + LINK_S
    left = under_way & _left_alone(calls, arrivals, call, first, second)
    failed = (~under_way & ~arrivals.good[first]) | left
    meanwhile, delay = under_way & ~left, arrivals.at[second] - arrivals.at[first]
    usual = float(np.median(delay[meanwhile])) if meanwhile.any() else 0.0
    alike = np.abs(delay - usual) <= max(GUARD_S, ALIKE * usual)
    # A service that asks several things for each call does so however soon the first is answered.
    alone = np.setdiff1d(mine, np.concatenate([first, second]))
    sooner = int((arrivals.ended[alone] - arrivals.at[alone] <= usual + GUARD_S).sum())
    hedged = len(np.unique(call[first[meanwhile]]))
    if usual > GUARD_S and alike[meanwhile].mean() >= MOSTLY and sooner >= max(FEW, MOSTLY * len(alone)):
        failed &= ~alike  # the second was answered at once, and the first given up
    else:
        hedged = 0
    retried = len(np.unique(call[first[failed]]))
    return _habit(retried), _habit(hedged), usual if _habit(hedged) else None


def _habit(count: int) -> int:
    return count if count >= FEW else 0


def _left_alone(calls: Calls, arrivals: Arrivals, call: Ints, first: Ints, second: Ints) -> Flags:
    """Return which first requests came out well, before the second did, and nobody took their answer.

    The service had given them up without closing their connection: what follows is a retry.
    """
    ended = calls.ended[call[first]]
    found: Flags = (
        arrivals.good[first]
        & (arrivals.ended[first] + 2 * GUARD_S < arrivals.ended[second])
        & (ended > arrivals.ended[second] - GUARD_S)
    )
    return found


def _peak(arrivals: Arrivals) -> tuple[int, float | None]:
    """Return how many requests came at one and the same delay after one that was under way, and which.

    Source:
        The likelihood ratio of a Poisson count k where m were due: k ln(k / m) - (k - m); what is due is
        what there is at delays a little shorter and longer.
    """
    order = np.argsort(arrivals.at, kind="stable")
    at, ended = arrivals.at[order], arrivals.ended[order]
    delays = np.sort(
        np.concatenate(
            [(at[n:] - at[:-n])[ended[:-n] > at[n:] + GUARD_S] for n in range(1, min(BACK, len(at) - 1) + 1)]
            or [np.zeros(0)]
        )
    )
    delays = delays[(delays > RANGE_S[0]) & (delays < RANGE_S[1])]
    if len(delays) < FEW:
        return 0, None

    def within(half: float) -> Ints:
        return np.searchsorted(delays, delays + half, "right") - np.searchsorted(delays, delays - half)

    peak, around = within(PEAK_S / 2), within(AROUND_S / 2)
    due = (around - peak + 1) * PEAK_S / (AROUND_S - PEAK_S)
    sharp = (peak > 2 * due) & (delays > RANGE_S[0] + AROUND_S / 2)
    nats = np.where(sharp, peak * np.log(peak / due) - (peak - due), 0.0)
    best = int(np.argmax(nats))
    surplus = round(float(peak[best] - due[best]))
    if nats[best] < SURE or surplus < FEW:
        return 0, None
    return surplus, float(np.median(delays[np.abs(delays - delays[best]) <= PEAK_S / 2]))
