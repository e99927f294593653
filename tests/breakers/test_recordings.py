"""Recordings of real services, inferred again: what was found in each, and that nothing else is.

Each is the two streams of an exercise of a service in ``targets``, with the bug that it is named after
(libraries and servers are as they come, and ``right`` has no bug): times in seconds since its begin, ids
numbered anew.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent.breakers.bugs import DETECTORS
from agent.breakers.findings import find
from agent.breakers.measures.properties import measure

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Recorded

    from agent.breakers.view import View

FOLDER = Path(__file__).parent / "recordings"
FOUND: dict[str, set[str]] = {
    "4xx-resets": {"client-errors-mask-failures"},
    "aiobreaker": {"half-open-stampede", "late-failure-rearms"},
    "circuitbreaker": {"half-open-stampede", "late-failure-rearms", "late-success-closes"},
    "envoy-ejects-a-bad-host": set(),
    "envoy-keeps-a-bad-host": {"never-ejected"},
    "full-bulkhead": {"full-bulkhead-opens-it"},
    "late-success-closes": {"late-success-closes"},
    "opossum": set(),
    "opossum-bulkhead": {"full-bulkhead-opens-it"},
    "opossum-full-semaphore": {"full-bulkhead-opens-it"},
    "overhang": {"results-counted-late"},
    "right-in-clock-steps": set(),
    "right-in-extra-phases": set(),
    "slow-never-counted": {"slow-never-counted", "no-timeout"},
    "stuck-half-open": {"stuck"},
    "tumbling-window-min-volume": {"needs-a-rate-to-open"},
    "wall-clock": {"follows-wall-clock"},
}
"""What the recording is of -> what is found in it."""


def bugs(seen: View) -> set[str]:
    """Return the bugs that are found in a view."""
    return {each.bug for each in find(seen, measure(seen.plain))}


def test_every_recording_is_looked_at() -> None:
    """None lies about without a claim."""
    assert {path.name.removesuffix(".json.gz") for path in FOLDER.iterdir()} == set(FOUND)


@pytest.mark.parametrize("name", FOUND)
def test_a_real_bug_is_found_in_its_recording_and_nothing_else(
    name: str, recorded: Callable[[Path], Recorded]
) -> None:
    """Whatever the detectors learn later, this stays so."""
    assert bugs(recorded(FOLDER / f"{name}.json.gz").view) == FOUND[name]


def test_the_table_of_bugs_and_detectors(
    record_property: pytest.RecordProperty, recorded: Callable[[Path], Recorded]
) -> None:
    """One row a recording, one column a detector: a miss is a gap, a false finding a mark off its place."""
    rows = {name: bugs(recorded(FOLDER / f"{name}.json.gz").view) for name in FOUND}
    seen = [bug for bug in DETECTORS if any(bug in found for found in rows.values())]
    wide = max(map(len, rows))
    lines = [f"{n}: {bug}" for n, bug in enumerate(seen)]
    lines.append(" " * wide + "".join(f"{n:3}" for n in range(len(seen))))
    for name, found in rows.items():
        marks = "".join("  x" if bug in found else "  ." for bug in seen)
        lines.append(f"{name:{wide}}{marks}")
    table = "\n".join(lines)
    print(table)  # noqa: T201  # `pytest -s` shows it
    record_property("table", table)
    misses = sum(len(FOUND[name] - found) for name, found in rows.items())
    false = sum(len(found - FOUND[name]) for name, found in rows.items())
    assert (misses, false) == (0, 0), table
