"""The arrival log: numbered, bounded, and the same in memory and in the file."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import pytest

from agent.proxy.arrivals import KEPT_MAX, Arrivals

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Arrivals]:
    """Return an empty log."""
    with contextlib.closing(Arrivals(tmp_path)) as log:
        yield log


def entry(seq: int, what: int) -> dict[str, Any]:
    """Describe one arrival."""
    return {"seq": seq, "what": what}


def test_entries_are_numbered_and_read_on_from_any_number(log: Arrivals) -> None:
    """A reader passes the last number it has seen, also in the middle of a block."""
    for number in range(1000):
        log.add(entry, number)
    assert [each["seq"] for each in log.since(0, 10)] == list(range(1, 11))
    assert log.since(999, 10) == [{"seq": 1000, "what": 999}]
    assert [each["what"] for each in log.since(300, 500)] == list(range(300, 800))
    assert log.since(1000, 10) == []


def test_only_the_last_ones_are_kept(log: Arrivals) -> None:
    """Memory stays bounded however long the proxy lives."""
    for number in range(2 * KEPT_MAX):
        log.add(entry, number)
    kept = log.since(0, 3 * KEPT_MAX)
    assert 0.9 * KEPT_MAX <= len(kept) <= KEPT_MAX
    assert kept[-1]["seq"] == 2 * KEPT_MAX


def test_each_line_of_the_file_is_a_list_of_entries(log: Arrivals, tmp_path: Path) -> None:
    """And together they are all of them."""
    for number in range(600):
        log.add(entry, number)
    log.write(log.take_unwritten())
    log.add(entry, 600)
    log.write(log.take_unwritten())
    lines = (tmp_path / "arrivals.jsonl").read_text().splitlines()
    assert [each["what"] for line in lines for each in json.loads(line)] == list(range(601))
