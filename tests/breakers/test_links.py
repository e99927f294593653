"""Services that reach their dependency over several links, or for several keys, and what they isolate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.targets, pytest.mark.timeout(240)]

SHARDS = ("shard-0", "shard-1")
REPLICAS = ("replica-0", "replica-1", "replica-2")
KEYS = ("alpha", "beta")


def sequence_of(truth: list[Any], breaker: str) -> list[str]:
    """Return the states of one breaker as the service wrote them down."""
    return ["closed", *(move.to for move in truth if move.breaker == breaker)]


def test_a_breaker_for_each_shard_keeps_the_others_going(over_links: Callable[..., Any]) -> None:
    """Each link's states are its own breaker's, and nobody else's call is kept back."""
    came = over_links(SHARDS, keys=KEYS, faults="error,hang")
    assert (came.code, came.bugs) == (0, set()), came.said
    assert came.isolation["status"] == "pass"
    assert came.isolation["n"] >= 60
    streams = {each["link"]: each["sequence"] for each in came.answer["streams"] if not each["key"]}
    assert streams == {link: sequence_of(came.truth, key) for link, key in zip(SHARDS, KEYS, strict=True)}
    assert {each["key"] for each in came.answer["streams"]} == {"", *KEYS}
    assert "shard-0: It opens after" in came.answer["answer"]


def test_one_breaker_over_all_shards_is_found(over_links: Callable[..., Any]) -> None:
    """The calls for the other key are kept back though their shard is well."""
    came = over_links(SHARDS, keys=KEYS, faults="error", shared=True)
    assert (came.code, came.bugs) == (1, {"shared-over-keys"}), came.said
    assert came.isolation["low"] > 0.5
    (finding,) = came.answer["findings"]
    assert finding["evidence_calls"]


def test_replicas_with_a_state_of_their_own_are_isolated(over_links: Callable[..., Any]) -> None:
    """One replica's path fails, and the calls of the others go on."""
    came = over_links(REPLICAS, faults="error")
    assert (came.code, came.bugs) == (0, set()), came.said
    assert came.isolation["status"] == "pass", came.isolation["why"]
    streams = {each["link"]: each["sequence"] for each in came.answer["streams"]}
    assert streams == {link: sequence_of(came.truth, link) for link in REPLICAS}


def test_replicas_on_one_link_are_told_to_find_out_each_for_itself(exercise: Callable[..., Any]) -> None:
    """Each opens by itself, so that three times as many calls fail."""
    came = exercise("own", kinds="error,hang", replicas=3, ends=(1,))
    assert came.bugs == {"per-replica"}, came.answer["answer"]
    assert came.answer["machine"]["figures"]["replicas"] == 3


def test_one_state_for_all_replicas_is_found(over_links: Callable[..., Any]) -> None:
    """One replica's path fails, and every replica stops asking."""
    came = over_links(REPLICAS, faults="error", shared=True)
    assert (came.code, came.bugs) == (1, {"shared-state-poisons-all"}), came.said


def test_a_breaker_for_each_key_on_one_link_keeps_the_others_going(over_links: Callable[..., Any]) -> None:
    """Where only the requests of one key fail."""
    came = over_links(("dependency",), keys=KEYS, faults="error", per_key=True)
    assert (came.code, came.bugs) == (0, set()), came.said
    assert came.isolation["status"] == "pass"
    assert any(each["key"] == "alpha" for each in came.answer["faults"])


def test_one_breaker_for_all_keys_on_one_link_is_found(over_links: Callable[..., Any]) -> None:
    """The other key's calls are kept back, and its requests were well."""
    came = over_links(("dependency",), keys=KEYS, faults="error")
    assert (came.code, came.bugs) == (1, {"shared-over-keys"}), came.said
