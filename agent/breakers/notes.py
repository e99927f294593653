"""What a reader of the answer has to know about the recording itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.breakers.exercise.raising import CALLS_AN_OPEN_TIME
from agent.breakers.measures import trials
from agent.breakers.reading.decisions import BLIND, within
from agent.breakers.reading.rates import during, settled_since

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.breakers.reading.paths import Paths, Traffic
    from agent.breakers.view import View

STRANGERS_SHARE = 0.01
DOUBTFUL_SHARE = 0.05
BLURRED = "; without ids, others of them may have been taken for calls of this test."


def notes(traffic: Traffic, paths: Paths, whole: View, keys: Mapping[int, str]) -> tuple[str, ...]:
    """Return a sentence for each thing that was not as one would have it."""
    sparse = _few_calls(whole) if len(traffic.links) == 1 else []
    whole_says = (*_strangers(whole), *_doubt(whole), *_in_vain(whole), *_room(whole), *sparse)
    return (*_silent_keys(traffic, paths, keys), *whole_says)


def _silent_keys(traffic: Traffic, paths: Paths, keys: Mapping[int, str]) -> list[str]:
    counts = {number: int((traffic.calls.key == number).sum()) for number in keys}
    return [
        f"None of {counts[number]} calls for the key {name!r} reached a link while nothing was wrong: the "
        "service answers them by itself, or asks somebody else. Nothing is said about that key."
        for number, name in keys.items()
        if number not in paths.shares and counts[number]
    ]


def _strangers(whole: View) -> list[str]:
    strangers, arrivals = whole.mapping.strangers, len(whole.arrivals)
    if strangers <= STRANGERS_SHARE * arrivals:
        return []
    says = (
        f"{strangers} of {arrivals} requests over the link belong to no call of this test: somebody else "
        "uses the dependency too, or it is checked actively"
    )
    if whole.mapping.beat is not None:
        says += f" (something asks every {whole.mapping.beat.period_s:.2f} s, and that is left out)"
    return [says + (". They are left out." if whole.mapping.by_id else BLURRED)]


def _in_vain(whole: View) -> list[str]:
    asked, arrived = whole.asked, whole.decisions.call[whole.decisions.forwarded]
    blind = within(asked.at, [fault for fault in whole.faults if fault.kind in BLIND])
    vain = asked.at[asked.forwarded & ~blind & ~np.isin(asked.call, arrived)]
    if len(vain) == 0:
        return []
    over = max(fault.ended for fault in whole.faults if fault.kind in BLIND and fault.ended < vain[-1])
    says = (
        f"For {vain[-1] - over:.1f} s after connections were accepted again, {len(vain)} calls were let "
        "through and failed before anything arrived: the service seems to keep dead connections in a pool. "
        "Have it drop them, or try once more on a new one."
    )
    return [says]


def _room(whole: View) -> list[str]:
    if whole.limit is None:
        return []
    says = (
        f"It lets no more than {whole.limit} calls in at a time: {len(whole.turned_away)} were kept back for "
        "lack of room, which is no state of a breaker."
    )
    return [says]


def _doubt(whole: View) -> list[str]:
    share = whole.mapping.doubtful_share
    says = (
        f"The service passes no ids on, and for {share:.0%} of the requests two calls were possible: let it "
        "pass x-request-id or traceparent on, or lower the rate."
    )
    return [says] if share > DOUBTFUL_SHARE else []


def _few_calls(whole: View) -> list[str]:
    """Say that the answer would be sharper at a higher rate, and at which."""
    seen = whole.settled
    waits = [wait.low for wait in trials.proper_waits(seen.plain)] if whole.machine.three_state else []
    since = settled_since(whole.faults, whole.phases)
    first = min((fault.began for fault in seen.faults), default=np.inf)
    called = whole.calls.begun[during(whole.calls.begun, [(since, first)])]
    if not waits or len(called) < 2:
        return []
    open_s, rate_rps = float(np.median(waits)), len(called) / max(float(np.ptp(called)), 1e-3)
    if open_s * rate_rps >= CALLS_AN_OPEN_TIME or open_s <= 0:
        return []
    says = (
        f"It stays open {open_s:.1f} s, in which about {open_s * rate_rps:.0f} calls came: at "
        f"{CALLS_AN_OPEN_TIME / open_s:.0f} calls a second its states and times would be told more sharply."
    )
    return [says]
