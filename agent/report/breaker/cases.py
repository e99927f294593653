"""What was found out about a breaker as test cases: one for each finding, expectation and property.

In a run that HELD nothing is a failure: what its experiment tolerates is told as skipped, so that a
pipeline that reads the suite agrees with one that reads the exit code.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

from agent.report.breaker import words
from agent.report.breaker.page import call_rows
from agent.report.breaker.raster import zero_of
from agent.report.breaker.read import answer_of
from agent.report.words import brief, printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from agent.report.breaker.read import Answer, Expectation, Finding, Property

TOLERATED = "fails, and this run's experiment tolerates it: "


def breaker_cases(
    data: Mapping[str, Any] | None, classname: str, started_at: float, *, held: bool
) -> Iterator[ET.Element]:
    """Yield one ``testcase`` for each finding, expectation and property of an answer."""
    answer = answer_of(data)
    if answer is None:
        return
    zero = zero_of(answer, started_at)
    for finding in answer.findings:
        where = f" on {finding.link}" if finding.link and len(answer.judged) > 1 else ""
        yield case(
            f"{classname}.findings",
            f"{finding.bug or finding.title}{where}",
            _of_finding(finding, zero),
            held=held,
        )
    for each in answer.expectations:
        of = f" of {each.of}" if each.of else ""
        yield case(
            f"{classname}.expectations", f"{each.property}{of}", _of_expectation(each, answer), held=held
        )
    for measured in answer.properties:
        yield case(f"{classname}.properties", measured.name, _of_property(measured), held=held)


type Told = tuple[str, str, str]
"""A status (pass, fail, inconclusive), one line, and everything else."""


def case(classname: str, name: str, told: Told, *, held: bool) -> ET.Element:
    """Return a ``testcase`` of what was *told*; in a run that HELD a failure is skipped."""
    status, line, more = told
    found = ET.Element(
        "testcase", classname=printable(classname), name=brief(name, 200) or "untitled", time="0.000"
    )
    whole = printable(f"{line}\n{more}".strip())
    if status == "fail" and not held:
        ET.SubElement(found, "failure", type=status, message=brief(line, 500)).text = whole
        return found
    if status != "pass":
        ET.SubElement(found, "skipped", message=brief(f"{TOLERATED * (status == 'fail')}{line}", 500))
    ET.SubElement(found, "system-out").text = whole
    return found


def _of_finding(finding: Finding, zero: float) -> Told:
    calls = [
        f"  call {each.row} sent at {each.sent}, took {each.took}, answer {each.answer}, "
        f"{words.requests(each.requests)}"
        for each in call_rows(finding, zero)
    ]
    window = (
        f"from {finding.window[0] - zero:.3f} s to {finding.window[1] - zero:.3f} s of the run"
        if finding.window
        else ""
    )
    said = [
        f"What to do: {finding.advice}",
        f"Severity {finding.severity}, confidence {finding.confidence}; to be seen {window}".rstrip(),
        *calls,
    ]
    return "fail", f"{finding.title}: {finding.evidence}", "\n".join(said)


def _of_expectation(each: Expectation, answer: Answer) -> Told:
    found = next((p for p in answer.properties if p.name == each.property), None)
    wanted = words.expected(each, found.unit if found else "")
    measured = words.measured(found) if found else "not measured"
    line = f"expected {wanted}, measured {measured}"
    return each.status, line, each.why or (found.why if found and each.status != "pass" else "")


def _of_property(each: Property) -> Told:
    limit = f", at most {words.amount(each.limit, each.unit)} passes" if each.limit is not None else ""
    return (
        each.status,
        f"{each.why}",
        f"{words.title(each.name)}: {words.measured(each)}, n = {each.n}{limit}",
    )
