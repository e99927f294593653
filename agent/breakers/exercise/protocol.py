"""How long to keep a fault in, or to wait after it: decided from what the recording shows so far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from agent.breakers.courses.states import State
from agent.breakers.measures import trials
from agent.breakers.reading.decisions import within

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.breakers.view import View

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
    if not kinds:
        return ()
    found = [Step(kind=kind, link=links[n % len(links)]) for n, kind in enumerate(kinds)]
    opening = next((kind for kind in OPENING if kind in kinds), kinds[0])
    left = [link for link in links if not any(s.link == link and s.kind in OPENING for s in found)]
    found += [Step(kind=opening, link=link) for link in left]
    return (*found, *(Step(kind="error", link=links[0], key=key) for key in keys[:1]))


LEAST_S = 3.0
"""A fault that opens it stays in so long at least: of what opens for moments a few trials say little."""
LATE_S = 1.0
"""So long after a fault it may open because of it."""
TRIALS_MAX, TRIALS_S = 5, 2.0
"""Trials of a breaker that stays open only briefly are awaited for so long, up to so many."""
CHECKED_S = 15.0
"""So long a fault stays in where an active check keeps it open: it is not tried again before that is over."""
RECOVER_MIN_S, RECOVER_WAITS = 10.0, 8.0
"""A recovery is given up after so many open times, and not before so many seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """The limits of a test.  Times are seconds.

    ``patience_s`` is how long a fault stays in that does not open the breaker; the first one stays in for
    ``first_patience_s``, for by then most calls that there ever were have failed, and a rate over a long
    window is above any limit.  ``fault_max_s`` and
    ``recover_max_s`` how long a first trial, and a recovery, are waited for while it is not known how long
    the breaker stays open; ``trials`` is how many trials are awaited under each fault at least, and
    ``settle_s`` how long a recovered breaker is watched for a relapse.
    """

    baseline_s: float = 10.0
    baseline_calls: int = 100
    patience_s: float = 6.0
    first_patience_s: float = 20.0
    fault_max_s: float = 60.0
    recover_max_s: float = 60.0
    settle_s: float = 2.0
    trials: int = 2

    def usual_s(self, steps: int, open_s: float, extras: int = 0) -> float:
        """What so many faults and extra phases take with a breaker that stays open for *open_s*."""
        return self.baseline_s + steps * self.kind_s(open_s) + extras * self.extra_s(open_s)

    def kind_s(self, open_s: float) -> float:
        """What one kind of fault takes, with its recovery."""
        return 1.0 + (self.trials_in(open_s) + 1.5) * open_s + self.settle_s

    def trials_in(self, open_s: float | None) -> int:
        """How many trials are awaited under each fault; *open_s* is None while that is unknown."""
        return max(self.trials, min(TRIALS_MAX, int(TRIALS_S / open_s))) if open_s else self.trials

    def extra_s(self, open_s: float) -> float:
        """What an extra phase takes at most, with its recovery."""
        return self.patience_s + 2.0 * open_s + self.settle_s

    def fault_limit_s(self, open_s: float | None) -> float:
        """How long a fault that opened it stays in at most; *open_s* is None while that is unknown."""
        return max(self.fault_max_s, (self.trials + 0.5) * (open_s or 0.0))

    def recover_limit_s(self, open_s: float | None) -> float:
        """How long a recovery is waited for at most: several times the open time, which may grow."""
        if open_s is None:
            return self.recover_max_s
        several = max(RECOVER_MIN_S, RECOVER_WAITS * open_s)
        return min(several, max(self.recover_max_s, 2.5 * open_s))


def next_in_words(view: View, pace: Pace, left: Sequence[Step]) -> str:
    """Say what is played next and until when, and how long the faults that are *left* will take."""
    step = left[0]
    where = f"{step.link}, for the key {step.key} alone" if step.key else step.link
    known = known_open_s(view)
    said = f"{step.kind} on {where}: until it was seen to try {pace.trials_in(known)} times"
    if known is None:
        return said + f", or for {pace.patience_s:.0f} s if it does not open"
    seconds = pace.usual_s(len(left), known) - pace.baseline_s
    return said + f"; it stays open {known:.1f} s, so about {seconds:.0f} s are left"


def baseline_is_enough(view: View, pace: Pace, lasted_s: float) -> bool:
    """Whether the calm before the first fault is known well enough."""
    return lasted_s >= pace.baseline_s and len(view.calls) >= pace.baseline_calls


def fault_is_enough(view: View, pace: Pace, began: float, now: float) -> bool:
    """Whether a fault that *began* then has shown what it can show."""
    if not view.sees(view.faults[-1]):
        return now - began >= (pace.trials + 0.5) * open_time_s(view)
    opened = [step for step in view.course.transitions if step.to is State.OPEN and step.before >= began]
    if not opened:
        return now - began >= patience_s(view, pace) and not _is_open(view)
    tried = [wait for wait in trials.waits(view) if wait.tried.before >= began]
    known_s = known_open_s(view)
    enough = pace.trials_in(known_s)
    longest = CHECKED_S if trials.until_well(view.plain) else pace.fault_limit_s(known_s)
    seen = len(tried) >= enough and len(opened) > enough
    return (seen and now - began >= LEAST_S) or now - began >= longest


def patience_s(view: View, pace: Pace) -> float:
    """How long a fault stays in that does not open it: longer than it took before, if that is known."""
    took = [
        opened.after - fault.began
        for opened in view.course.transitions
        if (opened.was, opened.to) == (State.CLOSED, State.OPEN)
        and (fault := next((f for f in reversed(view.faults) if f.began <= opened.before), None))
        and opened.before <= fault.ended + LATE_S
    ]
    if not took:
        return pace.first_patience_s if len(view.faults) == 1 else pace.patience_s
    return max(pace.patience_s, min(1.5 * max(took), pace.first_patience_s))


def recovery_is_enough(view: View, pace: Pace, since: float, now: float) -> bool:
    """Whether the breaker has closed and stayed so since *since*, or is given up."""
    bit_by_bit = is_closed(view) and keeps_back(view, now - pace.settle_s)
    if now - since >= (pace.recover_max_s if bit_by_bit else pace.recover_limit_s(known_open_s(view))):
        return True
    if bit_by_bit or not is_closed(view):
        return False
    closed_at = max((step.before for step in view.course.transitions), default=since)
    return now - max(closed_at, since) >= pace.settle_s + 0.5 * open_time_s(view)


KEPT_BACK = 0.05
"""A machine that keeps back at most this share of the calls, or as many as in the calm, has recovered."""


def keeps_back(view: View, since: float) -> bool:
    """Whether some calls have been kept back since then: what has no three states recovers bit by bit."""
    late = view.asked.at >= since
    share = float((~view.asked.forwarded[late]).mean()) if late.any() else 0.0
    return share > max(KEPT_BACK, 2 * view.baseline.aside_share)


def opened_since(view: View, since: float) -> bool:
    """Whether it has opened since then."""
    return any(step.to is State.OPEN and step.before >= since for step in view.course.transitions)


def is_closed(view: View) -> bool:
    """Whether the breaker lets everybody through at the end of the recording."""
    return view.course.sequence[-1] is State.CLOSED


def _is_open(view: View) -> bool:
    return view.course.sequence[-1] is State.OPEN


def known_open_s(view: View) -> float | None:
    """The longest time it was surely seen to stay open, None if it never was.

    Where it stays open as long as the dependency fails, what it takes after that.
    """
    if after := trials.until_well(view.plain):
        return max(low for low, _ in after)
    # What an earlier rate told, until the rate that was kept has told it better.
    waits = trials.proper_waits(view.plain) or trials.proper_waits(view)
    return max((wait.low for wait in waits), default=None)


def open_time_s(view: View, unknown: float = 1.0) -> float:
    """The longest time it was surely seen to stay open, *unknown* if it never was."""
    known = known_open_s(view)
    return unknown if known is None else known


def patience_of_service_s(view: View, unknown: float = 0.5) -> float:
    """How long the service waits for a dependency that hangs; *unknown* until that was seen.

    Calls that were answered when it hung no longer say how long it waits at least.
    """
    asked = view.asked
    hung = within(asked.at, [fault for fault in view.faults if fault.kind == "hang"]) & asked.forwarded
    if not hung.any():
        return unknown
    took = asked.done - asked.at
    failed = hung & ~asked.good
    if failed.any():
        return float(np.median(took[failed]))
    return float(took[hung].max())
