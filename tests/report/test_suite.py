"""The JUnit form."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.model import RunRecord, Verdict
from agent.report import junit

ALLOWED = {
    "testsuite": {"testcase"},
    "testcase": {"properties", "error", "failure", "system-out"},
    "properties": {"property"},
}
COUNTS = ("tests", "failures", "errors", "skipped")


def parsed(*records: RunRecord) -> ET.Element:
    """Return the suite of *records*, checked against the shape that CI systems read."""
    suite = ET.fromstring(junit(records).encode())  # noqa: S314  our own text
    for element in suite.iter():
        assert {child.tag for child in element} <= ALLOWED.get(element.tag, set())
    assert suite.tag == "testsuite"
    assert all(
        float(case.get("time", "")) >= 0 and case.get("name") and case.get("classname") for case in suite
    )
    return suite


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
    case = parsed(stories[name])[0]
    assert [e.tag for e in case if e.tag in {"error", "failure", "skipped"}] == elements


def test_held_but_not_recovered_does_not_pass(stories: dict[str, RunRecord]) -> None:
    """The loudest word is louder than a good verdict."""
    case = parsed(stories["held"].with_(recovered=False))[0]
    assert [e.get("type") for e in case.iter("error")] == ["NOT RECOVERED"]


def test_the_counts_add_up(stories: dict[str, RunRecord]) -> None:
    """Each run is counted once; tests minus failures minus errors is the number that passed."""
    suite = parsed(*stories.values())
    tests, failures, errors, skipped = (int(suite.get(name, "-1")) for name in COUNTS)
    passed = sum(r.verdict is Verdict.HELD and r.recovered for r in stories.values())
    assert (tests, skipped) == (len(stories), 0)
    assert tests - failures - errors == passed


def test_properties_carry_the_figures(stories: dict[str, RunRecord]) -> None:
    """The run's id, its verdict and its times are there for dashboards."""
    case = parsed(stories["deviated"])[0]
    told = {p.get("name"): p.get("value") for p in case.iter("property")}
    assert told["verdict"] == "DEVIATED"
    assert told["time_to_detect_s"] == "0.612"
    assert case.get("time") == "32.000"


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_record_is_well_formed(any_record: st.SearchStrategy[RunRecord], data: st.DataObject) -> None:
    """Control characters, surrogates and markup in any text leave the XML readable."""
    suite = parsed(*data.draw(st.lists(any_record, max_size=3)))
    assert int(suite.get("tests", "-1")) == len(suite)
