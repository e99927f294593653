"""Which kind of machine decides about the calls: a breaker with three states, or something else.

Each kind is a way of explaining one and the same row of decisions (let through or kept back), with a
likelihood; the kind that explains it best is named, and a breaker where nothing else does so much better.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from agent.breakers import chains, rules
from agent.breakers.decisions import succeeded
from agent.breakers.estimate import often
from agent.breakers.states import State

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from agent.breakers.decisions import Decisions
    from agent.breakers.streams import Floats, Ints
    from agent.breakers.view import View

    type Counts = NDArray[np.int64]


class Kind(StrEnum):
    """What stands before the dependency."""

    BREAKER = "breaker"
    SLOW_CALL = "slow-call"
    NONE = "none"
    REPLICAS = "replicas"
    GRADUAL = "gradual"
    THROTTLE = "throttle"
    EJECTION = "ejection"
    SLIDING = "sliding"
    BULKHEAD = "bulkhead"
    RATE_LIMITER = "rate-limiter"
    UNCLEAR = "unclear"


THREE_STATES = (Kind.BREAKER, Kind.SLOW_CALL, Kind.NONE)
DECISIONS_MAX = 20_000
"""So many decisions are looked at: enough to tell, and a bound to the work."""
BEFORE = 500
"""So many decisions before the first that was kept back are looked at, too."""
PRIOR = 4.0
"""How much better than a breaker, in nats, another machine has to explain what was seen (55 to 1)."""
SURE = 20.0
FEW_KEPT_BACK = 5
QUIET = 1e-6
"""A silence of the dependency less likely than this is none by chance."""
WELL_SHARE = 0.95
ELSEWHERE = 0.2
"""Where a balancer has other hosts, at least this share of the calls in the baseline is served by them."""
CALM_EXPECTED = 10.0
EXCEPTIONS = 0.25
"""A rule with more exceptions than this, of the rarer of calls let through and kept back, is none."""
PEER_SHARE = 0.05
PEERS_MAX = 5
SLOWER = 2.5
"""Calls are slow that take so many times as long as in the baseline."""

EARLY, MIDDLING = 0.25, 0.6
"""An open time of less than the one share of the longest before is early, of less than the other middling."""
WAITS = {
    Kind.BREAKER: (0.01, 0.09, 0.9),
    Kind.REPLICAS: (0.65, 0.05, 0.3),
    Kind.GRADUAL: (0.5, 0.1, 0.4),
    Kind.THROTTLE: (0.45, 0.25, 0.3),
}
"""The chances of an open time to be early, middling or full."""

SAID = {
    Kind.GRADUAL: "after being open it lets in a share of the calls that grows, rather than a few trials",
    Kind.THROTTLE: "the share of calls that it lets in follows their success, and never is none for long",
    Kind.SLIDING: "it keeps calls back while {limit:.0f} failures are younger than {span:.2f} s, and forgets "
    "each by itself",
    Kind.BULKHEAD: "it keeps calls back while {limit:.0f} are under way, whatever came of earlier ones",
    Kind.RATE_LIMITER: "it keeps calls back by how many it let in just before, whatever came of them",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The kind, one sentence of why, figures, and how sure: ``high``, ``medium`` or ``low``.

    ``figures`` has ``nats``: for each kind that was tried how well it explains the decisions (the natural
    logarithm of their chance), and what is known of the kind that is named.
    """

    kind: Kind
    why: str
    figures: Mapping[str, object] = field(default_factory=dict)
    confidence: str = "high"

    @property
    def three_state(self) -> bool:
        """Whether closed, open and half-open mean what they say; for no other machine are they told."""
        return self.kind in THREE_STATES


def recognise(view: View) -> Machine:
    """Return the machine that explains the decisions of *view* best."""
    return _ejection(view) or _nothing(view) or _best(view)


def _best(view: View) -> Machine:
    decisions = _looked_at(view)
    aside = view.baseline.aside_share if view.baseline.ambiguous else 0.0
    fits = _fits(view, decisions)
    counts = _replicas(decisions, aside)
    scores = {kind: fit.likelihood for kind, fit in fits.items()} | _chained(decisions, aside)
    scores[Kind.REPLICAS] = max(counts.values())
    scores[Kind.BREAKER] = max(scores[Kind.BREAKER], _timed(view, decisions))
    for each, score in _by_waits(view, scores).items():
        scores[each] = score
    ranked = sorted(scores, key=lambda kind: scores[kind] - PRIOR * (kind is not Kind.BREAKER), reverse=True)
    kind, rival = ranked[:2]
    ahead = scores[kind] - scores[rival] + PRIOR * ((kind is Kind.BREAKER) - (rival is Kind.BREAKER))
    figures: dict[str, object] = {
        "nats": {str(each): round(score, 1) for each, score in scores.items()},
        "decisions": len(decisions),
    }
    kept_back = int((~decisions.forwarded).sum())
    confidence = "high" if ahead >= SURE else "medium" if ahead >= PRIOR else "low"
    if kind is Kind.BREAKER and State.OPEN not in view.course.sequence:
        why = f"{kept_back} calls were kept back here and there, and never so many in a row that it was open"
        return Machine(kind=Kind.UNCLEAR, why=why, figures=figures, confidence="low")
    if kind is Kind.BREAKER:
        kind, why, more = _breaker(view)
    elif kind is Kind.REPLICAS:
        why, more = _said_of_replicas(view, counts)
    else:
        fit = fits.get(kind)
        why = SAID[kind].format(limit=fit.limit if fit else 0, span=fit.span if fit else 0)
        more = {"limit": fit.limit, "span": fit.span, "exceptions": fit.wrong} if fit else {}
    return Machine(kind=kind, why=why, figures=figures | more, confidence=confidence)


def _looked_at(view: View) -> Decisions:
    """Return the decisions from a little before the first that was kept back, so many at most."""
    kept_back = np.flatnonzero(~view.asked.forwarded)
    first = max(0, int(kept_back[0]) - BEFORE)
    return view.asked.where(np.arange(first, min(len(view.asked), first + DECISIONS_MAX)))


def _nothing(view: View) -> Machine | None:
    """Say that nothing is ever kept back, or too little to be a machine's doing."""
    if len(view.asked) == 0:
        return Machine(kind=Kind.UNCLEAR, why="there is no call to judge by", confidence="low")
    kept_back = int((~view.asked.forwarded).sum())
    if view.course.sequence == (State.CLOSED,) and kept_back < FEW_KEPT_BACK:
        why = f"{len(view.asked) - kept_back} of {len(view.asked)} calls were let through"
        return Machine(kind=Kind.NONE, why=why)
    return None


def _ejection(view: View) -> Machine | None:
    """Recognise that others serve the calls while this dependency is left alone.

    Source:
        The chance of a silence of so long in a Poisson stream, at any of its arrivals: n exp(-rate t).
    """
    if view.baseline.aside_share < ELSEWHERE or not view.faults:
        return None
    at = np.sort(view.arrivals.at)
    calm = at[at < min(fault.began for fault in view.faults)]
    if len(calm) < 2:
        return None
    rate = len(calm) / float(calm[-1] - calm[0])
    longest = int(np.argmax(np.diff(at)))
    began, ended = float(at[longest]), float(at[longest + 1])
    if len(at) * np.exp(-rate * (ended - began)) > QUIET:
        return None
    meanwhile = (view.calls.begun > began) & (view.calls.ended < ended)
    well = succeeded(view.calls)[meanwhile]
    if len(well) < 1 / (1 - WELL_SHARE) or well.mean() < WELL_SHARE:
        return None
    others = view.baseline.aside_share
    why = (
        f"the dependency was left alone for up to {ended - began:.1f} s, and {int(well.sum())} of "
        f"{len(well)} calls came out well meanwhile: others serve them, as {others:.0%} of all calls before"
    )
    return Machine(kind=Kind.EJECTION, why=why, figures={"longest_s": ended - began, "elsewhere": others})


def _symbols(decisions: Decisions) -> Ints:
    let_in = np.where(decisions.good, chains.GOOD, chains.FAILED)
    return np.where(decisions.forwarded, let_in, chains.KEPT_BACK)


def _chained(decisions: Decisions, aside: float) -> dict[Kind, float]:
    runs = chains.runs_of(_symbols(decisions))
    return {
        Kind.BREAKER: chains.likelihood(runs, chains.breakers().matrices(aside)),
        Kind.GRADUAL: chains.likelihood(runs, chains.gradual().matrices(aside)),
        Kind.THROTTLE: chains.likelihood(runs, chains.throttles().matrices(aside)),
    }


def _replicas(decisions: Decisions, aside: float) -> dict[int, float]:
    """Return for each number of replicas how well it explains the decisions, not knowing their peers."""
    runs = chains.runs_of(_symbols(decisions))
    return {
        count: chains.likelihood(runs, chains.replicas(count).matrices(aside))
        for count in range(2, chains.REPLICAS_MAX + 1)
    }


def _peers(view: View, decisions: Decisions) -> tuple[Ints, Floats]:
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


def _timed(view: View, decisions: Decisions) -> float:
    """Return how well one open time after each opening explains the decisions."""
    openings = np.array([step.after for step in view.course.transitions if step.to is State.OPEN])
    fit = rules.rested(decisions, openings)
    return fit.likelihood if fit and _holds(fit, decisions) else -np.inf


def _limits_in_calm(view: View) -> bool:
    """Whether calls are kept back in the calm before the faults as at any other time.

    A limiter does not look at failures.  Where it should have kept back this many and kept back hardly
    any, it is none: the chance of a Poisson count at most a fifth of 10 is 0.3 %.
    """
    calm = ~view.asked.forwarded[view.calm]
    expected = len(calm) * float((~view.asked.forwarded).mean())
    return expected < CALM_EXPECTED or bool(calm.sum() > expected / 5)


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


def _by_waits(view: View, scores: Mapping[Kind, float]) -> dict[Kind, float]:
    """Return *scores* with the logarithm of the chance of the open times, for machines that have such.

    A breaker's are alike or grow; several machines try one soon after the other and then rest; a throttle's
    are geometric.  Where peers are told apart, each one's are as a breaker's.
    """
    trials = _trials(view)
    pooled = _waits([(wait, episode) for wait, episode, _ in trials])
    found = {kind: scores[kind] + float(pooled @ np.log(chances)) for kind, chances in WAITS.items()}
    peer, shares = _peers(view, view.asked)
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


def _fits(view: View, decisions: Decisions) -> dict[Kind, rules.Fit]:
    """Return how well each rule parts the calls let through from those kept back."""
    limiters = [
        fit
        for rule in (rules.token_bucket, rules.admitted_lately, rules.fixed_window)
        if _limits_in_calm(view) and (fit := rule(decisions))
    ]
    found: dict[Kind, rules.Fit | None] = {
        Kind.SLIDING: rules.sliding(decisions),
        Kind.BULKHEAD: rules.bulkhead(decisions),
        Kind.RATE_LIMITER: min(limiters, key=lambda fit: fit.wrong, default=None),
    }
    return {kind: fit for kind, fit in found.items() if fit and _holds(fit, decisions)}


def _holds(fit: rules.Fit, decisions: Decisions) -> bool:
    """Whether few of the calls that a rule is about are exceptions to it."""
    kept_back = np.flatnonzero(~decisions.forwarded)
    among = int(decisions.forwarded[kept_back[0] : kept_back[-1]].sum())
    return not np.isnan(fit.limit) and fit.wrong <= EXCEPTIONS * min(len(kept_back), among)


def _said_of_replicas(view: View, counts: Mapping[int, float]) -> tuple[str, dict[str, object]]:
    """Say how many there are: the number that explains best, and those that do nearly as well.

    Source:
        All whose likelihood is within 1.92 nats of the best (half the 95 % quantile of chi-square, 1 df).
    """
    _, shares = _peers(view, view.asked)
    if len(shares) > 1:
        number = low = high = len(shares)
    else:
        number = max(counts, key=lambda count: counts[count])
        likely = [count for count in counts if counts[count] >= counts[number] - 1.92]
        low, high = min(likely), max(likely)
    why = (
        f"{number} machines behind one entry, each of which has to find out for itself: the share of calls "
        f"let through goes by steps of 1/{number}"
    )
    return why, {"replicas": number, "low": low, "high": high, "by": "peer" if len(shares) > 1 else "share"}


def _breaker(view: View) -> tuple[Kind, str, dict[str, object]]:
    """Return what opens it: failures, or calls that take long and come out well."""
    openings = view.steps_of(State.CLOSED, State.OPEN)
    calm = view.latency_s[view.calm & view.asked.forwarded]
    usual = float(np.median(calm)) if len(calm) else np.inf
    slow = 0
    for stretch, _, step in openings:
        failed = np.searchsorted(view.failed_done, [view.asked.at[stretch.first], step.before + 0.005])
        rows = np.arange(max(stretch.first, stretch.end - 10), stretch.end)
        recent = view.latency_s[rows[view.asked.forwarded[rows]]]
        slow += bool(failed[0] == failed[1] and len(recent) and np.median(recent) > SLOWER * usual)
    more: dict[str, object] = {"openings": len(openings), "openings_without_a_failure": slow}
    if slow and slow == len(openings):
        return Kind.SLOW_CALL, f"it opened {slow} times with no failure at all, when calls took long", more
    return Kind.BREAKER, f"closed, open and half-open explain it; it opened {often(len(openings))}", more
