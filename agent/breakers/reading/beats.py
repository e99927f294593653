"""Requests that come at fixed intervals whatever the callers do: health checks, told by their time alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from agent.breakers.streams import Flags, Floats

PERIODS_S = (0.1, 30.0)
LATE_S = 0.006
"""A check comes so much early or late at most: timers of two processes on a busy machine."""
LONELY_S = 0.02
"""A request is lonely with no other one so near: it came while hardly anybody else was let through."""
LONELY_MAX = 120
NEAR_BEATS = 12
"""Periods are first looked for among requests so many beats apart: farther, a small error adds up."""
GUESSES = 8
CROWDED = 0.4
"""The chance that a beat's request was not a lonely one."""
BEATS_MIN = 8
KEEPS = 0.9
"""Of all beats of a recording, so many at least have their request."""
MISSES = 0.05
SURE = 14.0
"""How much likelier than chance, in nats (a million to one), among all periods that are tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """Requests every ``period_s``, one of them at ``phase`` (monotonic seconds)."""

    period_s: float
    phase: float

    def number(self, at: Floats) -> Floats:
        """Return the number of the beat that is nearest to each moment."""
        found: Floats = np.round((at - self.phase) / self.period_s)
        return found

    def lateness(self, at: Floats) -> Floats:
        """Return how long after the nearest beat each moment is; before it is negative."""
        found: Floats = at - self.phase - self.number(at) * self.period_s
        return found


def beat_of(at: Floats) -> Beat | None:
    """Return the beat that some of the sorted moments *at* keep from the first to the last, if any do.

    Source:
        The chance of at least one of Poisson arrivals within a window of each beat: 1 - exp(-rate width),
        with the local rate; a beat has to be likelier by far than this at all its windows together.
    """
    alone = _alone_for(at)
    lonely = np.flatnonzero(alone > LONELY_S)
    if len(lonely) < BEATS_MIN:
        return None
    loneliest = np.sort(lonely[np.argsort(-alone[lonely], kind="stable")[:LONELY_MAX]])
    found = (_refined(guess, at[lonely]) for guess in _guesses(at[loneliest]))
    return next((beat for beat in found if _is_kept(beat, at)), None)


def on_beat(beat: Beat, at: Floats) -> Flags:
    """Return which of the sorted moments *at* are surely the beat's own: alone near it."""
    near = np.abs(beat.lateness(at)) <= LATE_S
    found: Flags = near & (_alone_for(at) > LONELY_S)
    return found


def _alone_for(at: Floats) -> Floats:
    """Return how far each of the sorted moments is from its nearest neighbour."""
    gap = np.diff(at, prepend=-np.inf, append=np.inf)
    found: Floats = np.minimum(gap[:-1], gap[1:])
    return found


def _guesses(at: Floats) -> list[Beat]:
    """Return the few periods and phases, each of two of the moments, that those after them keep best."""
    ahead = at[None, :] - at[:, None]
    first, second = np.nonzero((ahead >= PERIODS_S[0]) & (ahead <= PERIODS_S[1]))
    phase, period = at[first], ahead[first, second]
    beats = np.arange(1, NEAR_BEATS + 1)
    late = LATE_S * np.maximum(1, beats / 2)
    due = phase[:, None] + period[:, None] * beats
    kept = np.searchsorted(at, due + late, "right") > np.searchsorted(at, due - late, "left")
    last = np.searchsorted(at, phase + period * NEAR_BEATS, "right")
    dense = (last - first)[:, None] / (period * NEAR_BEATS)[:, None]
    nats = np.where(kept, -np.log1p(-np.exp(-2 * late * dense)), math.log(CROWDED)).sum(axis=1)
    best = np.argsort(-nats, kind="stable")[:GUESSES]
    return [Beat(period_s=float(period[each]), phase=float(phase[each])) for each in best]


def _refined(beat: Beat, at: Floats) -> Beat:
    """Return *beat* with its period and phase fitted to ever more of the moments (least squares)."""
    reach = float(NEAR_BEATS)
    last = float(np.max(np.abs(beat.number(at))))
    while True:
        number = beat.number(at)
        fits = (np.abs(beat.lateness(at)) <= LATE_S) & (np.abs(number) <= reach)
        if len(np.unique(number[fits])) > 1:
            period, phase = np.polyfit(number[fits], at[fits], 1)
            beat = Beat(period_s=float(period), phase=float(phase))
        if reach >= last:
            return beat
        reach *= 2


def _is_kept(beat: Beat, at: Floats) -> bool:
    """Whether it is kept all along, and far more often than by chance."""
    beats = (
        np.arange(math.ceil((at[0] - beat.phase) / beat.period_s), beat.number(at[-1:])[0]) * beat.period_s
    )
    beats = beats + beat.phase
    if len(beats) < BEATS_MIN:
        return False
    inside = np.searchsorted(at, beats + LATE_S, "right") - np.searchsorted(at, beats - LATE_S, "left")
    wide = min(0.25, beat.period_s / 3)
    around = np.searchsorted(at, beats + wide, "right") - np.searchsorted(at, beats - wide, "left") - inside
    chance = 1 - np.exp(-(around + 0.5) * LATE_S / (wide - LATE_S))
    kept = inside > 0
    if kept.mean() < KEEPS:
        return False
    nats = np.where(kept, np.log((1 - MISSES) / chance), np.log(MISSES / (1 - chance)))
    return bool(nats.sum() > SURE)
