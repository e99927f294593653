"""To which of several sources each call was led: learnt from those that arrived, for those that did not.

A balancer draws lots, takes turns, or goes by the key; whichever foretells best what arrived is believed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from agent.breakers.streams import Calls, Flags, Floats, Ints

BETTER = 10.0
"""How much better than by lot, in nats, turns or keys have to foretell what arrived."""
LEAST = 1e-4
"""No call is surely led to one source: somebody else may have taken a turn."""
TURNS_LOOKED_AT = 3
"""So many rounds before a call, and after it, tell whose turn it was."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Routing:
    """``chances`` has for each call (a row) the chance that it was led to each source.

    ``kind`` is ``by lot``, ``in turn`` or ``by key``; ``calls`` came from each in the calm, in ``shares``.
    """

    kind: str
    calls: Ints
    shares: Floats
    chances: Floats


def learn(calls: Calls, source: Ints, calm: Flags, count: int) -> Routing:
    """Learn from the calls that are *calm*; *source* has each call's, from 0 to *count*, -1 where unknown."""
    known = calm & (source >= 0)
    counts = np.bincount(source[known], minlength=count).astype("f8")
    shares = (counts + 0.5) / (counts.sum() + 0.5 * count)
    tried = {"by lot": (np.tile(shares, (len(calls), 1)), np.tile(shares, (int(known.sum()), 1)))}
    if known.any():
        tried["by key"] = _by_key(calls.key, source, known, shares)
        if (in_turn := _in_turn(calls.begun, source, known, count)) is not None:
            tried["in turn"] = (in_turn, in_turn[known])
    scores = {
        kind: _nats(foretold, source[known]) - BETTER * (kind != "by lot")
        for kind, (_, foretold) in tried.items()
    }
    best = max(scores, key=lambda kind: scores[kind])
    return Routing(
        kind=best,
        calls=counts.astype("i8"),
        shares=counts / max(counts.sum(), 1.0),
        chances=tried[best][0],
    )


def _nats(foretold: Floats, source: Ints) -> float:
    return float(np.log(foretold[np.arange(len(foretold)), source]).sum())


def _by_key(key: Ints, source: Ints, known: Flags, shares: Floats) -> tuple[Floats, Floats]:
    """Return the chances by the key of each call, and of those known each without itself."""
    keys, which = np.unique(key, return_inverse=True)
    counts = np.zeros((len(keys), len(shares)))
    np.add.at(counts, (which[known], source[known]), 1.0)
    without = counts[which[known]]
    without[np.arange(len(without)), source[known]] -= 1.0
    return _smoothed(counts, shares)[which], _smoothed(without, shares)


def _smoothed(counts: Floats, shares: Floats) -> Floats:
    smoothed: Floats = (counts + shares) / (counts.sum(axis=1, keepdims=True) + 1.0)
    return np.maximum(smoothed, LEAST)


def _in_turn(begun: Floats, source: Ints, known: Flags, count: int) -> Floats | None:
    """Return the chances if turns are taken, None if the sources do not follow one another in a circle.

    Each call that arrived tells how far the turns had come; of those around a call the most agree.
    """
    order = np.argsort(begun, kind="stable")
    place_of = np.empty(len(order), "i8")
    place_of[order] = np.arange(len(order))
    circle = _circle(source[order][known[order]], count)
    if circle is None:
        return None
    arrived = order[source[order] >= 0]
    turn = (circle[source[arrived]] - place_of[arrived]) % count
    before, after = _around(place_of, place_of[arrived], turn, count)
    foretold = np.zeros((len(order), count))
    for said in (before, after):
        told = said >= 0
        whose = np.argsort(circle)[(said + place_of) % count]
        foretold[np.flatnonzero(told), whose[told]] += 0.5
    foretold += (1 - foretold.sum(axis=1, keepdims=True)) / count
    # How often the most likely one was right in the calm, each call foretold by others.
    right = float((foretold[known, source[known]] > 0.5).mean())
    spread = max((1 - right) / max(count - 1, 1), 1 / (2 * max(int(known.sum()), 1)), LEAST)
    chances: Floats = foretold * (1 - count * spread) + spread
    return chances if 1 - count * spread > 0 else None


def _circle(row: Ints, count: int) -> Ints | None:
    """Return each source's place in the circle, from who mostly follows whom."""
    follows = np.zeros((count, count))
    np.add.at(follows, (row[:-1], row[1:]), 1.0)
    following = follows.argmax(axis=1)
    places = np.full(count, -1)
    here = 0
    for place in range(count):
        if places[here] >= 0:
            return None
        places[here] = place
        here = int(following[here])
    return places


def _around(place: Ints, known_at: Ints, turn: Ints, count: int) -> tuple[Ints, Ints]:
    """Return for each call what most of those around it say, before and after; -1 where none arrived."""
    so_far = np.zeros((len(turn) + 1, count))
    so_far[1:] = np.cumsum(np.eye(count)[turn], axis=0)
    reach = TURNS_LOOKED_AT * count
    first, beyond = np.searchsorted(known_at, place), np.searchsorted(known_at, place, side="right")
    before = so_far[first] - so_far[np.maximum(first - reach, 0)]
    after = so_far[np.minimum(beyond + reach, len(turn))] - so_far[beyond]
    return _most(before), _most(after)


def _most(votes: Floats) -> Ints:
    return np.where(votes.sum(axis=1) > 0, votes.argmax(axis=1), -1)
