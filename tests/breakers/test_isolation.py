"""Several links and keys in one recording: whose calls go where, and what stays where it failed."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.breakers.analysis import Answer, analyse
from agent.breakers.exercise.protocol import OPENING, steps
from agent.breakers.expect import complaints, held
from agent.breakers.measures.estimate import Status
from agent.breakers.reading.live import misled
from agent.breakers.streams import Arrivals, Calls, FaultWindow, Outcome, columns

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ALPHA, BETA = 1, 2
NAMES = {ALPHA: "alpha", BETA: "beta"}
RATE_RPS = 60
FAULT = (20.0, 30.0)
OPEN_S = 2.0


@dataclass
class Breaker:
    """Five failures in a row open it; one trial after the open time decides."""

    failures: int = 0
    opened_at: float = -np.inf

    def admits(self, at: float) -> bool:
        """Whether a call may pass."""
        return self.failures < 5 or at - self.opened_at >= OPEN_S

    def ends(self, at: float, *, good: bool) -> None:
        """Count one that passed."""
        self.failures = 0 if good else self.failures + 1
        if self.failures >= 5:
            self.opened_at = at


def recorded(
    breakers: Callable[[int, str], Breaker],
    route: Callable[[int, np.random.Generator], str],
    *,
    faults: list[FaultWindow],
    seconds: float = 40.0,
    seed: int = 1,
    cached_share: float = 0.0,
) -> tuple[Calls, dict[str, Arrivals]]:
    """Play calls for both keys, each over the link that *route* says, guarded by one of *breakers*."""
    dice, ids = np.random.default_rng(seed), count(1)
    calls: list[tuple[object, ...]] = []
    arrivals: dict[str, list[tuple[object, ...]]] = {"a": [], "b": []}
    at = 0.0
    while (at := at + dice.exponential(1 / RATE_RPS)) < seconds:
        key, id_ = int(dice.choice([ALPHA, BETA])), next(ids)
        link = route(key, dice)
        breaker = breakers(key, link)
        good = not any(
            f.began <= at < f.ended and f.link in ("", link) and f.key in ("", NAMES[key]) for f in faults
        )
        if dice.random() < cached_share:
            calls.append((at, at + 0.001, Outcome.OK, 200, key, id_))
        elif breaker.admits(at):
            breaker.ends(at + 0.004, good=good)
            arrivals[link].append((at + 0.001, at + 0.003, 200 if good else 500, id_))
            calls.append(
                (at, at + 0.005, Outcome.OK if good else Outcome.STATUS, 200 if good else 502, key, id_)
            )
        else:
            calls.append((at, at + 0.001, Outcome.STATUS, 503, key, id_))
    names = ("begun", "ended", "outcome", "status", "key", "id")
    rows = dict(zip(names, zip(*calls, strict=True), strict=True)) | {"degraded": [False] * len(calls)}
    there = {link: _arrivals(each) for link, each in arrivals.items() if each}
    found = columns(Calls, rows)
    assert isinstance(found, Calls)
    return found, there


def _arrivals(rows: list[tuple[object, ...]]) -> Arrivals:
    names = ("at", "ended", "status", "id")
    found = columns(
        Arrivals, dict(zip(names, zip(*rows, strict=True), strict=True)) | {"source": [0] * len(rows)}
    )
    assert isinstance(found, Arrivals)
    return found


def sharded(key: int, _: np.random.Generator) -> str:
    """Each key has a link of its own."""
    return "a" if key == ALPHA else "b"


def spread(_: int, dice: np.random.Generator) -> str:
    """Either link may be taken."""
    return str(dice.choice(["a", "b"]))


def one_link(_: int, __: np.random.Generator) -> str:
    """All go over the same."""
    return "a"


def each_its_own() -> Callable[[int, str], Breaker]:
    """A breaker for each link."""
    known: dict[str, Breaker] = {}
    return lambda _, link: known.setdefault(link, Breaker())


def each_key_its_own() -> Callable[[int, str], Breaker]:
    """A breaker for each key."""
    known: dict[int, Breaker] = {}
    return lambda key, _: known.setdefault(key, Breaker())


def one_for_all() -> Callable[[int, str], Breaker]:
    """One for everything."""
    breaker = Breaker()
    return lambda _, __: breaker


def fault(link: str = "", key: str = "") -> list[FaultWindow]:
    """One fault of errors."""
    return [FaultWindow(kind="error", began=FAULT[0], ended=FAULT[1], link=link, key=key)]


def answer(
    breakers: Callable[[int, str], Breaker],
    route: Callable[[int, np.random.Generator], str],
    *,
    faults: list[FaultWindow],
    told: Mapping[str, str] | None = None,
    cached_share: float = 0.0,
) -> Answer:
    """Play it and analyse it."""
    calls, arrivals = recorded(breakers, route, faults=faults, cached_share=cached_share)
    return analyse(calls, arrivals, faults, keys=NAMES, told=told)


@pytest.mark.parametrize("cached_share", [0.0, 0.3])
def test_one_breaker_over_shards_is_told_from_one_for_each(cached_share: float) -> None:
    """The calls of the other shard are kept back, or none is, with the exact interval."""
    apart = answer(each_its_own(), sharded, faults=fault("a"), cached_share=cached_share)
    assert apart.isolation is not None
    assert (apart.isolation.status, apart.isolation.estimate) == (Status.PASS, 0.0)
    assert apart.isolation.high is not None
    assert apart.isolation.high == pytest.approx(1 - 0.05 ** (1 / apart.isolation.n))
    assert apart.across == ()
    shared = answer(one_for_all(), sharded, faults=fault("a"), cached_share=cached_share)
    assert shared.isolation is not None
    assert shared.isolation.status is Status.FAIL
    assert shared.isolation.low is not None
    assert shared.isolation.low > 0.5
    assert [each.bug for each in shared.across] == ["shared-over-keys"]
    assert "nothing to do with it" in shared.across[0].evidence


def test_one_state_for_all_replicas_is_told_from_one_in_each() -> None:
    """Where nobody knows which replica a call was to go to, the others' usual share tells."""
    apart = answer(each_its_own(), spread, faults=fault("a"))
    assert apart.isolation is not None
    assert apart.isolation.status is not Status.FAIL
    assert apart.across == ()
    shared = answer(one_for_all(), spread, faults=fault("a"))
    assert [each.bug for each in shared.across] == ["shared-state-poisons-all"]


def test_each_link_has_the_course_of_its_own_breaker() -> None:
    """One fails after the other, and neither stream has the other's openings."""
    faults = [*fault("a"), FaultWindow(kind="error", began=35.0, ended=40.0, link="b")]
    for route in (sharded, spread):
        calls, arrivals = recorded(each_its_own(), route, faults=faults, seconds=50.0)
        found = analyse(calls, arrivals, faults, keys=NAMES)
        for stream, each in zip(found.judged, faults, strict=True):
            opened = [step.before for step in stream.view.course.transitions if step.was == "closed"]
            assert len(opened) == 1, (route, stream.link)
            assert each.began < opened[0] < each.began + 1.0
            assert stream.view.course.sequence[-1] == "closed"
            assert stream.findings == ()
            assert stream.properties["failures_to_open"].high == 5


def test_the_requests_of_one_key_fail_where_one_link_leads_all() -> None:
    """A breaker for each key keeps the others' calls going, one for all does not."""
    faults = [FaultWindow(kind="error", began=10.0, ended=15.0), *fault("", "alpha")]
    apart = answer(each_key_its_own(), one_link, faults=faults)
    assert apart.isolation is not None
    assert (apart.isolation.status, apart.across) == (Status.PASS, ())
    assert [each.key for each in apart.judged] == ["alpha", "beta"]
    assert all(each.findings == () for each in apart.judged)
    shared = answer(one_for_all(), one_link, faults=faults)
    assert [each.bug for each in shared.across] == ["shared-over-keys"]
    assert [each.key for each in shared.streams] == ["", "alpha", "beta"]


def test_isolation_is_not_known_before_something_was_kept_back() -> None:
    """A path without a breaker isolates nothing and is no pass."""
    never = Breaker()
    never.admits = lambda at: True  # type: ignore[method-assign]  # noqa: ARG005
    found = answer(lambda _, __: never, sharded, faults=fault("a"))
    assert found.isolation is not None
    assert found.isolation.status is Status.INCONCLUSIVE


def test_calls_are_rows_of_the_whole_recording() -> None:
    """What a link's finding points at is found in the samples."""
    found = answer(one_for_all(), sharded, faults=fault("a"))
    shown = found.across[0].calls
    assert len(shown) > 0
    assert all(found.whole.calls.key[row] == BETA for row in shown)


def test_a_key_that_never_arrives_is_noted_and_others_are_not_held_up() -> None:
    """It is said by name."""
    calls, arrivals = recorded(each_its_own(), sharded, faults=fault("a"))
    found = analyse(
        calls, {"a": arrivals["a"], "b": arrivals["b"].where(np.zeros(0, "i8"))}, fault("a"), keys=NAMES
    )
    assert any("'beta' reached a link" in note for note in found.notes)
    assert found.judged[0].view.course.sequence[1] == "open"


def test_a_key_that_was_told_wrong_is_said() -> None:
    """With what to write instead."""
    calls, arrivals = recorded(each_its_own(), sharded, faults=[])
    assert misled(calls, arrivals, NAMES, {"alpha": "a", "beta": "b"}) == ""
    assert "--key beta=b" in misled(calls, arrivals, NAMES, {"beta": "a"})


@given(foreign=st.floats(0.3, 4.0), seed=st.integers(0, 50))
def test_another_client_on_the_dependency_changes_no_state(foreign: float, seed: int) -> None:
    """With ids its requests are strangers, however many, and are said to be there."""
    calls, arrivals = recorded(each_its_own(), one_link, faults=fault())
    dice = np.random.default_rng(seed)
    at = np.sort(dice.uniform(0, 40, int(foreign * len(arrivals["a"]))))
    theirs = _arrivals([(each, each + 0.002, 200, 0) for each in at.tolist()])
    alone, beside = (
        analyse(calls, {"a": each}, fault())
        for each in (
            arrivals["a"],
            type(theirs)(
                **{
                    name: np.concatenate([getattr(arrivals["a"], name), getattr(theirs, name)])
                    for name in ("at", "ended", "status", "source", "id")
                }
            ),
        )
    )
    assert alone.whole.course.transitions == beside.whole.course.transitions
    assert beside.whole.mapping.strangers == len(at)
    assert any("somebody else uses the dependency" in note for note in beside.notes)
    assert alone.notes == ()


@given(st.lists(st.sampled_from([*OPENING, "not-found"]), min_size=1, unique=True), st.integers(1, 5))
def test_each_kind_is_played_and_each_link_fails(kinds: list[str], n: int) -> None:
    """One after the other in turn; a link is never left with what opens nothing, if anything can."""
    links = [f"shard-{number}" for number in range(n)]
    played = steps(kinds, links)
    assert {each.kind for each in played} == set(kinds)
    assert {each.link for each in played} == set(links)
    if any(kind in OPENING for kind in kinds):
        assert {each.link for each in played if each.kind in OPENING} == set(links)
    assert len(played) <= len(kinds) + n


def test_expectations_are_held_against_each_link() -> None:
    """A link that fails one is named."""
    slow = {"time_to_open_s": {"estimate": 3.0, "low": 2.9, "high": 3.1, "why": "", "status": "pass"}}
    fast = {"time_to_open_s": slow["time_to_open_s"] | {"estimate": 0.1, "low": 0.1, "high": 0.2}}
    streams = [
        {"key": "", "link": name, "judged": True, "properties": each}
        for name, each in (("a", fast), ("b", slow))
    ]
    told = {"properties": slow, "streams": streams, "findings": []}
    found = held({"time_to_open_s": {"max": 2}}, told)
    assert [(each["of"], each["status"]) for each in found] == [("a", "pass"), ("b", "fail")]
    assert found[0]["expected"] == {"max": 2}
    assert complaints({"time_to_open_s": {"max": 2}}, told) == [f"b: {found[1]['why']}"]
