"""What somebody expects of a breaker, held against what was measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agent.breakers.bugs import NAMES as BUGS
from agent.breakers.estimate import Status
from agent.breakers.properties import NAMES as PROPERTIES
from agent.model import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

BOUNDS = {"min", "max"}
TOLERATED = "tolerated_findings"


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """A property between ``min`` and ``max`` (None: no bound), and whether it is."""

    property: str
    min: float | None
    max: float | None
    status: Status
    why: str


def check(wanted: Mapping[str, Any], properties: Mapping[str, Mapping[str, Any]]) -> tuple[Expectation, ...]:
    """Return each expectation of *wanted* with its status.

    Args:
        wanted: Property -> ``{"min": number, "max": number}``, either may be missing; as a file of
            expectations holds it.
        properties: As the answer holds them: each with ``estimate``, ``low``, ``high`` and ``why``.

    Raises:
        UsageError: An unknown property or bound; names the ones there are.
    """
    return tuple(_one(name, bounds, properties) for name, bounds in wanted.items() if name != TOLERATED)


def tolerated(wanted: Mapping[str, Any]) -> frozenset[str]:
    """Return the findings that are no reason to complain.

    Raises:
        UsageError: No such finding.
    """
    names = wanted.get(TOLERATED, [])
    if not isinstance(names, list) or (unknown := [name for name in names if name not in BUGS]):
        raise UsageError(f"{TOLERATED} is a list of {', '.join(BUGS)}; not {unknown if names else names!r}")
    return frozenset(names)


def complaints(
    wanted: Mapping[str, Any],
    properties: Mapping[str, Mapping[str, Any]],
    findings: Sequence[Mapping[str, Any]],
) -> list[str]:
    """Return every failed expectation and every finding that is not tolerated, each in a few words."""
    failed = [each for each in check(wanted, properties) if each.status is Status.FAIL]
    ignored = tolerated(wanted)
    return [each.why for each in failed] + [each["title"] for each in findings if each["bug"] not in ignored]


def _one(name: str, bounds: Any, properties: Mapping[str, Mapping[str, Any]]) -> Expectation:
    if name not in PROPERTIES:
        raise UsageError(f"no property is called {name!r}; there are {', '.join(PROPERTIES)}")
    if not isinstance(bounds, dict) or not bounds or set(bounds) - BOUNDS:
        raise UsageError(f"{name}: write min, max or both, as in {{max: 2}}; not {bounds!r}")
    low, high = bounds.get("min"), bounds.get("max")
    status, why = _status(name, low, high, properties.get(name, {}))
    return Expectation(property=name, min=low, max=high, status=status, why=why)


def _status(
    name: str, low: float | None, high: float | None, measured: Mapping[str, Any]
) -> tuple[Status, str]:
    """Pass or fail only where the whole interval says so."""
    least, most = measured.get("low"), measured.get("high")
    if measured.get("estimate") is None and least is None:
        return Status.INCONCLUSIVE, f"{name}: {measured.get('why', 'not measured')}"
    shown = f"{name} is {_span(least, most)}, expected {_span(low, high)}"
    if (high is not None and least is not None and least > high) or (
        low is not None and most is not None and most < low
    ):
        return Status.FAIL, shown
    within_low = low is None or (least is not None and least >= low)
    within_high = high is None or (most is not None and most <= high)
    return (Status.PASS if within_low and within_high else Status.INCONCLUSIVE), shown


def _span(low: float | None, high: float | None) -> str:
    if low is not None and high is not None:
        return f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"
    if high is not None:
        return f"at most {high:.4g}"
    return f"at least {low:.4g}" if low is not None else "anything"
