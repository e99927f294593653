"""Looks merged into runs."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.model import Look, Reading, RunRecord
from agent.report.strips import COLUMNS, probes, runs


def looks(mets: list[bool | None]) -> list[Look]:
    """Return one look a second at the probe ``p``."""
    return [
        Look(at=k, ended_at=k + 0.01, steady=met, readings=(Reading(probe="p", met=met),))
        for k, met in enumerate(mets)
    ]


@given(st.lists(st.sampled_from([True, False, None]), min_size=2, max_size=COLUMNS))
def test_runs_tell_the_same_story_in_fewer_words(mets: list[bool | None]) -> None:
    """Equal neighbours are one run, different ones are not, and no look is lost."""
    made = runs(looks(mets), "p")
    assert sum(run.looks for run in made) == len(mets)
    assert all(a.state != b.state for a, b in pairwise(made))
    assert len(made) == 1 + sum(a != b for a, b in pairwise(mets))


@given(st.integers(COLUMNS + 1, 4 * COLUMNS), st.integers(2, 5))
def test_a_wavering_probe_stays_small_and_hides_no_unsteady_look(count: int, every: int) -> None:
    """Beyond the limit columns are drawn, in order, without overlap, and the worst state wins."""
    made = runs(looks([k % every != 0 for k in range(count)]), "p")
    assert len(made) <= COLUMNS
    assert all(a.end <= b.start + 1e-6 for a, b in pairwise(made))
    assert "unsteady" in {run.state for run in made}
    assert sum(run.looks for run in made) == count


def test_times_are_those_of_the_looks(stories: dict[str, RunRecord]) -> None:
    """A run begins with its first look and ends with the first look that says otherwise."""
    made = runs(looks([True, True, False, True]), "p")
    assert [(run.start, run.end, run.state) for run in made] == [
        (0, 2, "steady"),
        (2, 3, "unsteady"),
        (3, pytest.approx(4), "steady"),
    ]
    assert probes(stories["held"].looks) == ["success-ratio", "latency-p95"]
