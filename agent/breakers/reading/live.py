"""What a recording shows while it goes on: of one link, or of one key."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.breakers.reading.paths import OWNED, Traffic, calm_until, learn, of_link
from agent.breakers.view import View, view

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agent.breakers.streams import Arrivals, Calls, FaultWindow, Phase


def view_of(
    calls: Calls,
    arrivals: Mapping[str, Arrivals],
    faults: Sequence[FaultWindow],
    *,
    link: str,
    key: int | None = None,
    phases: Sequence[Phase] = (),
) -> View:
    """Infer the course of *link*'s breaker, or of that for *key*."""
    traffic = Traffic.of(calls, arrivals)
    if key is not None:
        rows = np.flatnonzero(calls.key == key)
        theirs = (traffic.owner >= 0) & np.isin(traffic.owner, rows)
        return view(calls.where(rows), traffic.arrivals.where(theirs), faults, phases)
    if len(traffic.links) == 1:
        return view(calls, traffic.arrivals, faults, phases)
    mine, there, _ = of_link(traffic, learn(traffic, until=calm_until(faults)), link, faults)
    return view(mine, there, [each for each in faults if each.link == link], phases)


def misled(
    calls: Calls, arrivals: Mapping[str, Arrivals], keys: Mapping[int, str], told: Mapping[str, str]
) -> str:
    """Return a sentence if calls for a key go over another link than was *told*, "" if none do."""
    shares = learn(Traffic.of(calls, arrivals), until=np.inf).shares
    for number, name in keys.items():
        seen, stated = shares.get(number, {}), told.get(name)
        if stated and seen and seen[stated] < OWNED:
            most = max(seen, key=lambda link: seen[link])
            return f"calls for the key {name!r} go over {most!r}, not {stated!r}: write --key {name}={most}"
    return ""
