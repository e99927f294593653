"""What is seen from outside (the black box) beside what a breaker says about itself (the white box)."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, Any

from agent.breakers.boxes.contradictions import SAME_MOMENT_S, contradictions
from agent.breakers.boxes.disagreements import findings
from agent.breakers.boxes.whitebox import spells
from agent.breakers.courses.states import State

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from agent.breakers.analysis import Answer
    from agent.breakers.boxes.whitebox import Sample, Spell, Traps
    from agent.breakers.courses.states import Transition
    from agent.breakers.findings import Finding
    from agent.breakers.view import View

STATES_MAX = 2_000
"""So many states of a source are told; of one that flaps more, the first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How far both tell the same: seconds (where both are sure), and transitions.

    ``share`` is None where nothing could be compared.  ``transitions`` are those seen from outside that
    the source was read at and has a word for; ``matched`` are those that it tells, too, within the
    brackets of both.
    """

    compared_s: float
    agreed_s: float
    explained_s: float
    share: float | None
    transitions: int
    matched: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One source beside what is seen from outside at ``link``.

    ``errors`` is how often nothing could be read, by reason; ``explained`` how often which declared trap
    accounts for a contradiction.  ``disagreements`` are what no trap accounts for.
    """

    kind: str
    url: str
    link: str
    traps: Traps
    samples: int
    errors: Mapping[str, int]
    spells: tuple[Spell, ...]
    agreement: Agreement
    explained: Mapping[str, int]
    disagreements: tuple[Finding, ...]


def compare(
    view: View, samples: Sequence[Sample], *, kind: str, url: str, traps: Traps, link: str = ""
) -> Comparison:
    """Return where *samples* tell what *view* shows, and where they contradict it."""
    told = spells(samples)
    found, compared_s = contradictions(view, told, traps)
    beyond = [each for each in found if each.explained is None]
    contradicted_s = sum(each.seconds for each in found)
    steps = _told(view, told, traps, _resolution_s(samples))
    return Comparison(
        kind=kind,
        url=url,
        link=link,
        traps=traps,
        samples=len(samples),
        errors=Counter(each.why for each in samples if each.state is None),
        spells=told,
        agreement=Agreement(
            compared_s=compared_s,
            agreed_s=compared_s - contradicted_s,
            explained_s=contradicted_s - sum(each.seconds for each in beyond),
            share=1 - contradicted_s / compared_s if compared_s > 0 else None,
            transitions=len(steps),
            matched=sum(steps),
        ),
        explained=Counter(each.explained for each in found if each.explained is not None),
        disagreements=findings(view, beyond, source=f"{kind} at {url}"),
    )


def with_disagreements(answer: Answer, compared: Sequence[Comparison]) -> Answer:
    """Add what sources contradict to the findings of the stream that each was compared with."""
    judged = [
        replace(
            stream,
            findings=stream.findings
            + tuple(found for each in compared if each.link == stream.link for found in each.disagreements),
        )
        for stream in answer.judged
    ]
    now = {id(before): after for before, after in zip(answer.judged, judged, strict=True)}
    streams = tuple(now.get(id(each), each) for each in answer.streams)
    return replace(answer, judged=tuple(judged), streams=streams)


def unread(why: str, *, kind: str, url: str, traps: Traps, link: str = "") -> Comparison:
    """Return a comparison with nothing, and why."""
    nothing = Agreement(compared_s=0.0, agreed_s=0.0, explained_s=0.0, share=None, transitions=0, matched=0)
    return Comparison(
        kind=kind,
        url=url,
        link=link,
        traps=traps,
        samples=0,
        errors={why: 1},
        spells=(),
        agreement=nothing,
        explained={},
        disagreements=(),
    )


def _resolution_s(samples: Sequence[Sample]) -> float:
    """Return the usual time between two looks: what is shorter may go unseen."""
    reads = sorted(each.read for each in samples if not each.event)
    return median(later - earlier for earlier, later in pairwise(reads)) if len(reads) > 1 else 0.0


def _told(view: View, told: Sequence[Spell], traps: Traps, resolution_s: float) -> list[bool]:
    """Say of each transition that the source could tell whether it did, within the brackets of both.

    One to or from a state that was over before the next look counts only if it is told.
    """
    tolerance_s = SAME_MOMENT_S + traps.late_s
    found = []
    for step, lasted_s in _tellable(view, traps):
        if _read(step, told):
            is_told = _is_told(step, told, tolerance_s)
            if is_told or lasted_s > 2 * resolution_s:
                found.append(is_told)
    return found


def _tellable(view: View, traps: Traps) -> Iterator[tuple[Transition, float]]:
    """Return the transitions that the source has a word for, each with how long the states around it lasted.

    Without a word for half-open, it may say closed as soon as the first trial is let in.
    """
    steps = view.course.transitions
    half_open = traps.half_open and not traps.late_half_open
    for before, step, after in zip((None, *steps), steps, (*steps[1:], None), strict=False):
        if (fault := view.fault_at(step.before)) is not None and not view.sees(fault):
            continue
        lasted_s = min(
            step.after - before.before if before else math.inf,
            after.after - step.before if after else math.inf,
        )
        if half_open or step.was is State.CLOSED:
            yield step, lasted_s
        elif step.to is State.CLOSED:
            yield (replace(step, after=before.after) if before else step), math.inf


def _read(step: Transition, told: Sequence[Spell]) -> bool:
    """Whether anything was told about the time of *step*."""
    known = (each for each in told if each.state is not None)
    return any(each.began_after < step.before and each.ended_before > step.after for each in known)


def _is_told(step: Transition, told: Sequence[Spell], tolerance_s: float) -> bool:
    after, before = step.after - tolerance_s, step.before + tolerance_s
    return any(
        each.state is step.to and each.began_after <= before and each.began_before >= after for each in told
    )


def to_json(comparison: Comparison, *, wall_ahead_s: float) -> dict[str, Any]:
    """Return the documented object; see docs/breakers.md."""
    return {
        "kind": comparison.kind,
        "url": comparison.url,
        "link": comparison.link,
        "samples": comparison.samples,
        "errors": dict(comparison.errors),
        "traps": asdict(comparison.traps),
        "states": [_spell(each, wall_ahead_s) for each in comparison.spells[:STATES_MAX]],
        "agreement": asdict(comparison.agreement),
        "explained": dict(comparison.explained),
        "disagreements": [
            {name: value for name, value in asdict(each).items() if name not in ("calls", "span")}
            for each in comparison.disagreements
        ],
    }


def _spell(spell: Spell, ahead: float) -> dict[str, Any]:
    ends = {
        "after": spell.began_after,
        "before": spell.began_before,
        "until": spell.ended_after,
    }
    times = {name: at if math.isfinite(at) else None for name, at in ends.items()}
    walls = {f"{name}_at": at if at is None else at + ahead for name, at in times.items()}
    return {"state": spell.state, **times, **walls, "samples": spell.samples}
