"""How figures and foreign text are written."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.report.words import NONE, after, brief, cut, percent, printable, seconds, utc


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, NONE),
        (math.nan, NONE),
        (0.0, "0 ms"),
        (0.0042, "4.2 ms"),
        (0.34, "340 ms"),
        (0.9996, "1.00 s"),
        (12.34, "12.3 s"),
        (59.97, "1 min 00 s"),
        (245, "4 min 05 s"),
        (7800, "2 h 10 min"),
        (-0.5, "\N{MINUS SIGN}500 ms"),
    ],
)
def test_a_duration_is_written_for_people(value: float | None, expected: str) -> None:
    """The unit follows the size, and nothing is written where there is nothing."""
    assert expected == seconds(value)


@given(st.floats(0, 1))
def test_a_percentage_is_whole_only_when_it_is(ratio: float) -> None:
    """0 % and 100 % are never the result of rounding."""
    assert (percent(ratio) == "100 %") == (ratio == 1)
    assert (percent(ratio) == "0 %") == (ratio == 0)


@given(st.text())
def test_printable_text_can_be_encoded_and_hides_nothing(text: str) -> None:
    """No surrogate, control character or bidirectional override is left, and no length is lost."""
    shown = printable(text)
    shown.encode()
    assert not {c for c in shown if c < " " and c not in "\t\n"} & set(shown)
    assert not set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069") & set(shown)
    assert printable(shown) == shown


@given(st.text(), st.integers(0, 50))
def test_a_cut_says_how_much_is_missing(text: str, limit: int) -> None:
    """What is shown and what is missing add up to the whole."""
    made = cut(text, limit)
    assert len(text) == min(len(text), limit) + made.left_out
    assert bool(made.note) == (len(text) > limit)


@given(st.text(), st.integers(2, 50))
def test_a_brief_text_is_one_short_line(text: str, limit: int) -> None:
    """Whatever comes in, one line of at most the limit comes out."""
    assert len(brief(text, limit)) <= limit
    assert "\n" not in brief(text, limit)


def test_times_are_utc_with_an_offset() -> None:
    """A time is written in UTC to the millisecond, and as an offset with its sign."""
    assert utc(1_795_471_205.1204) == "2026-11-23 22:00:05.120 UTC"
    assert after(12.5, 10.0) == "+2.50 s"
    assert after(9.5, 10.0) == "\N{MINUS SIGN}0.50 s"
    assert utc(1e300).endswith("since 1970")
