"""Where what is seen from outside and what a source tells cannot both be true, and what explains it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from agent.breakers.courses.states import State

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agent.breakers.boxes.whitebox import Spell, Traps
    from agent.breakers.view import View

SAME_MOMENT_S = 0.05
"""Two clocks of one host, an event loop, a line of a log: no further apart than this is the same moment."""


class Disagreement(StrEnum):
    """The four ways to contradict each other; named as the findings are."""

    LATE = "late-event"
    STALE = "stale-open"
    HIDDEN = "hidden-breaker"
    PHANTOM = "phantom-open"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stay:
    """A time in which, seen from outside, the breaker was in ``state`` for sure (monotonic seconds).

    ``began_after`` and ``ended_before`` are the outer ends of the brackets; ``first`` is the recording's
    first one.
    """

    state: State
    since: float
    until: float
    ended_before: float
    first: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Contradiction:
    """From ``since`` to ``until`` one state was seen and another one told.

    ``explained`` names the declared trap that accounts for it, if one does.
    """

    disagreement: Disagreement
    seen: State
    told: State
    since: float
    until: float
    explained: str | None

    @property
    def seconds(self) -> float:
        """How long, at least."""
        return self.until - self.since


@dataclass(frozen=True, slots=True, kw_only=True)
class _Overlap:
    """A stay and a spell that share the time from ``since`` until ``until``; ``following`` was told next."""

    stay: Stay
    spell: Spell
    following: Spell | None
    since: float
    until: float

    @property
    def seconds(self) -> float:
        return self.until - self.since


def contradictions(
    view: View, told: Sequence[Spell], traps: Traps
) -> tuple[tuple[Contradiction, ...], float]:
    """Return the contradictions in order of time, and how many seconds were compared; O(n + m)."""
    found, compared_s = [], 0.0
    for each in _overlaps(list(stays(view)), told):
        compared_s += each.seconds
        if each.seconds <= SAME_MOMENT_S:
            continue
        contradiction = _judge(each, traps)
        if contradiction is not None and _has_calls(view, contradiction):
            found.append(contradiction)
    return tuple(found), compared_s


def stays(view: View) -> Iterator[Stay]:
    """Return when the breaker was seen in one state for sure; times in which nothing is seen are left out."""
    at = view.asked.at
    if len(at) == 0:
        return
    ins, outs = [float(at[0])], [float(at[-1])]
    ins = ins + [step.before for step in view.course.transitions]
    outs = [step.after for step in view.course.transitions] + outs
    ends = [step.before for step in view.course.transitions] + [float(at[-1])]
    rows = zip(view.course.stretches, ins, outs, ends, strict=True)
    for number, (stretch, since, until, ended_before) in enumerate(rows):
        for begin, end in _in_sight(view, since, until):
            yield Stay(
                state=stretch.state, since=begin, until=end, ended_before=ended_before, first=number == 0
            )


def _in_sight(view: View, since: float, until: float) -> Iterator[tuple[float, float]]:
    """Cut the faults under which nothing can be seen out of a span."""
    for fault in view.faults:
        if view.sees(fault) or fault.ended <= since or fault.began >= until:
            continue
        if fault.began > since:
            yield since, fault.began
        since = fault.ended
    if since < until:
        yield since, until


def _overlaps(seen: Sequence[Stay], told: Sequence[Spell]) -> Iterator[_Overlap]:
    """Walk both at once; spells that tell nothing are compared with nothing."""
    first = 0
    for stay in seen:
        while first < len(told) and told[first].ended_after <= stay.since:
            first += 1
        for place in range(first, len(told)):
            spell = told[place]
            if spell.began_before >= stay.until:
                break
            since, until = max(stay.since, spell.began_before), min(stay.until, spell.ended_after)
            if spell.state is not None and since < until:
                following = told[place + 1] if place + 1 < len(told) else None
                yield _Overlap(stay=stay, spell=spell, following=following, since=since, until=until)


def _judge(each: _Overlap, traps: Traps) -> Contradiction | None:
    """Name the contradiction, or None where both can be true.

    A half-open breaker may keep everybody back or let everybody through, so half-open that is told
    contradicts nothing that is seen.
    """
    told = each.spell.state
    match (each.stay.state, told):
        case (State.OPEN, State.CLOSED):
            kind, trap = _unsaid(each, traps)
        case (State.CLOSED, State.OPEN):
            kind, trap = _unfounded(each, traps)
        case (State.HALF_OPEN, State.OPEN) if traps.half_open:
            kind, trap = Disagreement.LATE, "late_half_open" if traps.late_half_open else None
        case _:
            return None
    if trap is None and traps.late_s and each.seconds <= traps.late_s + SAME_MOMENT_S:
        trap = "late_s"
    if trap is None and each.seconds <= each.spell.gap:
        trap = "sampling"  # another state may have come and gone between two looks
    assert told is not None
    return Contradiction(
        disagreement=kind,
        seen=each.stay.state,
        told=told,
        since=each.since,
        until=each.until,
        explained=trap,
    )


def _unsaid(each: _Overlap, traps: Traps) -> tuple[Disagreement, str | None]:
    """Calls are kept back, and the source says closed: it says so later, or never."""
    following = each.following
    comes = following is not None and following.state in (State.OPEN, State.HALF_OPEN)
    if comes and following is not None and following.began_after <= each.stay.ended_before:
        return Disagreement.LATE, None
    return Disagreement.HIDDEN, "falls_back" if traps.falls_back else None


def _unfounded(each: _Overlap, traps: Traps) -> tuple[Disagreement, str | None]:
    """Calls are let through, and the source says open: still, or with no reason that is seen."""
    if each.stay.first or each.since > each.stay.since:
        return Disagreement.PHANTOM, None
    following = each.following
    ends = following is not None and following.state is not None and following.began_after < each.stay.until
    return (Disagreement.LATE if ends and not traps.lazy else Disagreement.STALE), None


def _has_calls(view: View, found: Contradiction) -> bool:
    """Whether any call was decided meanwhile: without one, what is told is as good as what is seen."""
    rows = view.between(found.since, found.until)
    return bool(rows.stop > rows.start)
