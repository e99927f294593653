"""Recordings of real libraries that nobody had tuned for, inferred again and held against their own logs.

Each was made once, by a small service around the library and ``gameday breaker test`` as it comes; what
was wrong at first, and why, is in docs/breakers.md.  ``truth`` in a recording is what the library said of
itself, where it says anything.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from agent.breakers.answer import plain_answer
from agent.breakers.exercise import protocol
from agent.breakers.findings import find
from agent.breakers.machines.kinds import Kind
from agent.breakers.measures.properties import measure
from agent.breakers.reading.mapping import match
from agent.breakers.view import view

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Recorded

FOLDER = Path(__file__).parent / "heldout"
SLACK_S = 0.015
MISTAKEN_SHARE = 0.002
KINDS = {
    "aiomisc": Kind.GRADUAL,
    "apache-balancer": Kind.BREAKER,
    "cockatiel": Kind.BREAKER,
    "cockatiel-bulkhead": Kind.BREAKER,
    "easegress-count": Kind.BREAKER,
    "failsafe-rate": Kind.BREAKER,
    "failsafe-ratio": Kind.BREAKER,
    "failsafe-rs": Kind.BREAKER,
    "fastify": Kind.BREAKER,
    "gozero": Kind.THROTTLE,
    "hystrix": Kind.BREAKER,
    "hystrix-go": Kind.BREAKER,
    "interlock": Kind.BREAKER,
    "interlock-slow": Kind.BREAKER,
    "keel": Kind.BREAKER,
    "levee": Kind.BREAKER,
    "lighttpd": Kind.BREAKER,
    "mercari": Kind.BREAKER,
    "moleculer": Kind.BREAKER,
    "mollitia": Kind.BREAKER,
    "oxy": Kind.GRADUAL,
    "pekko": Kind.BREAKER,
    "pybreaker": Kind.BREAKER,
    "rubyist-rate": Kind.BREAKER,
    "sentinel-count": Kind.BREAKER,
    "sentinel-slow": Kind.SLOW_CALL,
    "varnish": Kind.BREAKER,
    "vertx": Kind.BREAKER,
}
"""What each recording is of."""
LOGGED = (
    "cockatiel",
    "cockatiel-bulkhead",
    "easegress-count",
    "failsafe-rate",
    "failsafe-ratio",
    "failsafe-rs",
    "interlock",
    "interlock-slow",
    "mercari",
    "moleculer",
    "mollitia",
    "pekko",
    "pybreaker",
    "rubyist-rate",
    "sentinel-count",
    "sentinel-slow",
    "vertx",
)
"""Those whose own log has every state; pybreaker's without two trials that looked like rejections."""
NAMELESS = {"easegress-count", "failsafe-rate", "pybreaker"}
"""Those that passed no ids on."""
CHECKED = {"varnish"}
"""Those over whose link active checks came, which have no steady beat and are taken for calls without ids."""
FOUND = {
    "apache-balancer": {"half-open-stampede", "late-failure-rearms", "relapses-on-late-failures"},
    "cockatiel": {"half-open-waiters"},
    "cockatiel-bulkhead": {"half-open-waiters"},
    "failsafe-rate": {"half-open-stampede"},
    "failsafe-rs": {"half-open-stampede"},
    "fastify": {
        "client-errors-mask-failures",
        "half-open-stampede",
        "late-success-closes",
        "relapses-on-late-failures",
    },
    "keel": {"half-open-stampede", "late-failure-rearms", "late-success-closes"},
    "levee": {"client-errors-mask-failures", "late-success-closes"},
    "lighttpd": {"errors-not-counted", "timeouts-not-counted"},
    "mercari": {"half-open-stampede", "needs-a-rate-to-open"},
    "pybreaker": {"client-errors-mask-failures", "serialises-calls"},
    "sentinel-count": {"cancelled-calls-open-it", "needs-a-rate-to-open"},
    "sentinel-slow": {"errors-not-counted"},
    "varnish": {"client-errors-open-it", "errors-not-counted"},
    "vertx": {"client-errors-mask-failures"},
}
"""What is really wrong with them; nothing is with the others."""
SAYS = {
    "apache-balancer": "opens after 1 failure within",
    "easegress-count": "opens after 12 failures",
    "hystrix": "stays open 2.0 s, after a trial counted from its start",
    "hystrix-go": "stays open 2.0 s, after a trial counted from its start",
    "lighttpd": "stays open for a time that cannot be told, for it opened out of sight",
    "mercari": "opens after a varying number of failures (8 to 14)",
    "mollitia": "opens after 10 failures, or with none when calls are slow,",
    "interlock": "stays open 2.0 s, then lets 1 call through",
    "oxy": "after being open for 3.3 s it lets in a share",
    "pekko": "opens after 5 failures",
    "pybreaker": "Not told for refuse",
    "sentinel-count": "opens after 50 failures",
    "sentinel-slow": "opens when calls are slow, whatever comes of them,",
    "varnish": "stays open while the dependency fails, and 1.0 s or so more: a check closes it",
    "vertx": "opens after 5 failures",
}
"""A part of the plain answer."""


@pytest.fixture
def seen(name: str, recorded: Callable[[Path], Recorded]) -> Recorded:
    """Return the recording of that name."""
    return recorded(FOLDER / f"{name}.json.gz")


def test_every_recording_is_looked_at() -> None:
    """None lies about without a claim."""
    assert {path.name.removesuffix(".json.gz") for path in FOLDER.iterdir()} == set(KINDS)


@pytest.mark.parametrize("name", KINDS)
def test_the_kind_of_machine_is_named(name: str, seen: Recorded) -> None:
    """A breaker, a gradual recovery, a throttle: whatever the library calls itself."""
    assert seen.view.machine.kind is KINDS[name], seen.view.machine


@pytest.mark.parametrize("name", LOGGED)
def test_the_states_are_those_of_its_own_log(name: str, seen: Recorded) -> None:
    """All of them, in order, and each change within its bracket."""
    assert list(seen.view.course.sequence) == ["closed", *(to for _, to in seen.truth)], name
    misplaced = [
        (step, at)
        for step, (at, _) in zip(seen.view.course.transitions, seen.truth, strict=True)
        if not step.after - SLACK_S <= at <= step.before + SLACK_S
    ]
    assert not misplaced


@pytest.mark.parametrize("name", KINDS)
def test_what_is_wrong_is_found_and_nothing_else(name: str, seen: Recorded) -> None:
    """No finding on a library that is well."""
    found = {each.bug for each in find(seen.view, measure(seen.view.plain))}
    assert found == FOUND.get(name, set())


@pytest.mark.parametrize("name", SAYS)
def test_the_plain_answer_is_what_its_configuration_says(name: str, seen: Recorded) -> None:
    """Counts and times as they were set."""
    plain = seen.view.plain
    assert SAYS[name] in plain_answer(plain, measure(plain))


@pytest.mark.parametrize("name", sorted(set(KINDS) - NAMELESS - CHECKED))
def test_without_ids_hardly_a_call_is_mistaken_for_let_through_or_kept_back(
    name: str, seen: Recorded
) -> None:
    """With the ids taken away, of a service that passed them on."""
    whole = seen.view
    assert whole.mapping.by_id, name
    nameless = replace(whole.arrivals, id=np.zeros_like(whole.arrivals.id))
    known, told = (
        np.isin(np.arange(len(whole.calls)), each.call)
        for each in (whole.mapping, match(whole.calls, nameless))
    )
    assert (known != told).mean() < MISTAKEN_SHARE


@pytest.mark.parametrize("name", ["hystrix"])
def test_an_opening_right_after_a_fault_is_late_and_no_relapse(name: str, seen: Recorded) -> None:
    """It looks at its window twice a second: the fault was over 0.2 s before it opened."""
    measured = measure(seen.view.plain)
    assert measured["relapses"].estimate == 0, name
    assert measured["flaps"].estimate == 0


@pytest.mark.parametrize("name", ["varnish"])
def test_a_fault_that_an_active_check_sits_out_is_soon_over(name: str, seen: Recorded) -> None:
    """How long it stays open is how long the fault stays in, which must not feed on itself."""
    known_s = protocol.known_open_s(seen.view)
    assert known_s is not None, name
    assert known_s < 2.0
    fault = next(each for each in seen.view.faults if each.kind == "reset")
    calls, arrivals = seen.view.calls, seen.view.arrivals
    meanwhile = view(
        calls.where(calls.ended < fault.ended),
        arrivals.where(arrivals.at < fault.ended),
        [each for each in seen.view.faults if each.began < fault.began] + [replace(fault, ended=np.inf)],
    )
    begun, pace = fault.began, protocol.Pace()
    assert not protocol.fault_is_enough(meanwhile, pace, begun, begun + protocol.CHECKED_S - 1)
    assert protocol.fault_is_enough(meanwhile, pace, begun, begun + protocol.CHECKED_S)


@pytest.mark.parametrize(("name", "patience_s"), [("pybreaker", 6.0), ("hystrix", 9.7)])
def test_a_fault_stays_in_for_half_as_long_again_as_others_took(
    name: str, patience_s: float, seen: Recorded
) -> None:
    """What opened it under one fault says nothing about the one before, which did not."""
    assert protocol.patience_s(seen.view.plain, protocol.Pace()) == pytest.approx(patience_s, abs=0.2), name
