"""What a breaker says about itself, as data: samples of a reader, its traps, and the spells they make.

Nothing is read here; the readers are in :mod:`agent.whitebox`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from agent.breakers.courses.states import State


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One thing that was read: it was true at some moment from ``asked`` until ``read`` (monotonic seconds).

    With ``event`` the state *began* in that time; without, it was seen.  Without a ``state`` nothing is
    known, and ``why`` says the reason: an error is never a state.
    """

    asked: float
    read: float
    state: State | None
    event: bool = False
    why: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Traps:
    """In which ways a source misleads; what they explain is no disagreement.

    ``half_open``: it has a word for half-open.  ``lazy``: it says open, long after that has expired, until
    a call arrives.  ``late_s``: it may tell any state so much later than that began.  ``late_half_open``:
    it tells half-open when the trial has ended, if at all.  ``falls_back``: it is a gauge of the load, and
    says closed when the load stops.  ``notes`` is what else to know, a sentence each.
    """

    half_open: bool = True
    lazy: bool = False
    late_s: float = 0.0
    late_half_open: bool = False
    falls_back: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Spell:
    """A time in which a source told one state, or nothing (None); it began and ended within brackets.

    ``gap`` is the longest time between two samples of it: something shorter may have gone unseen.
    """

    state: State | None
    began_after: float
    began_before: float
    ended_after: float
    ended_before: float
    samples: int
    gap: float


@dataclass(slots=True)
class _Open:
    """A spell while it is read."""

    state: State | None
    after: float
    before: float
    last: float
    samples: int = 1
    gap: float = 0.0


def spells(samples: Iterable[Sample]) -> tuple[Spell, ...]:
    """Return the spells that *samples* make, in order of time; O(n log n)."""
    found: list[Spell] = []
    now: _Open | None = None
    known = -math.inf  # when a state was last known: an error in between tells nothing about its end
    for sample in sorted(samples, key=lambda each: each.read):
        if now is not None and sample.state is now.state:
            now.gap = max(now.gap, sample.read - now.last)
            now.last, now.samples = max(now.last, sample.asked), now.samples + 1
            continue
        after = -math.inf
        if now is not None:
            known = now.last if now.state is not None else known
            found.append(_ended(now, now.last, sample.read))
            after = now.last if sample.state is None else known
        if sample.event:
            after = min(max(after, sample.asked), sample.read)
        last = sample.read if sample.event else sample.asked
        now = _Open(sample.state, after, sample.read, last)
    if now is not None:
        found.append(_ended(now, now.last, math.inf))
    return tuple(found)


def _ended(spell: _Open, after: float, before: float) -> Spell:
    return Spell(
        state=spell.state,
        began_after=spell.after,
        began_before=spell.before,
        ended_after=after,
        ended_before=before,
        samples=spell.samples,
        gap=spell.gap,
    )
