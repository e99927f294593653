"""The key figures of a run, computed from its record alone."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agent.model import Look, RunRecord, TrafficBin


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A stretch of time in seconds since the epoch; *closed* is False when its end is not known."""

    start: float
    end: float
    closed: bool = True

    @property
    def length_s(self) -> float:
        """Its length in seconds, never negative."""
        return max(0.0, self.end - self.start)


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """*k* of *n* samples, with the exact (Clopper-Pearson) 95 % confidence interval of the ratio."""

    k: int
    n: int
    low: float
    high: float

    @property
    def ratio(self) -> float:
        """The share itself."""
        return self.k / self.n


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """What the traffic saw before, during or after the faults.

    The percentiles are the median over the bins of each bin's own percentile: percentiles of parts
    cannot be added up to a percentile of the whole.
    """

    name: str
    n: int
    success: Share | None
    degraded: Share | None
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What one wants to know first.  Times in seconds; None where the record cannot tell."""

    fault: Window | None
    fault_s: float | None
    detect_s: float | None
    recover_s: float | None
    recover_looks: int
    looks: int
    looks_unknown: int
    unsteady_s: float | None
    unknown_s: float | None
    unsteady_s_max: float | None
    recover_within_s: float | None
    requests: int
    stretches: tuple[Stretch, ...]


def figures(record: RunRecord) -> Figures:
    """Return the key figures of *record*."""
    fault = fault_window(record)
    since = looks_after(record.looks, fault)
    recovered = first_lasting(since)
    spells = [] if fault is None else [s for s in coverage(record.looks) if _overlap_s(s, fault) > 0]
    seen = fault is not None and bool(spells)
    allowed = allowance(record.definition)
    return Figures(
        fault=fault,
        fault_s=fault.length_s if fault else None,
        detect_s=detect_s(record.looks, fault),
        recover_s=recover_s(since, fault),
        recover_looks=0 if recovered is None else recovered + 1,
        looks=len(record.looks),
        looks_unknown=sum(look.steady is None for look in record.looks),
        unsteady_s=_spent_s(spells, fault, state=False) if fault and seen else None,
        unknown_s=_spent_s(spells, fault, state=None) if fault and seen else None,
        unsteady_s_max=_number_at(allowed, "during", "unsteady_s_max"),
        recover_within_s=_number_at(allowed, "recover_within_s"),
        requests=sum(b.n for b in record.traffic),
        stretches=tuple(stretches(record.traffic, fault)),
    )


def last_moment(record: RunRecord) -> float:
    """Return the latest time the record knows of."""
    times = [record.started_at, record.ended_at]
    times += [t for i in record.injections for t in (i.intended_at, i.applied_at, i.landed_at, i.healed_at)]
    times += [t for a in record.activities for t in (a.started_at, a.ended_at)]
    times += [look.ended_at for look in record.looks] + [mark.at for mark in record.marks]
    times += [b.at + b.width_s for b in record.traffic]
    return max(t for t in times if t is not None)


def fault_window(record: RunRecord) -> Window | None:
    """Return the time from the first fault applied to the last one healed; None if none was applied."""
    applied = [i for i in record.injections if i.applied_at is not None]
    if not applied:
        return None
    start = min(i.applied_at for i in applied if i.applied_at is not None)
    healed = [i.healed_at for i in applied if i.healed_at is not None]
    if len(healed) < len(applied):
        return Window(start=start, end=last_moment(record), closed=False)
    return Window(start=start, end=max(start, *healed))


def detect_s(looks: Sequence[Look], fault: Window | None) -> float | None:
    """Return the time from the first fault applied to the end of the first look that found it unsteady."""
    if fault is None:
        return None
    seen = (k.ended_at - fault.start for k in looks if k.steady is False and k.ended_at >= fault.start)
    return min(seen, default=None)


def looks_after(looks: Sequence[Look], fault: Window | None) -> list[Look]:
    """Return the looks that began after the last heal, in time order; none while a fault is still in."""
    if fault is None or not fault.closed:
        return []
    return sorted((k for k in looks if k.at >= fault.end), key=lambda k: k.at)


def first_lasting(since: Sequence[Look]) -> int | None:
    """Return which look was the first steady one that no other followed; None if the last was not steady."""
    if not since or since[-1].steady is not True:
        return None
    return max((n + 1 for n, look in enumerate(since) if look.steady is not True), default=0)


def recover_s(since: Sequence[Look], fault: Window | None) -> float | None:
    """Return the time from the last heal to the end of the first look that found it steady for good.

    None when it was not healed, nobody looked afterwards, or the last look was not steady.
    """
    first = first_lasting(since)
    return None if fault is None or first is None else max(0.0, since[first].ended_at - fault.end)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spell:
    """The time for which one look speaks, and what it said."""

    start: float
    end: float
    steady: bool | None


def coverage(looks: Sequence[Look]) -> list[Spell]:
    """Return for each look the time until the next one; a gap three times the usual belongs to nobody."""
    ordered = sorted(looks, key=lambda k: k.at)
    usual = statistics.median([b.at - a.at for a, b in pairwise(ordered)] or [0.0])
    ends = [min(b.at, max(a.ended_at, a.at + 3 * usual)) for a, b in pairwise(ordered)] + [
        max(k.ended_at, k.at + usual) for k in ordered[-1:]
    ]
    return [
        Spell(start=k.at, end=max(k.at, end), steady=k.steady) for k, end in zip(ordered, ends, strict=True)
    ]


def _overlap_s(spell: Spell, window: Window) -> float:
    return min(spell.end, window.end) - max(spell.start, window.start)


def _spent_s(spells: Sequence[Spell], window: Window, *, state: bool | None) -> float:
    return sum((max(0.0, _overlap_s(s, window)) for s in spells if s.steady is state), start=0.0)


def stretches(bins: Sequence[TrafficBin], fault: Window | None) -> Iterator[Stretch]:
    """Yield what the traffic saw before, during and after the faults; a bin counts where its middle is."""
    if not bins:
        return
    if fault is None:
        yield stretch("whole run", bins)
        return
    middle = [(b.at + b.width_s / 2, b) for b in bins]
    yield stretch("before", [b for at, b in middle if at < fault.start])
    yield stretch("during the fault", [b for at, b in middle if fault.start <= at <= fault.end])
    yield stretch("after", [b for at, b in middle if at > fault.end])


def stretch(name: str, bins: Sequence[TrafficBin]) -> Stretch:
    """Return the sums over *bins*."""
    n = sum(b.n for b in bins)
    return Stretch(
        name=name,
        n=n,
        success=share(sum(b.ok for b in bins), n),
        degraded=share(sum(b.degraded for b in bins), n),
        p50_ms=_median([b.p50_ms for b in bins]),
        p95_ms=_median([b.p95_ms for b in bins]),
        p99_ms=_median([b.p99_ms for b in bins]),
    )


def _median(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return statistics.median(known) if known else None


def share(k: int, n: int) -> Share | None:
    """Return *k* of *n* with its exact 95 % interval; None when there is nothing to count.

    Source: Clopper & Pearson 1934 in its beta form, the same figures as ``scipy.stats.binomtest``;
    ``scipy.special`` alone imports in a third of the time of ``scipy.stats`` and in half the memory.
    """
    if n <= 0 or not 0 <= k <= n:
        return None
    from scipy.special import betaincinv  # noqa: PLC0415  0.3 s that only runs with traffic pay

    low = float(betaincinv(k, n - k + 1, 0.025)) if k > 0 else 0.0
    high = float(betaincinv(k + 1, n - k, 0.975)) if k < n else 1.0
    return Share(k=k, n=n, low=low, high=high)


def allowance(definition: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the agent's own part of an experiment, ``extensions[name=gameday]``; empty if there is none."""
    extensions = definition.get("extensions")
    for part in extensions if isinstance(extensions, list | tuple) else ():
        if isinstance(part, Mapping) and part.get("name") == "gameday":
            return part
    return {}


def _number_at(data: Any, *path: str) -> float | None:
    for key in path:
        data = data.get(key) if isinstance(data, Mapping) else None
    return float(data) if isinstance(data, int | float) and not isinstance(data, bool) else None
