"""The JUnit form."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.model import RunRecord, Verdict
from agent.report import junit

if TYPE_CHECKING:
    from collections.abc import Sequence

OUTCOMES = {"skipped", "error", "failure"}
CHILDREN = {
    "testsuites": {"testsuite"},
    "testsuite": {"properties", "testcase"},
    "properties": {"property"},
    "testcase": {*OUTCOMES, "system-out"},
}
ATTRIBUTES = {
    "testsuites": ({"name", "time", "tests", "failures", "errors"}, set()),
    "testsuite": (
        {"name", "tests", "failures", "errors"},
        {"time", "skipped", "timestamp", "hostname"},
    ),
    "testcase": ({"name"}, {"time", "classname"}),
    "property": ({"name", "value"}, set()),
    **dict.fromkeys(OUTCOMES, (set[str](), {"type", "message"})),
}
"""What an element must have and what it may have, as the schema of Jenkins' xunit plug-in (junit-10) says."""
TIME = re.compile(r"[0-9]+\.[0-9]{3}")
COUNTS = ("tests", "failures", "errors", "skipped")


def parsed(*records: RunRecord) -> ET.Element:
    """Return the suites of *records*, checked against the schema that CI systems read."""
    root = ET.fromstring(junit(records).encode())  # noqa: S314  our own text
    assert root.tag == "testsuites"
    for element in root.iter():
        assert {child.tag for child in element} <= CHILDREN.get(element.tag, set())
        must, may = ATTRIBUTES.get(element.tag, (set(), set()))
        assert must <= set(element.attrib) <= must | may
        assert TIME.fullmatch(element.get("time", "0.000"))
    for suite in root:
        cases = list(suite.iter("testcase"))
        counted = [len(cases), *(_bad(cases, tag) for tag in ("failure", "error", "skipped"))]
        assert [int(suite.get(name, "-1")) for name in COUNTS] == counted
    assert all(case.get("name") and case.get("classname") for case in root.iter("testcase"))
    return root


def _bad(cases: Sequence[ET.Element], tag: str) -> int:
    """Count the cases with *tag*; one with an error is that alone."""
    having = [case for case in cases if case.find(tag) is not None]
    return len([case for case in having if tag == "error" or case.find("error") is None])


def run_case(record: RunRecord) -> ET.Element:
    """Return the case of the run itself."""
    return next(parsed(record).iter("testcase"))


@pytest.mark.parametrize(
    ("name", "elements"),
    [
        ("held", []),
        ("deviated", ["failure"]),
        ("inconclusive", ["error"]),
        ("refused", ["error"]),
        ("empty", ["error"]),
        ("not_recovered", ["error", "failure"]),
    ],
)
def test_only_held_passes(stories: dict[str, RunRecord], name: str, elements: list[str]) -> None:
    """DEVIATED is a failure, what was not tested is an error, NOT RECOVERED is an error on top."""
    case = run_case(stories[name])
    assert [e.tag for e in case if e.tag in {"error", "failure", "skipped"}] == elements


def test_held_but_not_recovered_does_not_pass(stories: dict[str, RunRecord]) -> None:
    """The loudest word is louder than a good verdict."""
    case = run_case(stories["held"].with_(recovered=False))
    assert [e.get("type") for e in case.iter("error")] == ["NOT RECOVERED"]


def test_each_run_is_a_suite_and_its_own_first_case(stories: dict[str, RunRecord]) -> None:
    """As many suites as runs; a run's case passes if it held and was recovered, and not otherwise."""
    root = parsed(*stories.values())
    assert len(root) == len(stories)
    passed = [
        record.title
        for record, suite in zip(stories.values(), root, strict=True)
        if not {each.tag for each in next(suite.iter("testcase"))} & OUTCOMES
    ]
    assert passed == [r.title for r in stories.values() if r.verdict is Verdict.HELD and r.recovered]
    assert int(root.get("tests", "-1")) == len(list(root.iter("testcase")))


def test_properties_carry_the_figures(stories: dict[str, RunRecord]) -> None:
    """The run's id, its verdict and its times are there for dashboards."""
    suite = parsed(stories["deviated"])[0]
    told = {p.get("name"): p.get("value") for p in suite.iter("property")}
    assert told["verdict"] == "DEVIATED"
    assert told["time_to_detect_s"] == "0.612"
    assert suite.get("time") == "32.000"


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_record_is_well_formed(any_record: st.SearchStrategy[RunRecord], data: st.DataObject) -> None:
    """Control characters, surrogates and markup in any text leave the XML readable."""
    records = data.draw(st.lists(any_record, max_size=3))
    assert len(parsed(*records)) == len(records)
