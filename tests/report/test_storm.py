"""The storm's part of the page: a picture and a table, from answers that anybody may have written."""

from __future__ import annotations

import re
import time
import xml.etree.ElementTree as ET
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.breakers.storms.answer import Level, to_json
from agent.breakers.storms.goodput import Load
from agent.breakers.storms.storm import Judged, Name, Outcome, Phase, Rules
from agent.model import Mark, RunRecord, Verdict
from agent.report import from_json, json_text, junit, markdown
from agent.report.page import html
from agent.report.storm import storm_part

ODD = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)
PHASE = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("name", "began", "ended", "began_at", "ended_at", "rate_rps", "goodput"), ODD)
)
LANE = st.lists(st.floats(0, 1e6), min_size=3, max_size=3)
LANES = ("at", "offered", "good", "requests", "open")


def answer(levels: int = 1) -> dict[str, Any]:
    """Return an answer in which half of the calls come out well, after so many loads."""
    calls = np.arange(0.0, 40.0, 0.02)
    load = Load(intended=calls, good=calls > 20, arrived=np.repeat(calls, 2))
    phases = (
        Phase(name=Name.BASELINE, began=0.0, ended=10.0, rate_rps=50.0),
        Phase(name=Name.TRIGGER, began=10.0, ended=13.0, rate_rps=50.0),
        Phase(name=Name.WATCH, began=13.0, ended=40.0, rate_rps=50.0),
    )
    judged = Judged(outcome=Outcome.SLOW_DRAIN, says="It drains <slowly>")
    return to_json(
        load,
        [Level(rate_rps=50.0, phases=phases, judged=judged)] * levels,
        trigger={"kind": "error", "for_s": 3.0},
        rules=Rules(),
        opened=[(1.0, 4)],
        wall_ahead_s=1_790_000_000.0,
        swept=levels > 1,
    )


def record(storm: dict[str, Any]) -> RunRecord:
    """Return a run that provoked a storm."""
    return RunRecord(
        run="r",
        experiment="e",
        title="t",
        started_at=1_790_000_000.0,
        verdict=Verdict.HELD,
        marks=(Mark(at=1_790_000_000.0, kind="started"),),
        storm=storm,
    )


def test_the_page_has_the_sentence_the_picture_and_each_phase() -> None:
    """Drawn twice, for a desk and for a phone, with foreign text escaped."""
    page = html(record(answer()))
    assert "It drains &lt;slowly&gt;" in page
    assert page.count("storm-requests") >= 2
    for name in ("baseline", "trigger", "watch"):
        assert f"<bdi>{name}</bdi>" in page
    assert "2 (2 to 2)" in page


def test_a_sweep_names_the_load_of_each_phase() -> None:
    """Rows of several loads can be told apart, and there is a bound on them."""
    part = storm_part(answer(levels=30))
    assert part is not None
    assert part.rows[0].name == "baseline at 50 rps"
    assert (len(part.rows), part.phases) == (60, 90)


def test_the_memo_has_the_sentence_each_load_and_each_phase() -> None:
    """In Markdown, with foreign text at its face value."""
    memo = markdown(record(answer(levels=2)))
    assert "## A short trouble under load" in memo
    assert memo.count("| 50 rps | **slow-drain** | It drains \\<slowly\\> |") == 2
    assert memo.count("| trigger at 50 rps | 3.0 | 50 | 150 | 0 % (0 to ") == 2
    assert "Requests per call" not in markdown(RunRecord(run="r", experiment="e", title="t", started_at=0.0))


@pytest.mark.parametrize(
    ("outcome", "verdict", "tag"),
    [
        ("recovered", Verdict.HELD, None),
        ("slow-drain", Verdict.HELD, "skipped"),  # which its experiment bears
        ("slow-drain", Verdict.DEVIATED, "failure"),
        ("metastable", Verdict.DEVIATED, "failure"),
        ("inconclusive", Verdict.INCONCLUSIVE, "skipped"),
    ],
)
def test_each_load_is_a_test_case(outcome: str, verdict: Verdict, tag: str | None) -> None:
    """A pipeline that reads the suite agrees with one that reads the exit code."""
    storm = answer()
    storm["levels"][0]["outcome"] = outcome
    suite = ET.fromstring(junit([record(storm).with_(verdict=verdict)]))  # noqa: S314  # our own
    cases = [case for case in suite.iter("testcase") if case.get("name") == "at 50 rps"]
    assert len(cases) == 1
    told = [child.tag for child in cases[0] if child.tag != "system-out"]
    assert told == ([tag] if tag else [])
    assert outcome in ET.tostring(cases[0], encoding="unicode")


def test_no_storm_no_part() -> None:
    """Nothing is said of what was not tried."""
    assert storm_part(None) is None
    assert "A short trouble under load" not in html(
        RunRecord(run="r", experiment="e", title="t", started_at=0.0)
    )


def test_a_record_keeps_its_storm_as_json() -> None:
    """Written and read back, nothing is lost."""
    whole = record(answer())
    assert from_json(json_text(whole)).storm == whole.storm


@given(
    storm=st.fixed_dictionaries(
        {},
        optional={
            "answer": ODD,
            "levels": st.lists(
                st.fixed_dictionaries({"phases": st.lists(PHASE, max_size=3) | ODD, "says": ODD})
            )
            | ODD,
            "series": st.fixed_dictionaries(
                {
                    "every_s": st.floats() | ODD,
                    **dict.fromkeys(("at", "offered", "good", "requests", "open"), LANE),
                }
            )
            | ODD,
        },
    )
)
def test_whatever_is_in_an_answer_the_page_is_made(storm: dict[str, Any]) -> None:
    """What is odd is left out; no coordinate is anything but a number."""
    part = storm_part(storm)
    assert part is not None
    for scene in (part.wide, part.narrow):
        for shape in scene.shapes if scene else ():
            points = str(shape.attributes.get("d", ""))
            assert "nan" not in points
            assert "inf" not in points
    html(record(storm))
    markdown(record(storm))
    ET.fromstring(junit([record(storm)]))  # noqa: S314  # our own


@pytest.mark.parametrize("points", [10_000])
def test_a_long_series_makes_no_endless_page(points: int) -> None:
    """Points beyond the bound are left out with the picture, and the page stays quick."""
    lanes = {name: [float(n) for n in range(points)] for name in LANES}
    began = time.monotonic()
    page = html(record({"answer": "x", "series": {"every_s": 1.0, **lanes}}))
    assert time.monotonic() - began < 20
    assert len(re.findall("<svg", page)) < 60
