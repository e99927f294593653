"""Runs as JUnit test suites, one a run, for pipelines that read nothing else.

A run that HELD passes and nothing else does: DEVIATED is a failure (the claim was tested and is
wrong), INCONCLUSIVE, REFUSED and a run without a verdict are errors (the claim was not tested).
``skipped`` would turn a pipeline green and is not used for a run.  NOT RECOVERED is an error on top of
either.  Only what a run found out about a circuit breaker may be skipped: the run's own case has the verdict.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

from agent.model import Verdict
from agent.report.breaker.cases import breaker_cases
from agent.report.figures import figures, last_moment
from agent.report.storm_memo import storm_cases
from agent.report.words import after, brief, cut, printable, utc

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agent.model import RunRecord

OUTPUT_LIMIT = 20_000
"""The most characters of ``system-out`` per run."""
COUNTS = ("tests", "failures", "errors")


def junit(records: Sequence[RunRecord]) -> str:
    """Return *records* as one ``testsuite`` each, in the order given.

    The first ``testcase`` of a suite is the run itself.  A run that exercised a circuit breaker has one
    more for each thing found out about it, one that provoked a storm one for each load.  A run that both
    deviated and was not recovered has both elements and is counted as an error only, so that every case is
    counted once.

    Source: the schema of Jenkins' xunit plug-in, ``junit-10.xsd``, which knows properties of suites only.
    """
    suites = [_suite(record) for record in records]
    root = ET.Element("testsuites", name="gameday", time=f"{sum(_time_s(r) for r in records):.3f}")
    for name in COUNTS:
        root.set(name, str(sum(int(suite.get(name, "0")) for suite in suites)))
    root.extend(suites)
    ET.indent(root)
    return "<?xml version='1.0' encoding='UTF-8'?>\n" + ET.tostring(root, encoding="unicode") + "\n"


def _suite(record: RunRecord) -> ET.Element:
    cases = [_case(record), *_found_out(record)]
    errors = sum(case.find("error") is not None for case in cases)
    failures = sum(case.find("failure") is not None and case.find("error") is None for case in cases)
    suite = ET.Element(
        "testsuite",
        name=brief(record.title, 200) or "untitled",
        tests=str(len(cases)),
        failures=str(failures),
        errors=str(errors),
        skipped=str(sum(case.find("skipped") is not None for case in cases)),
        time=f"{_time_s(record):.3f}",
        timestamp=utc(record.started_at)[:19].replace(" ", "T"),
        hostname=printable(record.host),
    )
    properties = ET.SubElement(suite, "properties")
    for name, value in _properties(record).items():
        ET.SubElement(properties, "property", name=name, value=printable(value))
    suite.extend(cases)
    return suite


def _time_s(record: RunRecord) -> float:
    return max(0.0, last_moment(record) - record.started_at)


def _classname(record: RunRecord) -> str:
    return printable(record.experiment).removesuffix(".yaml").replace("/", ".").lstrip(".") or "experiment"


def _found_out(record: RunRecord) -> Iterator[ET.Element]:
    """Yield the cases of what was found out about a breaker, and about a short trouble under load."""
    held, name = record.verdict is Verdict.HELD, _classname(record)
    yield from breaker_cases(record.breaker, f"{name}.breaker", record.started_at, held=held)
    yield from storm_cases(record.storm, f"{name}.storm", held=held)


def _case(record: RunRecord) -> ET.Element:
    case = ET.Element(
        "testcase",
        classname=_classname(record),
        name=brief(record.title, 200) or "untitled",
        time=f"{_time_s(record):.3f}",
    )
    for tag, kind, message in _complaints(record):
        ET.SubElement(case, tag, type=kind, message=brief(message, 500)).text = printable(message)
    ET.SubElement(case, "system-out").text = _events(record)
    return case


def _properties(record: RunRecord) -> dict[str, str]:
    told = figures(record)
    figure = {
        "time_to_detect_s": told.detect_s,
        "time_to_recover_s": told.recover_s,
        "unsteady_s": told.unsteady_s,
        "fault_s": told.fault_s,
    }
    return {
        "run": record.run,
        "verdict": str(record.verdict or "none"),
        "recovered": str(record.recovered).lower(),
        "aborted": str(record.aborted).lower(),
        "leashed": str(record.leashed).lower(),
        "started_at": utc(record.started_at),
        "host": record.host,
        "agent_version": record.agent_version,
        "requests": str(told.requests),
        **{name: f"{value:.3f}" for name, value in figure.items() if value is not None},
        **({"report": record.report} if record.report else {}),
    }


def _complaints(record: RunRecord) -> list[tuple[str, str, str]]:
    found = []
    if not record.recovered:
        left = ", ".join(f"{i.fault} in {', '.join(i.victims)}" for i in record.injections if i.open)
        found.append(("error", "NOT RECOVERED", f"something may still be broken: {left or 'see the ledger'}"))
    reason = record.reason or "no reason was recorded"
    if record.verdict is Verdict.DEVIATED:
        found.append(("failure", "DEVIATED", reason))
    elif record.verdict is not Verdict.HELD:
        found.append(("error", str(record.verdict or "NO VERDICT"), reason))
    return found


def _events(record: RunRecord) -> str:
    lines = [f"{after(m.at, record.started_at):>12}  {m.kind}  {m.says}".rstrip() for m in record.marks]
    text = cut("\n".join([record.reason, *lines]), OUTPUT_LIMIT)
    return text.text + (f"\n… {text.note}" if text.note else "")
