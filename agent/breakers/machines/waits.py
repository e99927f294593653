"""How long it was open before each trial, and what that says about the kind of machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.breakers.courses.states import State
from agent.breakers.machines.kinds import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from agent.breakers.reading.decisions import Decisions
    from agent.breakers.streams import Floats, Ints
    from agent.breakers.view import View

    type Counts = NDArray[np.int64]

PEER_SHARE = 0.05
PEERS_MAX = 5
EARLY, MIDDLING = 0.25, 0.6
"""An open time of less than the one share of the longest before is early, of less than the other middling."""
WAITS = {
    Kind.BREAKER: (0.01, 0.09, 0.9),
    Kind.REPLICAS: (0.65, 0.05, 0.3),
    Kind.GRADUAL: (0.5, 0.1, 0.4),
    Kind.THROTTLE: (0.45, 0.25, 0.3),
}
"""The chances of an open time to be early, middling or full."""


def _waits(trials: Sequence[tuple[float, float]]) -> Counts:
    """Count open times that were early, middling and full, against the longest before in the episode.

    *trials* has for each how long it was open before, and when its episode began: an episode lasts from
    when it opened until it closed; open times may grow in it, and begin anew after.
    """
    early = middling = full = 0
    longest, episode = 0.0, -np.inf
    for wait, began in trials:
        if began != episode:
            longest, episode = 0.0, began
        early += wait < EARLY * longest
        middling += EARLY * longest <= wait < MIDDLING * longest
        full += longest > 0 and wait >= MIDDLING * longest
        longest = max(longest, wait)
    return np.array([early, middling, full])


def _trials(view: View) -> list[tuple[float, float, int]]:
    """Return for each trial how long it had been open, when that episode began, and the trial's row."""
    found, opened_at, episode = [], np.inf, -np.inf
    for was, stretch, step in view.steps:
        if step.to is State.OPEN:
            opened_at = step.after
            episode = step.after if was.state is State.CLOSED else episode
        elif step.was is State.OPEN:
            found.append((step.before - opened_at, episode, stretch.first))
    return found


def by_waits(view: View, scores: Mapping[Kind, float]) -> dict[Kind, float]:
    """Return *scores* with the logarithm of the chance of the open times, for machines that have such.

    A breaker's are alike or grow; several machines try one soon after the other and then rest; a throttle's
    are geometric.  Where peers are told apart, each one's are as a breaker's.
    """
    trials = _trials(view)
    pooled = _waits([(wait, episode) for wait, episode, _ in trials])
    found = {kind: scores[kind] + float(pooled @ np.log(chances)) for kind, chances in WAITS.items()}
    peer, shares = peers(view, view.asked)
    if len(shares) < 2:
        return found
    # Each peer's trial rests from the one before of the same peer, or from when the episode began.
    last: dict[tuple[float, int], float] = {}
    each: dict[int, list[tuple[float, float]]] = {}
    for _, episode, row in trials:
        key, at = (episode, int(peer[row])), float(view.asked.at[row])
        each.setdefault(key[1], []).append((at - last.get(key, episode), episode))
        last[key] = at
    alone = sum((_waits(theirs) for theirs in each.values()), start=np.zeros(3, "i8"))
    base = max(scores[Kind.BREAKER], scores[Kind.GRADUAL], scores[Kind.REPLICAS])
    found[Kind.REPLICAS] = base + float(alone @ np.log(WAITS[Kind.BREAKER]))
    return found


def peers(view: View, decisions: Decisions) -> tuple[Ints, Floats]:
    """Return for each decision which peer let it through, from 1 on (0: kept back), and the peers' shares."""
    owner = np.full(len(view.calls), -1)
    mine = view.mapping.call >= 0
    owner[view.mapping.call[mine]] = view.arrivals.source[mine]
    source = np.where(decisions.forwarded, owner[decisions.call], -1)
    found, counts = np.unique(source[source >= 0], return_counts=True)
    found = found[counts >= PEER_SHARE * max(int(counts.sum()), 1)][:PEERS_MAX]
    peer = np.zeros(len(source), "i8")
    for number, each in enumerate(found, 1):
        peer[source == each] = number
    counted = np.bincount(peer[peer > 0], minlength=len(found) + 1)[1:].astype("f8")
    return peer, counted / max(counted.sum(), 1.0)
