"""Which kind of machine decides about the calls: a breaker with three states, or something else.

Each kind is a way of explaining one and the same row of decisions (let through or kept back), with a
likelihood; the kind that explains it best is named, and a breaker where nothing else does so much better.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from agent.breakers.courses.states import State
from agent.breakers.machines import chains, rules
from agent.breakers.machines.ejections import ejection
from agent.breakers.machines.kinds import Kind, Machine
from agent.breakers.machines.waits import by_waits, peers
from agent.breakers.measures import trials
from agent.breakers.measures.estimate import mostly_common, often

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.breakers.reading.decisions import Decisions
    from agent.breakers.streams import Ints
    from agent.breakers.view import View

DECISIONS_MAX = 20_000
"""So many decisions are looked at: enough to tell, and a bound to the work."""
BEFORE = 500
"""So many decisions before the first that was kept back are looked at, too."""
PRIOR = 4.0
"""How much better than a breaker, in nats, another machine has to explain what was seen (55 to 1)."""
SURE = 20.0
APART = 12.0
"""How much better states of their own, one a peer, have to explain what was seen than one state for all.
That they do not says nothing: replicas that act in step look like one breaker that lets in as many trials.
"""
FEW_KEPT_BACK = 5
CALM_EXCEPTIONS = 0.02
DOUBTFUL_MAX = 0.5
"""Where more of the matches than this could be otherwise, no states are told; of simulated breakers all were
right up to 0.39, so that what is said below it is worth something."""
WELL_KNOWN = 0.2
"""The share of doubtful matches to come to, which goes with the rate."""
MOSTLY = 0.8
"""So large a share of the open times of a gradual recovery has to agree on one."""
ENOUGH_FAILURES = 50
"""So many failures that came at once, and opened nothing, are none that count."""
SLOWER = 2.5
"""Calls are slow that take so many times as long as in the baseline."""

SAID = {
    Kind.GRADUAL: "after being open{open} it lets in a share of the calls that grows, rather than a few "
    "trials",
    Kind.THROTTLE: "the share of calls that it lets in follows their success, and never is none for long",
    Kind.SLIDING: "it keeps calls back while {limit:.0f} failures are younger than {span:.2f} s, and forgets "
    "each by itself",
    Kind.BULKHEAD: "it keeps calls back while {limit:.0f} are under way, whatever came of earlier ones",
    Kind.RATE_LIMITER: "it keeps calls back by how many it let in just before, whatever came of them",
}


def recognise(view: View) -> Machine:
    """Return the machine that explains the decisions of *view* best."""
    return ejection(view) or _nothing(view) or _in_doubt(view) or _best(view)


def _best(view: View) -> Machine:
    decisions = _looked_at(view)
    fits, counts = _fits(view, decisions), _replicas(decisions, _aside(view))
    scores = _scores(view, decisions, fits, counts)
    worth = {kind: score - PRIOR * (kind is not Kind.BREAKER) for kind, score in scores.items()}
    kind, rival = sorted(worth, key=lambda each: worth[each], reverse=True)[:2]
    ahead = worth[kind] - worth[rival]
    confidence = "high" if ahead >= SURE else "medium" if ahead >= PRIOR else "low"
    figures: dict[str, object] = {
        "nats": {str(each): round(score, 1) for each, score in scores.items()},
        "decisions": len(decisions),
    }
    if kind is Kind.BREAKER and State.OPEN not in view.course.sequence:
        kept_back = int((~decisions.forwarded).sum())
        why = f"{kept_back} calls were kept back here and there, and never so many in a row that it was open"
        return Machine(kind=Kind.UNCLEAR, why=why, figures=figures, confidence="low")
    if kind is Kind.BREAKER:
        kind, why, more = _breaker(view)
    elif kind is Kind.REPLICAS:
        why, more = _said_of_replicas(view, counts)
    elif kind is Kind.GRADUAL:
        why, more = _said_of_gradual(view)
    elif kind in fits:
        fit = fits[kind]
        why = SAID[kind].format(limit=fit.limit, span=fit.span)
        more = {"limit": fit.limit, "span": fit.span, "exceptions": fit.wrong}
    else:
        why, more = SAID[kind], {}
    return Machine(kind=kind, why=why, figures=figures | more, confidence=confidence)


def _scores(
    view: View, decisions: Decisions, fits: Mapping[Kind, rules.Fit], counts: Mapping[int, float]
) -> dict[Kind, float]:
    """Return how well each kind explains the decisions, in nats."""
    chained = _chained(decisions, _aside(view))
    chained[Kind.BREAKER] = max(chained[Kind.BREAKER], _timed(view, decisions))
    # Nobody knows the number of replicas: the mean over all that are tried, not the best of them.
    chained[Kind.REPLICAS] = float(np.logaddexp.reduce(list(counts.values()))) - math.log(len(counts))
    found = {kind: fit.likelihood for kind, fit in fits.items()} | by_waits(view, chained)
    return found | {Kind.REPLICAS: _by_source(view, found)}


def _by_source(view: View, scores: Mapping[Kind, float]) -> float:
    """Return the score of replicas: by what the arrivals of each explain, where they tell the source."""
    waited = scores[Kind.REPLICAS]
    if view.apart.hindered or (ahead := view.apart.ahead) < APART:
        return waited
    return max(scores[kind] for kind in (Kind.BREAKER, Kind.GRADUAL, Kind.REPLICAS)) + ahead


def _aside(view: View) -> float:
    """Return the share of calls that may be kept back by nobody, for they look like rejections."""
    return view.baseline.aside_share if view.baseline.ambiguous else 0.0


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


def _in_doubt(view: View) -> Machine | None:
    """Say that nobody knows who was let through, and what it would take."""
    share, calls = view.mapping.doubtful_share, view.calls.begun
    if share <= DOUBTFUL_MAX:
        return None
    rate_rps = len(calls) / max(float(np.ptp(calls)), 1e-3)
    why = (
        f"for {share:.0%} of the requests two calls were possible, so that nobody knows who was let through: "
        "let the service pass x-request-id or traceparent on, or call it "
        f"{rate_rps * WELL_KNOWN / share:.0f} times a second"
    )
    return Machine(kind=Kind.UNCLEAR, why=why, figures={"doubtful_share": share}, confidence="low")


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


def _timed(view: View, decisions: Decisions) -> float:
    """Return how well one open time after each opening explains the decisions."""
    openings = np.array([step.after for step in view.course.transitions if step.to is State.OPEN])
    fit = rules.rested(decisions, openings)
    return fit.likelihood if fit and fit.fits(decisions) else -np.inf


def _met_in_calm(view: View, decisions: Decisions, fit: rules.Fit) -> bool:
    """Whether a limiter's rule is kept in the calm before the faults: it does not look at failures."""
    calm = decisions.at[: len(fit.exceptions)] < min((fault.began for fault in view.faults), default=np.inf)
    return int(fit.exceptions[calm].sum()) <= CALM_EXCEPTIONS * int(calm.sum())


def _fits(view: View, decisions: Decisions) -> dict[Kind, rules.Fit]:
    """Return how well each rule parts the calls let through from those kept back."""
    limiters = [
        fit
        for rule in (rules.token_bucket, rules.admitted_lately, rules.fixed_window)
        if (fit := rule(decisions)) and _met_in_calm(view, decisions, fit)
    ]
    found: dict[Kind, rules.Fit | None] = {
        Kind.SLIDING: rules.sliding(decisions),
        Kind.BULKHEAD: rules.bulkhead(decisions),
        Kind.RATE_LIMITER: min(limiters, key=lambda fit: fit.wrong, default=None),
    }
    return {kind: fit for kind, fit in found.items() if fit and fit.holds(decisions)}


def _said_of_replicas(view: View, counts: Mapping[int, float]) -> tuple[str, dict[str, object]]:
    """Say how many there are: the number that explains best, and those that do nearly as well.

    Source:
        All whose likelihood is within 1.92 nats of the best (half the 95 % quantile of chi-square, 1 df).
    """
    _, shares = peers(view, view.asked)
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


def _said_of_gradual(view: View) -> tuple[str, dict[str, object]]:
    """Say how long it lets nobody in before it begins, where that is one and the same time."""
    brackets = [wait.bracket for wait in trials.proper_waits(view)]
    both = mostly_common(brackets, MOSTLY) if len(brackets) > 1 else None
    if not both:
        return SAID[Kind.GRADUAL].format(open=""), {}
    return SAID[Kind.GRADUAL].format(open=f" for {sum(both) / 2:.1f} s"), {"open_s": both}


def _breaker(view: View) -> tuple[Kind, str, dict[str, object]]:
    """Return what opens it: failures, or calls that take long, whatever comes of them."""
    openings = view.steps_of(State.CLOSED, State.OPEN)
    calm = view.latency_s[view.calm & view.asked.forwarded]
    long_s = SLOWER * float(np.median(calm)) if len(calm) else np.inf
    slow = without = 0
    for stretch, _, step in openings:
        failed = np.searchsorted(view.failed_done, [view.asked.at[stretch.first], step.before + 0.005])
        rows = np.arange(max(stretch.first, stretch.end - 10), stretch.end)
        recent = view.latency_s[rows[view.asked.forwarded[rows]]]
        took_long = len(recent) > 0 and float(np.median(recent)) > long_s
        slow += took_long
        without += took_long and bool(failed[0] == failed[1])
    more: dict[str, object] = {"openings": len(openings), "openings_without_a_failure": without}
    if without and without == len(openings):
        why = f"it opened {without} times with no failure at all, when calls took long"
        return Kind.SLOW_CALL, why, more
    at_once = view.in_fault & view.asked.forwarded & ~view.asked.good & (view.latency_s <= long_s)
    if without and slow == len(openings) and at_once.sum() >= ENOUGH_FAILURES:
        why = f"it opened {often(slow)} when calls took long, on none of {int(at_once.sum())} quick failures"
        return Kind.SLOW_CALL, why, more
    return Kind.BREAKER, f"closed, open and half-open explain it; it opened {often(len(openings))}", more
