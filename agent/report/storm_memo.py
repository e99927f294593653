"""A storm's part of the memo, and its test cases: one for each load."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.report.breaker.cases import case
from agent.report.marks import plain, table
from agent.report.storm import storm_part

if TYPE_CHECKING:
    import xml.etree.ElementTree as ET
    from collections.abc import Iterator, Mapping
    from typing import Any

PASSES, UNKNOWN = ("recovered",), ("inconclusive", "tripped-by-itself", "")
"""Outcomes of a load that are a pass, and those that say nothing about it; the others are failures."""


def storm_lines(data: Mapping[str, Any] | None) -> Iterator[str]:
    """Yield what a memo says about a short trouble under load: answer, loads, phases."""
    part = storm_part(data)
    if part is None:
        return
    yield "## A short trouble under load: what became of it\n"
    yield f"{plain(part.says) or 'No answer was recorded.'}\n"
    if len(part.levels) > 1:
        rows = [(each.rate, f"**{plain(each.outcome)}**", plain(each.says)) for each in part.levels]
        yield from table(("Load", "Outcome", "What was seen"), rows)
    phases = [
        (plain(each.name), each.lasted, each.rate, f"{each.calls:,}", each.goodput, each.amplification)
        for each in part.rows
    ]
    yield from table(("Phase", "Seconds", "Offered rps", "Calls", "Goodput", "Requests per call"), phases)
    if len(part.rows) < part.phases:
        yield f"{part.phases - len(part.rows)} more phases stand in the JSON form.\n"


def storm_cases(data: Mapping[str, Any] | None, classname: str, *, held: bool) -> Iterator[ET.Element]:
    """Yield one ``testcase`` for each load; in a run that HELD what its experiment bears is skipped."""
    part = storm_part(data)
    for each in part.levels if part else ():
        status = "pass" if each.outcome in PASSES else "inconclusive" if each.outcome in UNKNOWN else "fail"
        yield case(classname, f"at {each.rate}", (status, f"{each.outcome}: {each.says}", ""), held=held)
