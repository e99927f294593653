"""States over time: as they were inferred from outside, and as a breaker told them of itself."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from agent.report.breaker.fields import count, items, mapping, number, text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MOST_STEPS, MOST_READERS, MOST_REASONS = 2_000, 6, 5
UNREAD = "not read"
"""The state in a time in which nothing could be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """A state from ``since`` until ``until`` (wall seconds)."""

    state: str
    since: float
    until: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A transition and the bracket it lies in, in wall seconds."""

    was: str
    to: str
    after: float
    before: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """A state that a source told: begun after ``after`` and by ``before``, and told until ``until``."""

    state: str
    after: float | None
    before: float
    until: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """What one source told of the breaker.

    ``disagreements`` are the bug and the evidence of each finding that it contradicts what was seen.
    """

    kind: str
    url: str
    samples: int
    told: tuple[Telling, ...]
    errors: tuple[tuple[str, int], ...]
    explained: tuple[tuple[str, int], ...]
    notes: tuple[str, ...]
    compared_s: float | None
    share: float | None
    transitions: int
    matched: int
    disagreements: frozenset[tuple[str, str]]

    def steps(self) -> list[Step]:
        """Return each change and the bracket it lies in: not before the last state was last told."""
        return [
            Step(was=one.state, to=two.state, after=_after(one, two), before=two.before)
            for one, two in pairwise(self.told)
        ]

    def stretches(self, since: float, until: float) -> list[Stretch]:
        """Return the states, each to the middle of the next bracket, the last one while it was told."""
        if not self.told:
            return []
        last = self.told[-1].until
        edges = [self.told[0].before, *((step.after + step.before) / 2 for step in self.steps())]
        ends = [*edges[1:], until if last is None else last]
        return [
            Stretch(state=told.state, since=max(low, since), until=min(high, until))
            for told, low, high in zip(self.told, edges, ends, strict=True)
            if min(high, until) > max(low, since)
        ]


def _after(one: Telling, two: Telling) -> float:
    known = [at for at in (one.until, two.after) if at is not None]
    return min(max(known, default=two.before), two.before)


def reader_of(data: Mapping[str, Any]) -> Reader:
    """Return one source of an answer's ``whitebox``; see docs/breakers.md."""
    agreement = mapping(data.get("agreement"))
    notes = mapping(data.get("traps")).get("notes")
    return Reader(
        kind=text(data.get("kind"), 40) or "reader",
        url=text(data.get("url"), 200),
        samples=count(data.get("samples")),
        told=tuple(each for state in items(data.get("states"))[:MOST_STEPS] if (each := _told(state))),
        errors=_counted(data.get("errors")),
        explained=_counted(data.get("explained")),
        notes=tuple(text(each, 300) for each in (notes[:5] if isinstance(notes, list | tuple) else ())),
        compared_s=number(agreement.get("compared_s")),
        share=number(agreement.get("share")),
        transitions=count(agreement.get("transitions")),
        matched=count(agreement.get("matched")),
        disagreements=frozenset(
            (text(each.get("bug"), 80), text(each.get("evidence"), 1_000))
            for each in items(data.get("disagreements"))[:50]
        ),
    )


def _told(data: Mapping[str, Any]) -> Telling | None:
    before = number(data.get("before_at"))
    if before is None:
        return None
    return Telling(
        state=text(data.get("state"), 40) or UNREAD,
        after=number(data.get("after_at")),
        before=before,
        until=number(data.get("until_at")),
    )


def _counted(data: Any) -> tuple[tuple[str, int], ...]:
    return tuple((text(name, 120), count(n)) for name, n in list(mapping(data).items())[:MOST_REASONS])


def step_of(data: Mapping[str, Any]) -> Step | None:
    """Return a transition of a stream."""
    after, before = number(data.get("after_at")), number(data.get("before_at"))
    if after is None or before is None:
        return None
    was, to = text(data.get("from"), 40), text(data.get("to"), 40)
    return Step(was=was, to=to, after=min(after, before), before=max(after, before))


def stretches(sequence: Sequence[str], steps: Sequence[Step], since: float, until: float) -> list[Stretch]:
    """Return inferred states from *since* to *until*, each from the middle of its bracket."""
    ordered = sorted(steps, key=lambda step: (step.after, step.before))
    edges = [since, *((step.after + step.before) / 2 for step in ordered), until]
    first = list(sequence[:1]) or [step.was for step in ordered[:1]]
    states = [*first, *(step.to for step in ordered)]
    return [
        Stretch(state=state, since=max(start, since), until=min(end, until))
        for state, start, end in zip(states, edges, edges[1:], strict=False)
        if min(end, until) > max(start, since)
    ]
