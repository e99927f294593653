"""Contradictions between the two boxes as findings: one for each class, with its worst case."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from agent.breakers.boxes.contradictions import Disagreement
from agent.breakers.findings import Finding
from agent.breakers.measures.estimate import often

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.breakers.boxes.contradictions import Contradiction
    from agent.breakers.view import View

CALLS_MAX = 20
SHOWN_S = 6.0
SURE_S = 1.0
"""A contradiction that lasts this long, or comes again, is no accident of reading."""


class _Said(NamedTuple):
    title: str
    severity: str
    saw: str
    advice: str


SAID = {
    Disagreement.LATE: _Said(
        "Tells late what it does",
        "medium",
        "told another state than was seen, and the right one only then",
        "Alert on what callers see, not on this signal, or have it told when the state changes and not "
        "when a call ends.",
    ),
    Disagreement.STALE: _Said(
        "Says open after calls are let through again",
        "medium",
        "went on to say open while calls were let through",
        "Look whether calls still go through the breaker that is read (replaced, renamed, another instance): "
        "one that nobody calls stays open forever where the next call would have changed it.",
    ),
    Disagreement.HIDDEN: _Said(
        "Calls are kept back, and the breaker that is watched does not say so",
        "high",
        "said closed while calls were kept back",
        "Another breaker keeps them back (a proxy, a library inside, another instance): find it and watch "
        "it, too, or nobody is told when it opens.",
    ),
    Disagreement.PHANTOM: _Said(
        "Says open, and calls are still forwarded",
        "high",
        "said open while calls were forwarded",
        "It guards another path than the one that was called, or is overridden (panic mode, a fallback that "
        "asks the same dependency): put it around the call itself.",
    ),
}


def findings(view: View, found: Sequence[Contradiction], *, source: str) -> tuple[Finding, ...]:
    """Return a finding for each class among *found*, which no declared trap explains."""
    classes = {kind: [each for each in found if each.disagreement is kind] for kind in Disagreement}
    return tuple(_finding(view, kind, those, source) for kind, those in classes.items() if those)


def _finding(view: View, kind: Disagreement, those: Sequence[Contradiction], source: str) -> Finding:
    said, worst = SAID[kind], max(those, key=lambda each: each.seconds)
    total = sum(each.seconds for each in those)
    rows = view.between(worst.since, worst.until)
    times = often(len(those))
    evidence = (
        f"{source} {said.saw} {times}, {total:.2f} s in all; the longest time for at least "
        f"{worst.seconds:.2f} s, in which it said {worst.told} and {rows.stop - rows.start} calls found it "
        f"{worst.seen}"
    )
    return Finding(
        bug=str(kind),
        title=said.title,
        evidence=evidence,
        confidence="high" if total >= SURE_S or len(those) > 1 else "medium",
        severity=said.severity,
        advice=said.advice,
        calls=tuple(map(int, view.asked.call[rows][:CALLS_MAX])),
        span=(worst.since, min(worst.until, worst.since + SHOWN_S)),
    )
