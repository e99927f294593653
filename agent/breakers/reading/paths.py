"""Which key's calls go over which link, and what of a recording is about one link."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Self

import numpy as np

from agent.breakers.reading.mapping import match
from agent.breakers.streams import joined

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agent.breakers.reading.mapping import Mapping as CallOf
    from agent.breakers.streams import Arrivals, Calls, FaultWindow, Flags, Floats, Ints

OWNED = 0.9
"""A key whose calls arrive on a link at least so often, when they arrive at all, is that link's."""
NONE = 0.02
"""One whose calls arrive there less often than this does not use the link."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Paths:
    """Of the calls for a key that arrive at all, the share that arrives on each link: key -> link -> share.

    A key without arrivals is left out.  Shares of one key may add up to more than 1: a call may ask
    several dependencies.
    """

    shares: Mapping[int, Mapping[str, float]]

    def owned(self, link: str) -> tuple[int, ...]:
        """Return the keys whose calls all go over *link*."""
        return tuple(key for key, each in self.shares.items() if each.get(link, 0.0) >= OWNED)

    def spread(self, link: str) -> tuple[int, ...]:
        """Return the keys whose calls go now over *link*, now over another: it leads to one replica."""
        return tuple(key for key, each in self.shares.items() if NONE < each.get(link, 0.0) < OWNED)

    def strange(self, link: str) -> tuple[int, ...]:
        """Return the keys whose calls go over other links only."""
        return tuple(key for key, each in self.shares.items() if each.get(link, 0.0) <= NONE)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Traffic:
    """Calls and the arrivals of several links together.

    For each arrival ``link`` is the number of its link.
    """

    calls: Calls
    arrivals: Arrivals
    link: Ints
    mapping: CallOf
    links: tuple[str, ...]

    @classmethod
    def of(cls, calls: Calls, arrivals: Mapping[str, Arrivals]) -> Self:
        """Map the arrivals on each link to the calls."""
        everything = joined(list(arrivals.values()))
        numbers = np.repeat(np.arange(len(arrivals)), [len(each) for each in arrivals.values()])
        mapping = match(calls, everything)
        return cls(calls=calls, arrivals=everything, link=numbers, mapping=mapping, links=tuple(arrivals))

    @property
    def owner(self) -> Ints:
        """For each arrival its call's row, -1 for a stranger."""
        return self.mapping.call

    def on(self, link: str) -> Flags:
        """Return which arrivals came over *link*."""
        found: Flags = self.link == self.links.index(link)
        return found


def calm_until(faults: Sequence[FaultWindow]) -> float:
    """Return when the first fault began."""
    return min((each.began for each in faults), default=np.inf)


def learn(traffic: Traffic, *, until: float, told: Mapping[int, str] | None = None) -> Paths:
    """Learn from the calls that ended before *until*, when the first fault began; believe what is *told*."""
    calls, mapped = traffic.calls, traffic.owner >= 0
    reached = np.zeros((len(traffic.links), len(calls)), bool)
    reached[traffic.link[mapped], traffic.owner[mapped]] = True
    reached[:, calls.ended >= until] = False
    arrived = reached.any(axis=0)
    shares = {}
    for key in np.unique(calls.key[arrived]).tolist():
        theirs = arrived & (calls.key == key)
        shares[key] = {
            link: float(reached[number, theirs].mean()) for number, link in enumerate(traffic.links)
        }
    for key, link in (told or {}).items():
        shares[key] = {each: float(each == link) for each in traffic.links}
    return Paths(shares=shares)


def of_link(
    traffic: Traffic, paths: Paths, link: str, faults: Sequence[FaultWindow]
) -> tuple[Calls, Arrivals, Ints]:
    """Return the calls that *link*'s breaker was asked for, their arrivals there, and the calls' rows.

    Seconds in which another link failed, or recovered from that, are left out.  A call that may go over
    several links is this one's unless it arrived on another: while only this link fails, what is kept back
    was meant for it.
    """
    calls, here = traffic.calls, traffic.on(link)
    arrived_here = _rows(traffic, here)
    arrived_elsewhere = _rows(traffic, ~here) & ~arrived_here
    chosen = np.isin(calls.key, paths.owned(link)) | (
        np.isin(calls.key, paths.spread(link)) & ~arrived_elsewhere
    )
    spans = calm_and_own(faults, link)
    chosen &= _within(calls.begun, spans)
    stranger = (traffic.owner < 0) & _within(traffic.arrivals.at, spans)
    theirs = here & (np.isin(traffic.owner, np.flatnonzero(chosen)) | stranger)
    return calls.where(chosen), traffic.arrivals.where(theirs), np.flatnonzero(chosen)


def _rows(traffic: Traffic, arrivals: Flags) -> Flags:
    found = np.zeros(len(traffic.calls), bool)
    found[traffic.owner[arrivals & (traffic.owner >= 0)]] = True
    return found


def calm_and_own(faults: Sequence[FaultWindow], link: str) -> list[tuple[float, float]]:
    """Return the seconds before the first fault, and those from each fault of all of *link* to another's."""
    ordered = sorted(faults, key=lambda fault: fault.began)
    spans = [(-np.inf, ordered[0].began if ordered else np.inf)]
    runs = [(path, next(iter(run)).began) for path, run in groupby(ordered, key=lambda f: (f.link, f.key))]
    for (path, began), (_, following) in pairwise([*runs, (("", ""), np.inf)]):
        if path in (("", ""), (link, "")):
            spans.append((began, following))
    return spans


def _within(at: Floats, spans: Sequence[tuple[float, float]]) -> Flags:
    found = np.zeros(len(at), bool)
    for since, until in spans:
        found |= (at >= since) & (at < until)
    return found
