"""Expectations, intervals and ids: the small pure parts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.breakers import expect
from agent.breakers.measures.estimate import mostly_common, quantile_interval, share_interval
from agent.breakers.reading import recording
from agent.breakers.reading.recording import id_of
from agent.breakers.streams import Outcome
from agent.model import UsageError
from agent.traffic import samples


def measured(low: float | None, high: float | None) -> dict[str, Any]:
    """Return the properties of an answer with one in them."""
    return {"time_to_open_s": {"estimate": low, "low": low, "high": high, "why": "as measured"}}


@pytest.mark.parametrize(
    ("bounds", "low", "high", "status"),
    [
        ({"max": 2}, 0.5, 1.5, "pass"),
        ({"max": 2}, 2.5, 3.0, "fail"),
        ({"max": 2}, 1.5, 2.5, "inconclusive"),
        ({"max": 2}, 1.5, None, "inconclusive"),
        ({"min": 1}, 1.5, None, "pass"),
        ({"min": 1}, 0.1, 0.2, "fail"),
        ({"min": 1, "max": 2}, None, None, "inconclusive"),
    ],
)
def test_an_expectation_holds_only_where_the_whole_interval_says_so(
    bounds: dict[str, float], low: float | None, high: float | None, status: str
) -> None:
    """What lies on both sides of the bound is inconclusive."""
    (found,) = expect.check({"time_to_open_s": bounds}, measured(low, high))
    assert found.status == status
    assert found.why


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ({"time_to_opne_s": {"max": 1}}, "no property is called"),
        ({"time_to_open_s": {"most": 1}}, "write min, max or both"),
        ({"time_to_open_s": 3}, "write min, max or both"),
        ({"tolerated_findings": ["stampede"]}, "tolerated_findings is a list of"),
    ],
)
def test_a_mistake_in_a_file_of_expectations_is_named(wanted: dict[str, Any], says: str) -> None:
    """Never silently ignored."""
    with pytest.raises(UsageError, match=says):
        expect.checked(wanted)


def test_a_tolerated_finding_is_no_complaint() -> None:
    """And any other one is, by its title."""
    findings = [{"bug": "stuck", "title": "It does not close"}, {"bug": "never-opens", "title": "No breaker"}]
    told = {"properties": {}, "streams": [], "findings": findings}
    assert expect.complaints({"tolerated_findings": ["stuck"]}, told) == ["No breaker"]


@given(n=st.integers(1, 500), share=st.floats(0, 1))
def test_an_interval_of_a_share_encloses_it(n: int, share: float) -> None:
    """It never leaves 0 to 1, and none of n is bounded by about 3/n."""
    hits = round(n * share)
    low, high = share_interval(hits, n)
    assert 0 <= low <= hits / n <= high <= 1
    if hits == 0:
        assert high == pytest.approx(1 - 0.05 ** (1 / n))


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    """Of 95 % intervals at least 93 % hold the truth; exact ones of a share hold it more often."""
    dice = np.random.default_rng(7)
    shares = [share_interval(int(hits), 200) for hits in dice.binomial(200, 0.1, 2000)]
    assert np.mean([low <= 0.1 <= high for low, high in shares]) >= 0.95
    covered = []
    for _ in range(2000):
        _, low, high = quantile_interval(np.sort(dice.exponential(1.0, 400)), 0.95)
        covered.append(high is not None and low <= -np.log(0.05) <= high)
    assert 0.93 <= np.mean(covered) <= 0.98


@pytest.mark.parametrize(("n", "bounded"), [(50, False), (58, False), (59, True), (400, True)])
def test_a_p95_needs_59_observations_to_be_bounded(n: int, bounded: bool) -> None:
    """With fewer, even the greatest may lie below it."""
    assert (quantile_interval(np.arange(float(n)), 0.95)[2] is not None) is bounded


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0, 3)), min_size=1, max_size=20), st.floats(0, 10))
def test_what_brackets_have_in_common_lies_in_most_of_them(
    pairs: list[tuple[float, float]], truth: float
) -> None:
    """One truth that is in all of them is found."""
    brackets = [(truth - left, truth + width) for left, width in pairs]
    found = mostly_common(brackets)
    assert found is not None
    assert all(low <= found[0] <= found[1] <= high for low, high in brackets)
    assert mostly_common([*brackets, *((low + 100, high + 100) for low, high in brackets)]) is None


def test_samples_are_read_as_the_traffic_writes_them() -> None:
    """The same record and the same outcomes, though neither room imports the other."""
    assert recording.RECORD.itemsize == samples.RECORD.size
    assert recording.HEADER.itemsize == samples.HEADER.size
    assert {each.name: each.value for each in Outcome} == {each.name: each.value for each in samples.Outcome}
    row = samples.RECORD.pack(1e9 + 5.0, 0.25, 0.0, 503, 1, 1, 7, 2**63)
    calls, ahead = recording.calls_of(samples.header(1e9) + row + b"torn")
    assert (ahead, calls.begun[0], calls.ended[0]) == (1e9, 5.0, 5.25)
    assert (calls.status[0], calls.degraded[0], calls.key[0], calls.id[0]) == (503, True, 7, 2**63)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("00000000000000010000000000000002", 2),
        ("00-0000000000000001000000000000000a-0000000000000001-01", 10),
        ("123e4567-e89b-12d3-a456-426614174000", 0xA456426614174000),
        ("not ours", 0),
        ("", 0),
    ],
)
def test_an_id_is_read_from_either_header(text: str, number: int) -> None:
    """A request id, a traceparent, a UUID; anything else is none."""
    assert id_of(text) == number
