"""The samples file: what is written is read, whatever was torn off its end."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.model import UsageError
from agent.traffic.plan import Plan
from agent.traffic.samples import RECORD, bins, header, key_of, percentile, read, window

if TYPE_CHECKING:
    from pathlib import Path

rows = st.lists(
    st.tuples(
        st.floats(1.7e9, 1.7e9 + 60),
        st.floats(0, 5, width=32),
        st.floats(0, 1, width=32),
        st.integers(0, 599),
        st.integers(0, 5),
        st.integers(0, 1),
        st.integers(0, 2**32 - 1),
        st.integers(0, 2**64 - 1),
    ),
    max_size=60,
)
relaxed = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@relaxed
@given(rows=rows, torn=st.integers(0, RECORD.size - 1))
def test_a_torn_last_record_is_left_out_and_all_others_are_there(
    tmp_path: Path, rows: list[tuple[float, ...]], torn: int
) -> None:
    """A reader never sees half a sample, and never misses a whole one."""
    path = tmp_path / "s"
    path.write_bytes(header(1.7e9) + b"".join(RECORD.pack(*row) for row in rows) + b"x" * torn)
    assert [(s.intended_at, s.latency_s, s.status, s.key) for s in read(path)] == [
        (row[0], row[1], row[3], row[6]) for row in rows
    ]


@relaxed
@given(rows=rows, since=st.floats(1.7e9, 1.7e9 + 65))
def test_a_window_is_what_completed_since(
    tmp_path: Path, rows: list[tuple[float, ...]], since: float
) -> None:
    """In the order of completion, the file's tail is all that needs reading."""
    path = tmp_path / "s"
    ordered = sorted(rows, key=lambda row: row[0] + row[1])
    path.write_bytes(header(1.7e9) + b"".join(RECORD.pack(*row) for row in ordered))
    assert len(window(path, since=since)) == sum(row[0] + row[1] >= since for row in rows)


@relaxed
@given(rows=rows, width_s=st.floats(0.5, 10))
def test_every_sample_is_in_exactly_one_bin(
    tmp_path: Path, rows: list[tuple[float, ...]], width_s: float
) -> None:
    """Bins follow one another without a gap and lose nothing."""
    path = tmp_path / "s"
    path.write_bytes(header(1.7e9) + b"".join(RECORD.pack(*row) for row in rows))
    found = bins(path, width_s)
    assert sum(each.n for each in found) == len(rows)
    assert all(abs(b.at - a.at - width_s) < 1e-3 for a, b in pairwise(found))


@given(st.lists(st.floats(0, 10), min_size=1), st.floats(0.01, 1))
def test_a_percentile_is_one_of_the_values_and_has_that_share_at_or_below(
    values: list[float], share: float
) -> None:
    """Nearest rank: nothing is invented between two samples."""
    ordered = sorted(values)
    found = percentile(ordered, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-6


def test_keys_are_told_apart_by_number() -> None:
    """The same text is the same key in every process."""
    assert key_of("7") == key_of("7") != key_of("8")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"url": "ftp://x/"}, "http://HOST… or https://HOST…"),
        ({"rate_rps": 0}, "rate_rps"),
        ({"rate_rps": 50_000, "max_duration_s": 1e6}, "too much to record"),
        ({"rate_max_rps": 0.5}, "at least rate_rps"),
        ({"rate_max_rps": 60_000}, "at most 50000"),
        ({"rate_max_rps": 50_000}, "too much to record"),
        ({"arrivals": "sometimes"}, "clock or poisson"),
        ({"url": "http://x/{key}"}, "keys and {key}"),
    ],
)
def test_a_plan_that_cannot_be_driven_says_why(change: dict[str, object], says: str) -> None:
    """Before anything is started."""
    with pytest.raises(UsageError, match=says.replace("{", r"\{").replace("}", r"\}")):
        Plan(**{"url": "http://x/", "rate_rps": 1.0, **change})  # type: ignore[arg-type]
