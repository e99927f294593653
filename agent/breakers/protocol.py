"""How long to keep a fault in, or to wait after it: decided from what the recording shows so far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.breakers import trials
from agent.breakers.states import State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.breakers.view import View

KINDS = ("error", "hang", "slow", "refuse", "reset", "not-found")
"""The kinds of fault, in the order in which they are played: what hangs tells the service's patience,
which the slow ones need to know."""


OPENING = ("error", "hang", "slow", "refuse", "reset")
"""The kinds that open a breaker; where calls are slow it is opened by errors first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One fault to be played: its kind, the link it is put on, and the key it is for ("" for all)."""

    kind: str
    link: str
    key: str = ""


def steps(kinds: Sequence[str], links: Sequence[str], keys: Sequence[str] = ()) -> tuple[Step, ...]:
    """Return what to play: one link after the other takes its turn, and each fails so that it can open.

    Then the requests of the first of *keys* fail alone, where one link leads several keys.
    """
    found = [Step(kind=kind, link=links[n % len(links)]) for n, kind in enumerate(kinds)]
    opening = next((kind for kind in OPENING if kind in kinds), kinds[0])
    left = [link for link in links if not any(s.link == link and s.kind in OPENING for s in found)]
    found += [Step(kind=opening, link=link) for link in left]
    return (*found, *(Step(kind="error", link=links[0], key=key) for key in keys[:1]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """The limits of a test.  Times are seconds.

    ``patience_s`` is how long a fault stays in that does not open the breaker, ``fault_max_s`` how long
    one that does, ``recover_max_s`` how long a recovery is waited for; ``trials`` is how many trials are
    awaited under each fault, and ``settle_s`` how long a recovered breaker is watched for a relapse.
    """

    baseline_s: float = 10.0
    baseline_calls: int = 100
    patience_s: float = 6.0
    fault_max_s: float = 60.0
    recover_max_s: float = 60.0
    settle_s: float = 2.0
    trials: int = 2

    def longest_s(self, steps: int) -> float:
        """The longest a test of so many faults can take."""
        return self.baseline_s * 3 + steps * (self.fault_max_s + self.recover_max_s)

    def usual_s(self, steps: int, open_s: float) -> float:
        """What it takes with a breaker that stays open for *open_s*."""
        return self.baseline_s + steps * (1.0 + (self.trials + 1.5) * open_s + self.settle_s)


def next_in_words(view: View, pace: Pace, left: Sequence[Step]) -> str:
    """Say what is played next and until when, and how long the faults that are *left* will take."""
    step = left[0]
    where = f"{step.link}, for the key {step.key} alone" if step.key else step.link
    said = f"{step.kind} on {where}: until it was seen to try {pace.trials} times"
    known = [wait.low for wait in trials.proper_waits(view)]
    if not known:
        return said + f", or for {pace.patience_s:.0f} s if it does not open"
    seconds = pace.usual_s(len(left), max(known)) - pace.baseline_s
    return said + f"; it stays open {max(known):.1f} s, so about {seconds:.0f} s are left"


def baseline_is_enough(view: View, pace: Pace, lasted_s: float) -> bool:
    """Whether the calm before the first fault is known well enough."""
    return lasted_s >= pace.baseline_s and len(view.calls) >= pace.baseline_calls


def fault_is_enough(view: View, pace: Pace, began: float, now: float) -> bool:
    """Whether a fault that *began* then has shown what it can show."""
    if not view.sees(view.faults[-1]):
        return now - began >= (pace.trials + 0.5) * open_time_s(view)
    opened = [step for step in view.course.transitions if step.to is State.OPEN and step.before >= began]
    if not opened:
        return now - began >= pace.patience_s and not _is_open(view)
    tried = [wait for wait in trials.waits(view) if wait.tried.before >= began]
    reopened = len(opened) > pace.trials
    return (len(tried) >= pace.trials and reopened) or now - began >= pace.fault_max_s


def recovery_is_enough(view: View, pace: Pace, since: float, now: float) -> bool:
    """Whether the breaker has closed and stayed so since *since*, or is given up."""
    if now - since >= pace.recover_max_s:
        return True
    if not is_closed(view):
        return False
    closed_at = max((step.before for step in view.course.transitions), default=since)
    return now - max(closed_at, since) >= pace.settle_s + 0.5 * open_time_s(view)


def is_closed(view: View) -> bool:
    """Whether the breaker lets everybody through at the end of the recording."""
    return view.course.sequence[-1] is State.CLOSED


def _is_open(view: View) -> bool:
    return view.course.sequence[-1] is State.OPEN


def open_time_s(view: View, unknown: float = 1.0) -> float:
    """The longest time it was surely seen to stay open, *unknown* if it never was."""
    return max((wait.low for wait in trials.proper_waits(view)), default=unknown)


def patience_of_service_s(view: View, unknown: float = 0.5) -> float:
    """How long the service waits for a dependency that hangs; *unknown* until that was seen."""
    rows = view.asked.forwarded & ~view.asked.good & view.in_fault
    hung = [fault for fault in view.faults if fault.kind == "hang"]
    if not hung or not rows.any():
        return unknown
    inside = rows & (view.asked.at >= hung[0].began) & (view.asked.at <= hung[-1].ended)
    took = (view.asked.done - view.asked.at)[inside]
    return float(sorted(took)[len(took) // 2]) if len(took) else unknown
