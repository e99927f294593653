"""Machines that decide by a rule of what is going on just then: which rule, if any, the decisions follow.

Each rule compares a number with a limit at each decision: failures that still count, calls under way, or
calls let through of late.  The fit looks for the one whose limit parts the calls let through from those
kept back with the fewest exceptions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from agent.breakers.reading.decisions import Decisions
    from agent.breakers.streams import Flags, Floats

GUARD_S = 0.004
"""A number is compared as it was up to so long before and after: two processes, two clocks."""
SPANS = 48
ROUNDS = 4
TIMES_S = (0.1, 60.0)
"""The lengths of windows that are tried, from and to."""
BUCKETS = (*range(1, 16), 20, 25, 30, 40, 50, 75, 100)
"""The sizes of buckets that are tried."""
BUCKET_CALLS = 4_000
"""So many calls are followed through buckets."""
EXCEPTIONS = 0.25
"""A rule with more exceptions than this, of the rarer of calls let through and kept back, is none."""
PARAMETERS = 2
ERROR = 0.002
"""The share of exceptions that is always allowed for, so that none is impossible."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """A rule's ``limit`` and its other parameter (``span``: a window in seconds, or a rate a second).

    ``exceptions`` are the decisions that it does not explain.
    """

    limit: float
    span: float
    exceptions: Flags

    @property
    def wrong(self) -> int:
        """How many exceptions there are."""
        return int(np.count_nonzero(self.exceptions))

    @property
    def likelihood(self) -> float:
        """The logarithm of the chance of the decisions, each an exception with one and the same chance."""
        n = len(self.exceptions)
        share = max(ERROR, self.wrong / max(n, 1))
        return self.wrong * math.log(share) + (n - self.wrong) * math.log(1 - share)

    def fits(self, decisions: Decisions) -> bool:
        """Whether few of the calls that the rule is about are exceptions to it."""
        through = decisions.forwarded[: len(self.exceptions)]
        kept_back = np.flatnonzero(~through)
        if math.isnan(self.limit) or len(kept_back) == 0:
            return False
        among = int(through[kept_back[0] : kept_back[-1]].sum())
        return self.wrong <= EXCEPTIONS * min(len(kept_back), among)

    def holds(self, decisions: Decisions) -> bool:
        """Whether it fits, and says when calls are let in again.

        Of a row of calls kept back all but the last are explained by almost any limit; that the next one is
        let in is what tells.  Two such moments can be met by chance, for a rule has two parameters.
        """
        through = decisions.forwarded[: len(self.exceptions)]
        back = np.flatnonzero(through[1:] & ~through[:-1]) + 1
        told = ~self.exceptions[back] & ~self.exceptions[back - 1]
        enough = told.sum() > PARAMETERS and told.mean() >= 1 - EXCEPTIONS
        return self.fits(decisions) and bool(enough)


def sliding(decisions: Decisions) -> Fit | None:
    """Fit "kept back while so many failures are younger than a window"."""
    failed = np.sort(decisions.done[decisions.forwarded & ~decisions.good])
    return _windowed(decisions, failed, least=2)


def rested(decisions: Decisions, openings: Floats) -> Fit | None:
    """Fit "kept back for a time after each opening": a breaker that lets everybody in when it tries again."""
    return _windowed(decisions, np.sort(openings), least=1)


def admitted_lately(decisions: Decisions) -> Fit | None:
    """Fit "kept back while so many calls were let through within a window"."""
    return _windowed(decisions, np.sort(decisions.at[decisions.forwarded]), least=2)


def _windowed(decisions: Decisions, events: Floats, *, least: int) -> Fit | None:
    if len(events) < least or decisions.forwarded.all():
        return None
    at, through = decisions.at, decisions.forwarded
    low, high = at - GUARD_S, at + GUARD_S

    def fit(span: float) -> Fit:
        before = np.searchsorted(events, low, "left")
        after = np.searchsorted(events, high, "right")
        fewest = before - np.searchsorted(events, high - span, "right")
        most = after - np.searchsorted(events, low - span, "left")
        return _parted(
            np.maximum(fewest, 0).astype("f8"), (most - through).astype("f8"), through, least=least, span=span
        )

    return _narrowed(fit, *TIMES_S)


def bulkhead(decisions: Decisions) -> Fit | None:
    """Fit "kept back while so many calls are under way"."""
    through = decisions.forwarded
    if through.all():
        return None
    began, ended = np.sort(decisions.at[through]), np.sort(decisions.done[through])

    def inside(at: Floats, guard: float) -> Floats:
        """How many are under way, as many as can be for a *guard* above 0, as few for one below."""
        begun = np.searchsorted(began, at + guard, "left")
        over = np.searchsorted(ended, at - guard, "right")
        count: Floats = (begun - over).astype("f8")
        return count

    fewest = np.maximum(inside(decisions.at, -GUARD_S), 0)
    when_asked = inside(decisions.begun, GUARD_S)
    most = np.maximum(inside(decisions.at, GUARD_S), when_asked) - through
    return _parted(fewest, most, through, least=1, span=0.0)


def token_bucket(decisions: Decisions) -> Fit | None:
    """Fit "kept back while no token is left", with a rate at which they come back and a bucket's size."""
    through = decisions.forwarded[:BUCKET_CALLS]
    at = decisions.at[:BUCKET_CALLS]
    if through.all() or through.sum() < 2:
        return None
    usual = float(through.sum()) / max(float(at[-1] - at[0]), 1e-3)
    coarse = _buckets(at, through, np.geomspace(usual / 1.3, usual * 4, SPANS))
    return _buckets(at, through, np.geomspace(coarse.span * 0.93, coarse.span * 1.07, SPANS))


def _buckets(at: Floats, through: Flags, rates: Floats) -> Fit:
    """Return the best of buckets with *rates*; each is followed through what was really let in."""
    rate = np.repeat(rates, len(BUCKETS))
    size = np.tile(np.array(BUCKETS, "f8"), len(rates))
    wrong = np.zeros(len(rate), "i8")
    for each in _followed(at, through, rate, size):
        wrong += each
    best = int(np.argmin(wrong))
    exceptions = np.array([each[0] for each in _followed(at, through, rate[[best]], size[[best]])])
    return Fit(limit=float(size[best]), span=float(rate[best]), exceptions=exceptions)


def _followed(at: Floats, through: Flags, rate: Floats, size: Floats) -> Iterator[Flags]:
    """Yield for each decision which of the buckets it is an exception to, a moment early or late."""
    tokens, slack = size.copy(), rate * GUARD_S
    early, late = 1 - slack, 1 + slack
    for waited, admitted in zip(np.diff(at, prepend=at[0]).tolist(), through.tolist(), strict=True):
        refilled = tokens + rate * waited
        if admitted:
            yield refilled < early
            tokens = np.maximum(np.minimum(size, refilled) - 1, 0)
        else:
            yield refilled >= late if waited >= GUARD_S else tokens >= 1
            tokens = np.minimum(size, refilled)


def fixed_window(decisions: Decisions) -> Fit | None:
    """Fit "so many in each second (or other round length) of a clock", whatever its phase."""
    through, at = decisions.forwarded, decisions.at
    if through.all() or not through.any():
        return None
    found = None
    for period in (0.1, 0.2, 0.25, 0.5, 1.0, 2.0):
        for phase in np.arange(40) / 40:
            window = np.floor(at / period + phase).astype("i8")
            taken = np.cumsum(through) - through
            first = np.searchsorted(window, window, "left")
            count = (taken - taken[first]).astype("f8")
            each = _parted(count, count, through, least=2, span=period)
            if found is None or each.wrong < found.wrong:
                found = each
    return found


def _narrowed(fit: Callable[[float], Fit], low: float, high: float) -> Fit:
    """Return the best fit for a parameter between *low* and *high*, looked for ever more closely."""
    found = None
    for _ in range(ROUNDS):
        tried = np.geomspace(low, high, SPANS)
        fits = [fit(float(span)) for span in tried]
        place = min(range(SPANS), key=lambda at: fits[at].wrong)
        same = [at for at in range(SPANS) if fits[at].wrong == fits[place].wrong]
        place = same[len(same) // 2]
        if found is None or fits[place].wrong <= found.wrong:
            found = fits[place]
        low, high = tried[max(0, place - 2)], tried[min(SPANS - 1, place + 2)]
    assert found is not None
    return found


def _parted(fewest: Floats, most: Floats, through: Flags, *, least: int, span: float) -> Fit:
    """Return the limit at which the fewest are let through above it or kept back below it.

    ``fewest`` and ``most`` are what the number may have been at each decision.
    """
    fewest, most = np.floor(fewest), np.floor(most)
    over, under = np.sort(fewest[through]), np.sort(most[~through])
    limits = np.unique(np.concatenate([under, over + 1]))
    limits = limits[limits >= least]
    if len(limits) == 0:
        return Fit(limit=math.nan, span=span, exceptions=~through)
    wrong = (len(over) - np.searchsorted(over, limits, "left")) + np.searchsorted(under, limits, "left")
    limit = float(limits[int(np.argmin(wrong))])
    return Fit(limit=limit, span=span, exceptions=np.where(through, fewest >= limit, most < limit))
