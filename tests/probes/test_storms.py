"""What is told of a storm, from the answer in the run's folder."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agent.model import NoEvidence
from agent.safety.context import current_run
from probes import storms


def left(outcome: str, hysteresis: dict[str, Any] | None = None, rate_rps: float = 40.0) -> None:
    """Leave an answer in this run's folder."""
    found = {
        "outcome": outcome,
        "answer": "It came out so.",
        "hysteresis": hysteresis,
        "levels": [{"rate_rps": rate_rps}],
    }
    (current_run().folder / "storm.json").write_text(json.dumps(found))


def test_before_a_storm_there_is_no_complaint_and_no_outcome() -> None:
    """Nothing was promised, and nothing is known."""
    assert storms.complaint() == "none"
    with pytest.raises(NoEvidence):
        storms.outcome_is(outcome="recovered")


@pytest.mark.parametrize("outcome", ["slow-drain", "metastable", "overloaded", "down", "tripped-by-itself"])
def test_whatever_is_no_recovery_is_a_complaint(outcome: str) -> None:
    """With the answer's sentence."""
    left(outcome)
    assert storms.complaint() == f"{outcome}: It came out so"
    assert storms.outcome_is(outcome=outcome)
    assert not storms.outcome_is(outcome="recovered")


def test_a_recovery_is_none_and_what_shows_nothing_is_no_evidence() -> None:
    """Never a pass where nothing was shown."""
    left("recovered")
    assert storms.complaint() == "none"
    left("inconclusive")
    with pytest.raises(NoEvidence, match="It came out so"):
        storms.complaint()
    with pytest.raises(NoEvidence):
        storms.outcome_is(outcome="recovered")


@pytest.mark.parametrize(
    ("survives", "fails", "wanted", "says"),
    [
        (90.0, None, None, "none"),
        (40.0, 60.0, None, "none"),
        (40.0, 60.0, 40.0, "none"),
        (40.0, 60.0, 60.0, "It came out so"),
        (None, 40.0, None, "It came out so"),
        (40.0, 60.0, 50.0, "not tried"),
        (40.0, None, 80.0, "not tried"),
        (None, None, None, "It came out so"),
    ],
)
def test_a_sweep_is_held_against_the_load_that_has_to_be_survived(
    survives: float | None, fails: float | None, wanted: float | None, says: str
) -> None:
    """Without one, against the lowest load that was tried; between what was tried nothing is claimed."""
    left("recovered", {"survives_rps": survives, "fails_rps": fails, "says": ""})
    known = (survives is not None or fails is not None) and says != "not tried"
    if known:
        assert storms.complaint(survives_rps=wanted) == says
    else:
        with pytest.raises(NoEvidence, match=says):
            storms.complaint(survives_rps=wanted)
