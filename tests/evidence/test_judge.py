"""Each row of the verdict table, and what can never be HELD."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from agent.evidence.judge import Allowed, Course, judge
from agent.evidence.spans import seconds, unsteady_since
from agent.model import Activity, Call, Injection, Look, Mark, Reading, RunRecord, Verdict

NOTHING = Call(func="builtins:print")
ALLOWED = Allowed(unsteady_s_max=1.0, recover_within_s=5.0)
STEADY = Course(before_met=True, after_met=True)


def injection(**changes: Any) -> Injection:
    """A fault that was in from second 10 to second 20, landed and gone."""
    values = {
        "id": "i",
        "run": "r",
        "fault": "links.delay",
        "victims": ("shard-1",),
        "undo": NOTHING,
        "landed_check": NOTHING,
        "gone_check": NOTHING,
        "max_duration_s": 60.0,
        "intended_at": 10.0,
        "applied_at": 10.0,
        "landed_at": 10.0,
        "healed_at": 20.0,
        "landed": True,
        "gone": True,
        **changes,
    }
    return Injection(**values)


def looks(states: dict[int, bool | None] | None = None, *, until: int = 25) -> tuple[Look, ...]:
    """One look a second from second 9 on, steady unless *states* says otherwise."""
    told = states or {}
    return tuple(
        Look(
            at=float(at),
            ended_at=at + 0.1,
            steady=told.get(at, True),
            readings=(Reading(probe="p95", value=250.0, met=told.get(at, True)),),
        )
        for at in range(9, until)
    )


def record(**changes: Any) -> RunRecord:
    """A run in which everything went well."""
    whole = RunRecord(
        run="r",
        experiment="e.yaml",
        title="t",
        started_at=0.0,
        ended_at=26.0,
        injections=(injection(),),
        looks=looks(),
    )
    return whole.with_(**changes)


def test_steady_landed_gone_and_steady_again_is_held_with_its_figures() -> None:
    """HELD says how long the fault was in, how many looks there were, and how long recovery took."""
    verdict, reason = judge(record(), STEADY, ALLOWED)
    assert verdict is Verdict.HELD
    assert "10.0 s of links.delay of shard-1 (n = 11 looks)" in reason


def test_unsteady_beyond_the_allowance_is_deviated_and_names_the_first_probe() -> None:
    """Two unsteady seconds where one is allowed."""
    verdict, reason = judge(record(looks=looks({12: False, 13: False})), STEADY, ALLOWED)
    assert verdict is Verdict.DEVIATED
    assert "Unsteady for 2.0 s" in reason
    assert "p95 was 250 after 2.0 s" in reason


def test_unsteady_within_the_allowance_is_held() -> None:
    """One unsteady second where one is allowed."""
    assert judge(record(looks=looks({12: False})), STEADY, ALLOWED)[0] is Verdict.HELD


def test_a_lost_second_look_is_deviated_as_chaos_toolkit_says() -> None:
    """We never disagree with `chaos run` there, whatever the watch saw."""
    assert judge(record(), Course(before_met=True, after_met=False), ALLOWED)[0] is Verdict.DEVIATED


def test_not_steady_again_in_time_is_deviated() -> None:
    """The fault is gone and the state does not come back."""
    late = looks(dict.fromkeys(range(20, 30), False), until=30)
    assert judge(record(looks=late), STEADY, ALLOWED)[0] is Verdict.DEVIATED


def test_a_state_that_nobody_could_see_after_the_fault_is_not_called_unsteady() -> None:
    """One unsteady look, and then the watch could tell no more: it may well have come back."""
    blind = looks({20: False, **dict.fromkeys(range(21, 30), None)}, until=30)
    assert judge(record(looks=blind), STEADY, ALLOWED)[0] is Verdict.INCONCLUSIVE


def test_a_state_seen_unsteady_after_the_limit_is_late_although_looks_before_could_not_tell() -> None:
    """Six seconds after the fault was gone it is seen, and five were allowed."""
    late = looks({**dict.fromkeys(range(20, 26), None), 26: False}, until=28)
    assert judge(record(looks=late), STEADY, ALLOWED)[0] is Verdict.DEVIATED


def test_an_abort_because_the_watch_could_not_look_is_inconclusive() -> None:
    """Stopping was caution; no harm was seen, and the reason says what could not be seen."""
    seen = looks(dict.fromkeys(range(11, 14), None))[:5]
    blind = tuple(
        replace(
            each, readings=(Reading(probe="pods", value=None, met=None, error="no route to the cluster"),)
        )
        if each.steady is None
        else each
        for each in seen
    )
    marks = (Mark(at=13.1, kind="abort", says="not steady for 2.0 s, 2 s were allowed"),)
    verdict, reason = judge(record(looks=blind, marks=marks), STEADY, ALLOWED)
    assert verdict is Verdict.INCONCLUSIVE
    assert "could not tell" in reason
    assert "no route to the cluster" in reason


def test_an_abort_before_any_fault_landed_says_so() -> None:
    """The action may still have been on its way to the door."""
    marks = (Mark(at=13.1, kind="abort", says="not steady for 6.4 s, 5 s were allowed"),)
    verdict, reason = judge(record(injections=(), marks=marks), STEADY, ALLOWED)
    assert verdict is Verdict.INCONCLUSIVE
    assert reason == ("Aborted by the watch before any fault landed: not steady for 6.4 s, 5 s were allowed.")


def test_an_abort_after_one_unsteady_look_is_deviated_although_others_could_not_tell() -> None:
    """Harm that was seen is not explained away."""
    marks = (Mark(at=13.1, kind="abort", says="not steady for 2.0 s, 2 s were allowed"),)
    seen = looks({11: False, 12: None, 13: None})[:5]
    assert judge(record(looks=seen, marks=marks), STEADY, ALLOWED)[0] is Verdict.DEVIATED


def test_an_abort_by_the_watch_is_deviated() -> None:
    """Even when the unsteady seconds alone would have been allowed."""
    aborted = record(marks=(Mark(at=13.0, kind="abort", says="not steady for 0.5 s"),))
    assert judge(aborted, STEADY, ALLOWED)[0] is Verdict.DEVIATED


def test_no_steady_start_is_inconclusive() -> None:
    """Nothing was touched, and nothing can be said."""
    started = record(injections=(), looks=())
    assert judge(started, Course(before_met=False), ALLOWED)[0] is Verdict.INCONCLUSIVE


def test_a_missed_dose_is_inconclusive() -> None:
    """The toxic was in and met no traffic."""
    verdict, reason = judge(record(injections=(injection(missed="it met no traffic"),)), STEADY, ALLOWED)
    assert verdict is Verdict.INCONCLUSIVE
    assert "met no traffic" in reason


def test_a_failed_action_is_inconclusive() -> None:
    """Chaos Toolkit calls it completed; we do not."""
    failed = Activity(
        name="hold", kind="action", section="method", started_at=1.0, status="failed", error="x"
    )
    assert judge(record(activities=(failed,)), STEADY, ALLOWED)[0] is Verdict.INCONCLUSIVE


def test_an_interruption_is_inconclusive() -> None:
    """Somebody ended it before it could show anything."""
    course = Course(before_met=True, after_met=True, stopped="Interrupted by SIGTERM")
    assert judge(record(), course, ALLOWED)[0] is Verdict.INCONCLUSIVE


def test_a_watch_that_could_not_tell_is_inconclusive() -> None:
    """Unknown is not steady, and not unsteady either."""
    unknown = looks(dict.fromkeys(range(11, 19), None))
    assert judge(record(looks=unknown), STEADY, ALLOWED)[0] is Verdict.INCONCLUSIVE


def test_a_refusal_of_the_door_is_refused() -> None:
    """With nothing landed, the door's sentence is the reason."""
    course = Course(before_met=True, after_met=True, refused="2 victims are more than the blast radius of 1")
    refused = judge(record(injections=()), course, ALLOWED)
    assert refused == (Verdict.REFUSED, "2 victims are more than the blast radius of 1")


def test_on_the_leash_is_inconclusive() -> None:
    """Nothing landed, so nothing held."""
    assert judge(record(leashed=True, injections=()), STEADY, ALLOWED)[0] is Verdict.INCONCLUSIVE


states = st.dictionaries(st.integers(9, 24), st.sampled_from([True, False, None]))
tristate = st.sampled_from([True, False, None])


@given(states, tristate, tristate, tristate, tristate, st.booleans())
def test_held_needs_every_reason_for_it(
    seen: dict[int, bool | None],
    before: bool | None,
    after: bool | None,
    landed: bool | None,
    gone: bool | None,
    missed: bool,
) -> None:
    """Whatever happened, HELD is never said unless all of it was seen to be well."""
    fault = injection(landed=landed, gone=gone, missed="m" if missed else None)
    told = record(looks=looks(seen), injections=(fault,))
    verdict, _ = judge(told, Course(before_met=before, after_met=after), ALLOWED)
    well = (before, after, landed, gone, missed) == (True, True, True, True, False)
    unsteady = seconds(told.looks, steady=False, begin=10.0, end=20.0)
    unknown = seconds(told.looks, steady=None, begin=10.0, end=20.0)
    if verdict is Verdict.HELD:
        assert well
        assert unsteady <= ALLOWED.unsteady_s_max
        assert unknown <= ALLOWED.unsteady_s_max


@given(states)
def test_the_seconds_of_a_window_are_shared_out_completely(seen: dict[int, bool | None]) -> None:
    """Steady, unsteady and unknown seconds add up to the window."""
    told = looks(seen)
    total = sum(seconds(told, state, begin=10.0, end=20.0) for state in (True, False, None))
    assert abs(total - 10.0) < 1e-9


@given(states)
def test_unsteadiness_counts_from_the_look_after_the_last_steady_one(seen: dict[int, bool | None]) -> None:
    """The abort rule's clock starts anew with each steady look."""
    told = looks(seen)
    since = unsteady_since(told)
    tail = [look for look in told if since is not None and look.at >= since]
    assert not any(look.steady for look in tail)
    assert (since is None) == bool(told[-1].steady)


def test_a_probe_with_too_little_evidence_cannot_tell_and_did_not_fail() -> None:
    """Where nothing is broken nobody should look for what is: the sentence is the probe's own."""
    raised = "agent.model.NoEvidence: it was not seen to open"
    probe = Activity(
        name="breaker", kind="probe", section="after", started_at=1.0, status="failed", error=raised
    )
    verdict, reason = judge(record(activities=(probe,)), STEADY, ALLOWED)
    assert verdict is Verdict.INCONCLUSIVE
    assert reason == "probe breaker cannot tell: it was not seen to open."
