"""What was decided about each call, in the order in which it was decided."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Self

import numpy as np

from agent.breakers.reading.mapping import MOSTLY
from agent.breakers.streams import FaultWindow, Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.breakers.reading.mapping import Mapping
    from agent.breakers.streams import Arrivals, Calls, Flags, Floats, Ints, Phase


OTHERS_SHARE = 0.02
"""Of the calls kept back, so few that look otherwise than aside answers make those ambiguous."""
NOT_MUCH = 0.1
OFTENER = 2.0
"""So many times as often as in the baseline aside answers may come later on."""
AT_LEAST = 3
"""So many more may have been due in the baseline than came, by chance."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Decisions:
    """One row a call, sorted by ``at``, the moment at which its fate was known to be decided.

    For a call that was ``forwarded`` that is its (first) arrival at the dependency; for any other it is
    its end, for a call may wait before it is rejected.  ``begun`` is when the client sent it, and ``done``
    when the service had the outcome of a forwarded call.  ``good`` is whether that was a success on both
    sides.  ``call`` is the row in the calls and ``attempts`` how many arrivals belong to it.

    Source:
        Order by the decision, not by the start of the call: a service may queue calls on a lock.
    """

    at: Floats
    begun: Floats
    done: Floats
    forwarded: Flags
    good: Flags
    attempts: Ints
    call: Ints

    def __len__(self) -> int:
        return len(self.at)

    def where(self, chosen: Flags | Ints) -> Self:
        """Return the rows that *chosen* picks, still in order."""
        return type(self)(**{each.name: getattr(self, each.name)[chosen] for each in fields(self)})


def decide(calls: Calls, arrivals: Arrivals, mapping: Mapping) -> Decisions:
    """Return the decisions about *calls*, in order."""
    n = len(calls)
    mine = mapping.call >= 0
    call = mapping.call[mine]
    attempts = np.bincount(call, minlength=n)
    first, last = np.full(n, np.inf), np.full(n, -np.inf)
    np.minimum.at(first, call, arrivals.at[mine])
    np.maximum.at(last, call, arrivals.ended[mine])
    answered = np.bincount(call, weights=arrivals.good[mine], minlength=n) > 0
    failed_there = np.bincount(call, weights=(arrivals.status > 0)[mine], minlength=n) > 0
    forwarded = attempts > 0
    at = np.where(forwarded, first, calls.ended)
    order = np.lexsort((calls.ended, at))
    return Decisions(
        at=at[order],
        begun=calls.begun[order],
        done=np.where(_known_by_arrival(calls, failed_there & ~answered, forwarded), last, calls.ended)[
            order
        ],
        forwarded=forwarded[order],
        good=(forwarded & answered & calls.good)[order],
        attempts=attempts[order],
        call=order,
    )


def _known_by_arrival(calls: Calls, failed: Flags, forwarded: Flags) -> Flags:
    """Return for which calls the arrival's end, not the call's, tells when the service had the outcome.

    After a success it answers at once; after a failure it may try again, and a client may go away first.
    """
    known: Flags = forwarded & (failed | (calls.outcome == Outcome.TIMEOUT))
    return known


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """What the service does while nothing is wrong.

    ``aside_share`` is the share of calls that it answers without asking the dependency (caches,
    validation); ``aside_kinds`` is how those look, and ``n`` how many calls this is known from.
    ``ambiguous`` says that they look like rejections do, so that a single one proves nothing.
    """

    n: int
    aside_share: float
    aside_kinds: frozenset[int]
    ambiguous: bool


def learn(calls: Calls, decisions: Decisions, calm: Flags) -> Baseline:
    """Learn from the decisions that were taken while it was *calm*: no fault was in, nor had just been.

    A kind of answer counts as given aside when the baseline has it without an arrival.  It is
    ambiguous when later on hardly anything else is kept from the dependency either, or not much else,
    and it comes so much more often than before that most of it is something else.
    """
    kind = calls.kind[decisions.call]
    aside = calm & ~decisions.forwarded
    found = frozenset(np.unique(kind[aside]).tolist())
    later = kind[~calm & ~decisions.forwarded]
    others = int((~np.isin(later, list(found))).sum()) if found else len(later)
    n, n_later = int(calm.sum()), int((~calm).sum())
    usual = (int(aside.sum()) + AT_LEAST) / max(n, 1)
    oftener = len(later) - others > OFTENER * usual * n_later
    return Baseline(
        n=n,
        aside_share=float(aside.sum() / n) if n else 0.0,
        aside_kinds=found,
        ambiguous=bool(found) and others <= (NOT_MUCH if oftener else OTHERS_SHARE) * len(later),
    )


ALIKE = 1
"""More calls that were let through, failed and were answered like a rejection are no accident."""
BLIND = ("refuse",)
"""Kinds of fault under which nothing arrives, whatever the breaker does."""


def reveal(
    calls: Calls, decisions: Decisions, baseline: Baseline, faults: Sequence[FaultWindow]
) -> tuple[Decisions, bool]:
    """Tell by their answers which calls were let through while nothing could arrive.

    What was kept back in sight of the link shows how a rejection looks, and what failed there how a
    failure looks; a refused connection may look like neither, so the first call of each blind fault, which
    found it closed, is one more failure.  Where a rejection and a failure look alike, or no rejection was
    in sight, the blind decisions are left out.  What fails in that way after such a fault, before anything
    arrives again, was let through too: it met a dead connection of a pool.

    Returns:
        The decisions, and whether those under blind faults can be told.
    """
    blind = within(decisions.at, [fault for fault in faults if fault.kind in BLIND])
    if not blind.any():
        return decisions, True
    kind = calls.kind[decisions.call]
    sighted = ~blind & within(decisions.at, faults)
    aside = np.isin(kind, list(baseline.aside_kinds))
    kept, let = sighted & ~decisions.forwarded & ~aside, sighted & decisions.forwarded & ~decisions.good
    rejected, times = np.unique(kind[kept], return_counts=True)
    also_let = np.array([np.count_nonzero(kind[let] == each) for each in rejected])
    mostly = times >= MOSTLY * (times + also_let)  # the rest are failures that got lost on their way
    rejected, alike = rejected[mostly], also_let[mostly] > ALIKE
    failed = np.unique(kind[_first_blind(decisions, faults, aside)])
    if len(rejected) == 0 or alike.any() or np.isin(rejected, failed).any():
        return decisions.where(~blind), False
    through = blind & ~np.isin(kind, rejected) & ~aside
    failing = np.unique(kind[through])
    through |= _before_anything_arrives(decisions, faults) & np.isin(kind, failing) & ~aside
    return replace(decisions, forwarded=decisions.forwarded | through), True


def _before_anything_arrives(decisions: Decisions, faults: Sequence[FaultWindow]) -> Flags:
    """Return which decisions came after the end of a blind fault and before the next arrival."""
    found = np.zeros(len(decisions), bool)
    arrived = np.flatnonzero(decisions.forwarded)
    for fault in faults:
        if fault.kind in BLIND:
            over = int(np.searchsorted(decisions.at, fault.ended, side="right"))
            place = int(np.searchsorted(arrived, over))
            found[over : arrived[place] if place < len(arrived) else None] = True
    return found


def _first_blind(decisions: Decisions, faults: Sequence[FaultWindow], aside: Flags) -> Flags:
    """Return which decisions were the first of a blind fault that came when calls were let through.

    Only the first one: later on a trial may get through before the fault is known to be over, and who comes
    after that is kept back.
    """
    found = np.zeros(len(decisions), bool)
    asked = np.flatnonzero(~aside)
    for fault in faults:
        if fault.kind not in BLIND:
            continue
        rows = asked[within(decisions.at[asked], [fault]) & ~decisions.forwarded[asked]]
        before = int(np.searchsorted(asked, rows[0])) - 1 if len(rows) else -1
        if before >= 0 and decisions.good[asked[before]]:
            found[rows[0]] = True
    return found


def within(at: Floats, faults: Sequence[FaultWindow]) -> Flags:
    """Return which of the moments *at* lie in one of *faults*, which do not overlap; O(n log n)."""
    if not faults:
        return np.zeros(len(at), bool)
    began = np.array([fault.began for fault in faults])
    order = np.argsort(began)
    ended = np.array([fault.ended for fault in faults])[order]
    place = np.searchsorted(began[order], at, side="right") - 1
    inside: Flags = (place >= 0) & (at <= ended[np.maximum(place, 0)])
    return inside


def without_aside(calls: Calls, decisions: Decisions, baseline: Baseline) -> Decisions:
    """Return *decisions* without the calls that never came before the breaker, where they can be told."""
    if not baseline.aside_kinds or baseline.ambiguous:
        return decisions
    aside = np.isin(calls.kind[decisions.call], list(baseline.aside_kinds)) & ~decisions.forwarded
    return decisions.where(~aside)


def without_given_up(calls: Calls, decisions: Decisions, phases: Sequence[Phase]) -> Decisions:
    """Return *decisions* without the calls that an impatient client gave up and the dependency never saw.

    Nobody decided about them: they waited in the service, on a lock or in a queue.
    """
    impatient = [
        FaultWindow(kind=phase.kind, began=phase.began, ended=phase.ended + (phase.timeout_s or 0.0))
        for phase in phases
        if phase.timeout_s is not None
    ]
    waited = within(decisions.at, impatient) & ~decisions.forwarded
    return decisions.where(~(waited & (calls.outcome[decisions.call] == Outcome.TIMEOUT)))


def clearly_kept_back(
    calls: Calls, decisions: Decisions, baseline: Baseline, faults: Sequence[FaultWindow]
) -> Flags:
    """Return which decisions kept a call back, in sight of the link, with an answer that tells.

    No call let through ever gets it, nor is it given aside, and it was seen several times in a row.
    """
    kind = calls.kind[decisions.call]
    kept = ~decisions.forwarded & ~within(decisions.at, [each for each in faults if each.kind in BLIND])
    in_a_row = kept[1:] & kept[:-1]
    rejected = np.unique(kind[1:][in_a_row])
    others = np.union1d(kind[decisions.forwarded], np.array(list(baseline.aside_kinds), "i8"))
    found: Flags = kept & np.isin(kind, np.setdiff1d(rejected, others))
    return found
