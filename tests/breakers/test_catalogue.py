"""The catalogue of bugs: which detector finds each, and where it is shown to, and not to where it must not.

``docs/breakers.md`` holds it as a table, which is made here (``pytest -s`` prints it) and compared.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.breakers.bugs import NAMES

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "breakers.md"
HEAD = "| # | bug | found as | a program that has it | one that has not |"


@dataclass(frozen=True, slots=True)
class Row:
    """One bug of the catalogue.

    ``found`` are detectors; ``has`` and ``has_not`` are programs, each with the test of it: a function of
    this folder, with the case in brackets where one of several is meant.
    """

    number: int
    bug: str
    found: tuple[str, ...]
    has: dict[str, str]
    has_not: dict[str, str]

    def __str__(self) -> str:
        """As a line of the table."""
        found = ", ".join(f"`{each}`" for each in self.found)
        return f"| {self.number} | {self.bug} | {found} | {_programs(self.has)} | {_programs(self.has_not)} |"


def _programs(tested: dict[str, str]) -> str:
    return ", ".join(tested)


WRITTEN_IN = "test_a_bug_that_is_written_in_is_found_and_nothing_else"
RECORDED = "test_a_real_bug_is_found_in_its_recording_and_nothing_else"
RIGHT = {
    "ours": "test_a_correct_breaker_is_seen_as_it_is_and_nothing_is_found",
    "opossum": "test_opossum_is_seen_as_it_is",
    "nginx": "test_nginx_is_seen_as_it_is",
}
"""Programs without the bug, under each kind of fault."""
RIGHT_IN_EXTRAS = {
    "ours": "test_nothing_is_found_on_a_correct_breaker_in_the_extra_phases",
    "opossum": "test_nothing_is_found_on_opossum_in_the_extra_phases",
}
REPLICAS = "test_replicas_with_a_state_of_their_own_are_isolated"


def written_in(bug: str) -> dict[str, str]:
    """Return our service with *bug*."""
    return {"ours": f"{WRITTEN_IN}[{bug}]"}


CATALOGUE = (
    Row(
        1,
        "a timeout outside the breaker is not counted",
        ("timeouts-not-counted",),
        written_in("outer-timeout-not-counted")
        | {"circuitbreaker": "test_a_library_with_its_timeout_outside_counts_no_timeout"},
        RIGHT,
    ),
    Row(
        2,
        "a 500 that is returned is a success",
        ("errors-not-counted",),
        written_in("500-returned-is-success")
        | {"nginx": "test_nginx_counts_no_errors_that_proxy_next_upstream_leaves_out"},
        RIGHT,
    ),
    Row(
        3,
        "slow answers never count",
        ("slow-never-counted", "no-timeout"),
        written_in("slow-never-counted"),
        RIGHT,
    ),
    Row(
        4,
        "calls run under a lock",
        ("serialises-calls",),
        written_in("lock-serialises") | {"pybreaker": "test_pybreaker_guards_its_calls_with_a_lock"},
        RIGHT,
    ),
    Row(
        5,
        "half-open lets everybody in",
        ("half-open-stampede",),
        written_in("half-open-stampede")
        | {
            "circuitbreaker": "test_a_library_of_the_field_is_seen_as_it_is",
            "aiobreaker": "test_aiobreaker_knows_no_limit_while_half_open",
            "purgatory": "test_trials_of_purgatory_that_fail_late_open_it_again",
            "envoy": "test_envoy_is_seen_as_it_is",
        },
        RIGHT,
    ),
    Row(
        6,
        "half-open makes others wait",
        ("half-open-waiters",),
        written_in("half-open-waiters"),
        RIGHT,
    ),
    Row(
        7,
        "stuck half-open",
        ("stuck",),
        written_in("stuck-half-open") | {"a recording": f"{RECORDED}[stuck-half-open]"},
        RIGHT,
    ),
    Row(
        8,
        "never closes under constant traffic",
        ("closes-only-in-quiet",),
        written_in("never-closes-under-traffic"),
        RIGHT,
    ),
    Row(
        9,
        "a late success closes it",
        ("late-success-closes",),
        written_in("late-success-closes")
        | {
            "circuitbreaker": "test_a_late_success_closes_a_library_of_the_field",
            "a recording": f"{RECORDED}[late-success-closes]",
        },
        RIGHT_IN_EXTRAS,
    ),
    Row(
        10,
        "late failures prolong it, or open it again",
        ("late-failure-rearms", "relapses-on-late-failures"),
        written_in("late-failure-rearms")
        | {
            "ours, again": f"{WRITTEN_IN}[late-trial-reopens]",
            "purgatory, again": "test_trials_of_purgatory_that_fail_late_open_it_again",
            "resilient-circuit, again": "test_late_trials_of_resilient_circuit_open_it_again",
            "circuitbreaker": "test_a_library_of_the_field_is_seen_as_it_is",
            "aiobreaker": "test_aiobreaker_knows_no_limit_while_half_open",
        },
        RIGHT,
    ),
    Row(
        11,
        "the open time counts from the call's start",
        ("open-time-from-call-start",),
        written_in("open-time-from-call-start"),
        RIGHT,
    ),
    Row(
        12,
        "one breaker over all shards or hosts",
        ("shared-over-keys",),
        {
            "ours, links": "test_one_breaker_over_all_shards_is_found",
            "ours, keys": "test_one_breaker_for_all_keys_on_one_link_is_found",
        },
        {
            "ours, links": "test_a_breaker_for_each_shard_keeps_the_others_going",
            "ours, keys": "test_a_breaker_for_each_key_on_one_link_keeps_the_others_going",
        },
    ),
    Row(
        13,
        "each replica finds out for itself",
        ("per-replica",),
        {
            "ours, on one link": "test_replicas_on_one_link_are_told_to_find_out_each_for_itself",
            "simulated": "test_replicas_are_told_to_find_out_each_for_itself",
        },
        RIGHT | {"ours, a path each": REPLICAS},
    ),
    Row(
        14,
        "shared state that one bad node poisons",
        ("shared-state-poisons-all",),
        {"ours, a path each": "test_one_state_for_all_replicas_is_found"},
        {"ours, a path each": REPLICAS},
    ),
    Row(15, "retries inside the breaker", ("retries-multiply",), written_in("retries-inside"), RIGHT),
    Row(
        16,
        "retries of the breaker's own rejection",
        ("rejections-wait",),
        written_in("retries-outside-open-error"),
        RIGHT,
    ),
    Row(
        17,
        "a fallback inside the breaker",
        ("fallback-hides-failures",),
        written_in("fallback-swallows"),
        RIGHT,
    ),
    Row(18, "a new breaker for each call", ("never-opens",), written_in("new-breaker-per-request"), RIGHT),
    Row(
        19,
        "the caller's errors count, or set the count back",
        ("client-errors-open-it", "client-errors-mask-failures"),
        {
            "ours": f"{WRITTEN_IN}[4xx-counted]",
            "ours, setting back": f"{WRITTEN_IN}[4xx-resets]",
            "a recording": f"{RECORDED}[4xx-resets]",
        },
        RIGHT | {"ours, interleaved": RIGHT_IN_EXTRAS["ours"]},
    ),
    Row(
        20,
        "callers that give up count",
        ("cancelled-calls-open-it",),
        written_in("caller-cancel-counted"),
        RIGHT_IN_EXTRAS,
    ),
    Row(
        21,
        "a cap keeps the bad host in",
        ("never-ejected", "never-opens"),
        {
            "envoy, one host": "test_envoy_ejects_nobody_from_a_small_cluster_by_default",
            "envoy, one of three": "test_envoy_keeps_one_bad_host_of_three_by_default",
        },
        {"envoy, one of three": "test_envoy_without_the_cap_ejects_one_bad_host_of_three"},
    ),
    Row(
        22,
        "an active check overrides the calls",
        ("active-check-overrides",),
        written_in("active-check-overrides")
        | {"haproxy": "test_haproxys_check_brings_back_a_server_whose_calls_fail"},
        {"ours, checked": "test_a_breaker_beside_an_active_check_is_not_blamed_for_it"} | RIGHT,
    ),
    Row(
        23,
        "a single server has no breaker",
        ("never-opens",),
        {"nginx": "test_a_single_server_behind_nginx_is_never_disabled"},
        {"nginx": RIGHT["nginx"]},
    ),
    Row(
        24,
        "more calls in flight than the threshold",
        ("results-counted-late",),
        written_in("overhang") | {"a recording": f"{RECORDED}[overhang]"},
        RIGHT,
    ),
    Row(
        25,
        "a full bulkhead counts",
        ("full-bulkhead-opens-it",),
        written_in("bulkhead-counted") | {"opossum": "test_a_full_semaphore_opens_opossum"},
        RIGHT_IN_EXTRAS | {"ours, around it": "test_a_bulkhead_around_a_breaker_is_not_taken_for_its_states"},
    ),
    Row(
        26,
        "a window that few calls never fill",
        ("needs-a-rate-to-open",),
        written_in("tumbling-window-min-volume") | {"a recording": f"{RECORDED}[tumbling-window-min-volume]"},
        RIGHT_IN_EXTRAS,
    ),
    Row(
        27,
        "timers follow the wall clock",
        ("follows-wall-clock",),
        {
            "ours": "test_a_breaker_that_looks_at_the_wall_clock_is_found[own]",
            "aiobreaker": "test_a_breaker_that_looks_at_the_wall_clock_is_found[aiobreaker]",
            "nginx": "test_a_breaker_that_looks_at_the_wall_clock_is_found[nginx]",
        },
        {
            "ours": "test_a_breaker_with_a_monotonic_clock_is_not_blamed[own]",
            "circuitbreaker": "test_a_breaker_with_a_monotonic_clock_is_not_blamed[circuitbreaker]",
        },
    ),
    Row(28, "a breaker on another path", ("never-opens",), written_in("wrong-layer"), RIGHT),
)


def table() -> str:
    """Return the table as the page has it."""
    return "\n".join([HEAD, "|---|---|---|---|---|", *map(str, CATALOGUE)])


def cases() -> dict[str, set[str]]:
    """Return every test of this folder, and the words that stand for its cases."""
    found = {}
    for path in HERE.glob("test_*.py"):
        tree = ast.parse(path.read_text())
        words = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
        functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
        found |= {each.name: words for each in functions if each.name.startswith("test_")}
    return found


def test_all_twenty_eight_are_there_and_every_detector_has_its_place() -> None:
    """A bug without a detector is a miss; a detector without a bug is said to be one of its own."""
    assert [each.number for each in CATALOGUE] == list(range(1, 29))
    used = {bug for each in CATALOGUE for bug in each.found}
    assert used <= set(NAMES)
    assert set(NAMES) - used == set()


@pytest.mark.parametrize("row", CATALOGUE, ids=[str(each.number) for each in CATALOGUE])
def test_a_bug_has_a_true_and_a_false_side_that_are_tested(row: Row) -> None:
    """Each names a test that is there, with its case."""
    assert row.has
    assert row.has_not
    known = cases()
    for name in (*row.has.values(), *row.has_not.values()):
        function, _, case = name.removesuffix("]").partition("[")
        assert function in known, name
        assert not case or case in known[function], name


def test_the_page_holds_the_table() -> None:
    """As it is here."""
    print(table())  # noqa: T201  # `pytest -s` shows it
    assert table() in PAGE.read_text()
