"""Scales, ticks and the placing of labels."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import assume, given
from hypothesis import strategies as st

from agent.report.scales import Scale, lanes, log_ticks, spread, ticks, time_ticks

spans = st.tuples(st.floats(0, 1000), st.floats(1, 200)).map(lambda s: (s[0], s[0] + s[1]))


@given(st.lists(spans, max_size=30), st.integers(1, 6))
def test_no_two_labels_of_a_lane_overlap(given_spans: list[tuple[float, float]], most: int) -> None:
    """Each label has a lane to itself where it stands, or no lane at all."""
    placed = lanes(given_spans, most)
    for lane in range(most):
        inside = sorted(s for s, at in zip(given_spans, placed, strict=True) if at == lane)
        assert all(a[1] < b[0] for a, b in pairwise(inside))


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.integers(2, 12))
def test_ticks_are_few_and_inside(low: float, span: float, most: int) -> None:
    """There are never more ticks than asked for plus one, and none outside."""
    made = ticks(low, low + span, most)
    assert 1 <= len(made) <= most + 1 or not made
    assert all(low - span * 1e-6 <= t <= low + span * (1 + 1e-6) for t in made)


@given(st.floats(0.001, 1e7), st.integers(2, 20))
def test_time_ticks_start_at_the_start(length: float, most: int) -> None:
    """The first tick is the start of the run, the others follow evenly."""
    made = time_ticks(length, most)
    assert made[0] == 0
    assert len(made) <= most + 2


@given(st.floats(1e-3, 1e6), st.floats(1.5, 1e6))
def test_log_ticks_are_few_and_inside(low: float, factor: float) -> None:
    """At most four ticks, all on the axis."""
    made = log_ticks(low, low * factor)
    assert len(made) <= 4
    assert all(low <= t <= low * factor for t in made)


@given(st.floats(1, 100), st.floats(1.1, 100), st.booleans())
def test_a_scale_maps_its_ends_to_the_ends_of_the_paper(low: float, factor: float, log: bool) -> None:
    """Linear or logarithmic, the ends fit and nothing leaves the paper."""
    scale = Scale(low=low, high=low * factor, first=10, last=110, log=log)
    assert (scale(low), scale(low * factor)) == (10, 110)
    assert (scale(low / 2), scale(low * factor * 2)) == (10, 110)


@given(st.lists(st.floats(0, 100), min_size=1, max_size=4))
def test_names_are_moved_apart(places: list[float]) -> None:
    """Names that would cover each other are moved, and stay on the paper."""
    assume(len(places) <= 4)
    moved = sorted(spread(places, 11, 0, 100))
    assert all(b - a >= 11 - 1e-9 for a, b in pairwise(moved))
    assert moved[0] >= -1e-9
    assert moved[-1] <= 100
