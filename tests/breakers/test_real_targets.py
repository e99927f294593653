"""Real servers with breakers of their own, under each kind of fault, held against their own logs.

What cannot be seen from outside is taken out of a log before it is compared: what happens while nothing can
arrive and a rejection looks like a refused connection, and that a breaker is closed that lets everybody
through while every call fails (nginx and Envoy close without waiting for a success): it looks half-open
until a call has come out well.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

pytestmark = [pytest.mark.targets, pytest.mark.timeout(240)]

EVERYTHING = "error,hang,slow,refuse,reset,not-found"
TOLERANCE_S = 0.015
CLOSED, OPEN, HALF_OPEN = "closed", "open", "half_open"
NO_FAILURES = ("slow", "hold", "not-found")


@dataclass(frozen=True, slots=True, kw_only=True)
class Real:
    """A transition that really happened, not before ``after`` and not after ``before``."""

    was: str
    to: str
    after: float
    before: float


def with_trials(truth: Iterable[Any]) -> list[Real]:
    """Return a log with a half-open between open and closed, for a breaker that has no such state.

    When a call first came out well after the end of being open is not in its log.
    """
    found = []
    moves = list(truth)
    for move, following in pairwise([*moves, None]):
        if (move.was, move.to) == (OPEN, CLOSED):
            until = following.at if following else float("inf")
            found.append(Real(was=OPEN, to=HALF_OPEN, after=move.at, before=move.at))
            found.append(Real(was=HALF_OPEN, to=CLOSED, after=move.at, before=until))
        else:
            found.append(Real(was=move.was, to=move.to, after=move.at, before=move.at))
    return found


def without_vain_closings(steps: Sequence[Real], faults: Sequence[dict[str, Any]]) -> list[Real]:
    """Leave out that it was closed where every call failed from its trial until it opened again."""
    failing = [(each["began"], each["ended"]) for each in faults if each["kind"] not in NO_FAILURES]
    found: list[Real] = []
    for step in steps:
        vain = (
            found
            and (found[-1].was, found[-1].to, step.to) == (HALF_OPEN, CLOSED, OPEN)
            and any(began <= found[-1].after and step.before <= ended for began, ended in failing)
        )
        if vain:
            found.pop()
            found.append(Real(was=HALF_OPEN, to=OPEN, after=step.after, before=step.before))
        else:
            found.append(step)
    return found


def in_sight(steps: Sequence[Real], faults: Sequence[dict[str, Any]]) -> list[Real]:
    """Leave out what happened under the faults that are not *seen*; only where it led can be known."""
    found = list(steps)
    for fault in (each for each in faults if not each["seen"]):
        before = [each for each in found if each.after < fault["began"]]
        hidden = [each for each in found if fault["began"] <= each.after <= fault["ended"]]
        later = [each for each in found if each.after > fault["ended"]]
        led = []
        if hidden and hidden[0].was != hidden[-1].to:
            ends = {"after": fault["began"], "before": fault["ended"]}
            led = [Real(was=hidden[0].was, to=hidden[-1].to, **ends)]
        found = before + led + later
    return found


def misplaced(seen: Sequence[dict[str, Any]], real: Sequence[Real]) -> list[tuple[Any, ...]]:
    """Return each transition whose bracket does not hold the real moment."""
    return [
        (step["from"], step["to"], step["phase"], each.after - step["after"], step["before"] - each.before)
        for step, each in zip(seen, real, strict=True)
        if each.before < step["after"] - TOLERANCE_S or each.after > step["before"] + TOLERANCE_S
    ]


def agrees(came: Any, truth: Iterable[Any], *, least: int = 15) -> None:
    """Assert that every state and every bracket is as *truth* has it."""
    faults = came.answer["faults"]
    real = in_sight(without_vain_closings(with_trials(truth), faults), faults)
    stream = came.answer["streams"][0]
    expected = [CLOSED, *(step.to for step in real)]
    assert stream["sequence"] == expected, came.answer["answer"]
    assert misplaced(stream["transitions"], real) == []
    assert len(real) >= least


def test_opossum_is_seen_as_it_is(exercise: Callable[..., Any]) -> None:
    """It opens on a share of a rolling window, admits one trial, and has none of the bugs."""
    came = exercise("opossum", kinds=EVERYTHING)
    agrees(came, came.truth)
    assert all(each["seen"] for each in came.answer["faults"])
    assert came.bugs == set()
    properties = came.answer["properties"]
    assert properties["failures_to_open"]["more"]["constant"] is False
    assert (properties["half_open_budget"]["estimate"], properties["half_open_budget"]["status"]) == (
        1,
        "pass",
    )
    assert properties["time_to_half_open_s"]["low"] <= 1.0 + TOLERANCE_S
    assert properties["time_to_half_open_s"]["high"] >= 1.0 - TOLERANCE_S
    assert came.told["verdict"] == "HELD"


def test_nothing_is_found_on_opossum_in_the_extra_phases(exercise: Callable[..., Any]) -> None:
    """Late successes, callers that give up, bursts and few calls, none of which it takes amiss."""
    came = exercise("opossum", kinds="error,hang,slow,late-success,cancel,burst,low-rate")
    assert came.bugs == set(), came.answer["answer"]
    assert came.answer["skipped"] == {}


def test_a_full_semaphore_opens_opossum(exercise: Callable[..., Any]) -> None:
    """Its `semaphoreLocked` counts as a failure of the dependency."""
    came = exercise("opossum", kinds="error,hang,slow,burst", capacity=10, timeout_s=0.5)
    assert came.bugs == {"full-bulkhead-opens-it"}, came.answer["answer"]
    agrees(came, came.truth)


def test_opossum_with_a_high_volume_threshold_never_opens_when_quiet(exercise: Callable[..., Any]) -> None:
    """So many calls in its window it wants to see, or it does not open however many of them fail."""
    came = exercise("opossum", kinds="error,low-rate", threshold=30)
    assert came.bugs == {"needs-a-rate-to-open"}, came.answer["answer"]


def test_nginx_is_seen_as_it_is(exercise: Callable[..., Any]) -> None:
    """Its rejections look like refused connections, so it is not seen while the dependency refuses."""
    came = exercise("nginx", kinds=EVERYTHING)
    agrees(came, [move for move in came.truth if move.breaker == "upstream"])
    assert {each["kind"] for each in came.answer["faults"] if not each["seen"]} == {"refuse"}
    assert came.bugs == set()
    assert came.told["verdict"] == "HELD"


def test_envoy_is_seen_as_it_is(exercise: Callable[..., Any]) -> None:
    """Its host is ejected for longer each time and comes back with everybody at once."""
    came = exercise("envoy", kinds=EVERYTHING)
    agrees(came, came.truth)
    assert {each["kind"] for each in came.answer["faults"] if not each["seen"]} == {"refuse"}
    assert came.answer["properties"]["time_to_half_open_s"]["more"]["pattern"] == "growing"
    counted = came.answer["properties"]["failures_to_open"]  # a bracket: a failure may end as it opens
    assert counted["low"] <= 5 <= counted["high"] <= 6
    assert came.bugs == {"half-open-stampede"}


def test_a_single_server_behind_nginx_is_never_disabled(exercise: Callable[..., Any]) -> None:
    """Whatever max_fails says: with one server nginx has no breaker."""
    came = exercise("nginx", kinds="error,hang", servers=1)
    assert [move for move in came.truth if move.to == OPEN] == []
    assert came.bugs == {"never-opens"}, came.answer["answer"]


def test_nginx_counts_no_errors_that_proxy_next_upstream_leaves_out(exercise: Callable[..., Any]) -> None:
    """Its default: a server that hangs is disabled, one that answers 500 is not."""
    came = exercise("nginx", kinds="error,hang", next_upstream="error timeout")
    assert came.bugs == {"errors-not-counted"}, came.answer["answer"]


def test_envoy_ejects_nobody_from_a_small_cluster_by_default(exercise: Callable[..., Any]) -> None:
    """A tenth of one host is none: the bad host goes on receiving, and its event log says so."""
    came = exercise("envoy", kinds="error", max_ejection_percent=10)
    assert came.truth == []
    assert came.bugs == {"never-opens"}, came.answer["answer"]


def test_envoy_keeps_one_bad_host_of_three_by_default(exercise: Callable[..., Any]) -> None:
    """A tenth of three is none, too: a third of the calls goes on failing."""
    came = exercise("envoy", kinds="error", spares=2, max_ejection_percent=10, ends=(0, 1, 3))
    assert came.truth == []
    assert came.bugs == {"never-ejected"}, came.answer["answer"]


def test_envoy_without_the_cap_ejects_one_bad_host_of_three(exercise: Callable[..., Any]) -> None:
    """Others serve the calls meanwhile: an ejection, and nothing to complain of."""
    came = exercise("envoy", kinds="error,hang", spares=2, ends=(0, 1, 3))
    assert came.truth
    assert came.bugs == set(), came.answer["answer"]
    assert came.answer["machine"]["kind"] == "ejection"


def test_haproxys_check_brings_back_a_server_whose_calls_fail(exercise: Callable[..., Any]) -> None:
    """Marked down by errors, up again by its check of /health, over and over, as its own log has it.

    The finding itself needs each check's end within 30 ms of the reopening, which a busy machine does not
    promise (docs/breakers.md); the service in test_targets.py has it every time.
    """
    came = exercise("haproxy", kinds="error", open_s=1.5)
    agrees(came, came.truth, least=5)
    assert came.bugs <= {"active-check-overrides"}, came.answer["answer"]
    assert any("checked actively" in note for note in came.answer["notes"])
