"""Whether what fails on one path stays there: the calls of others that are kept back meanwhile."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from agent.breakers.courses.states import State
from agent.breakers.measures.estimate import Property, Status, share_interval

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agent.breakers.reading.paths import Paths
    from agent.breakers.streams import FaultWindow, Flags, Floats
    from agent.breakers.view import View

NAME = "isolation"
COLLATERAL_LIMIT = 0.05
SPREAD_LIMIT = 0.25
"""The same where nobody knows where a call was to go: from how many usually go elsewhere it takes some
1400 calls to tell 5 % from nothing, and what is looked for is everything."""
SHOWN_MAX = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Collateral:
    """What happened to others while one path's calls were kept back.

    ``others`` calls were to go elsewhere and ``kept_back`` of them went nowhere.  Where calls are spread
    over replicas nobody knows where one was to go; then ``others`` is how many went nowhere or elsewhere,
    and ``kept_back`` follows from how many do usually.  ``low`` and ``high`` enclose the share with 95 %.
    """

    failing: str
    spread: bool
    others: int
    kept_back: int
    low: float
    high: float
    calls: tuple[int, ...] = ()
    span: tuple[float, float] | None = None

    @property
    def limit(self) -> float:
        """The share above which it is not isolated."""
        return SPREAD_LIMIT if self.spread else COLLATERAL_LIMIT

    @property
    def share(self) -> float:
        """The share of other calls that was kept back."""
        return self.kept_back / self.others if self.others else 0.0


def collateral(
    whole: View, views: Mapping[str, View], paths: Paths, faults: Sequence[FaultWindow]
) -> tuple[Collateral, ...]:
    """Return, for each link that failed and was then kept from calls, what became of the others'.

    *whole* is the view of all calls and links, *views* that of each link.
    """
    found: list[Collateral] = []
    replicas: list[tuple[str, Flags, float, tuple[float, float]]] = []
    for link, seen in views.items():
        spans = [] if not any(each.link == link for each in faults) else open_spans(seen)
        if not spans:
            continue
        inside = _inside(whole.asked.at, spans)
        if strange := paths.strange(link):
            rows = inside & np.isin(whole.calls.key[whole.asked.call], strange)
            found.append(_kept(whole, rows, link, spans))
        if spread := paths.spread(link):
            rows = inside & np.isin(whole.calls.key[whole.asked.call], spread)
            usual = sum(paths.shares[key][link] for key in spread) / len(spread)
            replicas.append((link, rows, 1 - usual, spans[0]))
    if replicas:
        found.append(_missing(whole, replicas))
    return tuple(each for each in found if each.others)


def between_keys(
    whole: View, keys: Mapping[str, View], faults: Sequence[FaultWindow]
) -> tuple[Collateral, ...]:
    """Return the same where one link leads all keys and the requests of one key failed at a time."""
    found = []
    for name, seen in keys.items():
        windows = [(each.began, each.ended) for each in faults if each.key == name]
        spans = [each for each in open_spans(seen) if any(b <= each[0] <= e for b, e in windows)]
        if not spans or not len(seen.calls):
            continue
        others = whole.calls.key[whole.asked.call] != seen.calls.key[0]
        found.append(_kept(whole, _inside(whole.asked.at, spans) & others, name, spans))
    return tuple(each for each in found if each.others)


def open_spans(view: View) -> list[tuple[float, float]]:
    """Return from when until when calls of *view* were surely kept back, none of them let through."""
    at = view.asked.at
    return [
        (float(at[each.first]), float(at[each.end - 1]))
        for each in view.course.of(State.OPEN)
        if view.meets(float(at[each.first]), float(at[each.first]))
    ]


def measured(found: Sequence[Collateral]) -> Property:
    """Return the isolation property: the worst collateral share of all paths that failed."""
    if not found:
        why = "no call was kept back on the path that failed while there were calls to others"
        return Property(unit="share", status=Status.INCONCLUSIVE, why=why)
    worst = max(found, key=lambda each: (each.low - each.limit, each.share))
    high = max(each.high for each in found)
    if worst.low > worst.limit:
        status = Status.FAIL
    else:
        within = all(each.high <= each.limit for each in found)
        status = Status.PASS if within else Status.INCONCLUSIVE
    needed = math.ceil(3 / COLLATERAL_LIMIT)
    n = sum(each.others for each in found)
    return Property(
        unit="share",
        estimate=worst.share,
        low=worst.low,
        high=high,
        n=n,
        status=status,
        why=said(worst) + (f"; {needed} and more would tell" if status is Status.INCONCLUSIVE else ""),
        more={"each": {each.failing: (each.kept_back, each.others) for each in found}},
    )


def said(each: Collateral) -> str:
    """Return one sentence with the figures."""
    if each.spread:
        return (
            f"while calls over {each.failing} were kept back, so were about {each.kept_back} of "
            f"{each.others} that usually go over others"
        )
    return (
        f"while calls to {each.failing} were kept back, so were {each.kept_back} of {each.others} calls "
        "that have nothing to do with it"
    )


def _kept(whole: View, rows: Flags, failing: str, spans: Sequence[tuple[float, float]]) -> Collateral:
    """Count the *rows* that were kept back, less what is answered aside while nothing is wrong."""
    back = rows & ~whole.asked.forwarded
    n, kept = int(rows.sum()), int(back.sum())
    low, high = share_interval(kept, n)
    usual = whole.baseline.aside_share if whole.baseline.ambiguous else 0.0
    low, high = (max(0.0, (each - usual) / (1 - usual)) for each in (low, high))
    kept = max(0, round((kept - usual * n) / (1 - usual)))
    shown = whole.asked.call[np.flatnonzero(back)[:SHOWN_MAX]]
    return Collateral(
        failing=failing,
        spread=False,
        others=n,
        kept_back=kept,
        low=low,
        high=high,
        calls=tuple(map(int, shown)),
        span=(spans[0][0], spans[0][1]),
    )


def _missing(whole: View, replicas: Sequence[tuple[str, Flags, float, tuple[float, float]]]) -> Collateral:
    """Hold how many calls went over other links against how many usually do.

    Each of *replicas* is a link, the rows while its calls were kept back, the share that usually goes over
    others, and the first seconds.
    """
    n = sum(int(rows.sum()) for _, rows, _, _ in replicas)
    others = sum(rows.sum() * usual for _, rows, usual, _ in replicas)
    went = sum(int((rows & whole.asked.forwarded).sum()) for _, rows, _, _ in replicas)
    least, most = share_interval(went, n)
    low, high = (min(1.0, max(0.0, 1 - each * n / max(others, 1))) for each in (most, least))
    back = replicas[0][1] & ~whole.asked.forwarded
    shown = whole.asked.call[np.flatnonzero(back)[:SHOWN_MAX]]
    return Collateral(
        failing=" or ".join(link for link, _, _, _ in replicas),
        spread=True,
        others=round(others),
        kept_back=max(0, round(others) - went),
        low=low,
        high=high,
        calls=tuple(map(int, shown)),
        span=replicas[0][3],
    )


def _inside(at: Floats, spans: Sequence[tuple[float, float]]) -> Flags:
    found = np.zeros(len(at), bool)
    for since, until in spans:
        found |= (at >= since) & (at <= until)
    return found
