"""Faults under which nothing can arrive: only the answers tell who was let through."""

from __future__ import annotations

from typing import cast

import pytest

from agent.breakers.analysis import analyse
from agent.breakers.courses.states import State
from agent.breakers.findings import find
from agent.breakers.measures.properties import measure
from agent.breakers.streams import Arrivals, Calls, FaultWindow, columns
from agent.breakers.view import View, view

EVERY_S = 0.05
FAULTS = [
    FaultWindow(kind="error", began=5.0, ended=10.0),
    FaultWindow(kind="refuse", began=15.0, ended=20.0),
]
FAILED = 502
REJECTED = 503


def recording(refused: int, *, dead_until: float = 0.0) -> View:
    """A breaker that is open from the sixth call of a fault until its end; *refused* tells of a refusal.

    Until *dead_until* it stays open after the refusals, and tries once a second on a dead connection.
    """
    calls, arrivals = [], []
    for n in range(500):
        at = n * EVERY_S
        fault = next((each for each in FAULTS if each.began <= at <= each.ended), None)
        after = FAULTS[-1].ended < at < dead_until
        tries = after and n % 20 == 10
        is_open = (fault is not None and at > fault.began + 5.5 * EVERY_S) or (after and not tries)
        arrives = not is_open and not tries and not (fault and fault.kind == "refuse")
        failed = {"error": FAILED, "refuse": refused}[fault.kind] if fault else refused if tries else 200
        calls.append((at, at + 0.01, REJECTED if is_open else failed, n + 1))
        if arrives:
            arrivals.append((at + 0.001, at + 0.009, 500 if fault else 200, n + 1))
    begun, ended, status, ids = zip(*calls, strict=True)
    zeros = [0] * len(calls)
    told = {"begun": begun, "ended": ended, "status": status, "id": ids, "key": zeros, "degraded": zeros}
    told |= {"outcome": [int(each >= 400) for each in status]}
    at_, until, said, who = zip(*arrivals, strict=True)
    there = {"at": at_, "ended": until, "status": said, "id": who, "source": [0] * len(arrivals)}
    return view(cast("Calls", columns(Calls, told)), cast("Arrivals", columns(Arrivals, there)), FAULTS)


def _notes(found: View) -> tuple[str, ...]:
    return analyse(found.calls, {"dependency": found.arrivals}, found.faults).notes


@pytest.mark.parametrize("refused", [FAILED, 504])
def test_refused_calls_that_look_unlike_rejections_are_told_from_them(refused: int) -> None:
    """Whether failures looked like that before or not."""
    found = recording(refused)
    assert found.sees_refusals
    openings = [step for step in found.course.transitions if step.to is State.OPEN]
    assert [found.phase_at(step.before) for step in openings] == ["error", "refuse"]
    assert openings[1].after < 15.0 + 6 * EVERY_S < openings[1].before + EVERY_S


def test_refused_calls_that_look_like_rejections_are_left_out() -> None:
    """Though no failure looked like one before: the first call of the fault shows it."""
    found = recording(REJECTED)
    assert not found.sees_refusals
    assert not any(15.0 <= at <= 20.0 for at in found.asked.at)


def test_calls_that_fail_on_dead_connections_after_the_fault_were_let_through() -> None:
    """It is not stuck: it tries, on connections that ended with the fault, and nothing arrives."""
    found = recording(FAILED, dead_until=24.0)
    openings = [step.before for step in found.course.transitions if step.to is State.OPEN]
    assert len([at for at in openings if at > FAULTS[-1].ended]) == 4
    assert "stuck" not in {each.bug for each in find(found, measure(found))}
    (note,) = _notes(found)
    assert "4 calls were let through and failed before anything arrived" in note


def test_calls_that_are_turned_away_after_the_fault_were_not_let_through() -> None:
    """A breaker that does not try looks otherwise."""
    assert _notes(recording(FAILED)) == ()
