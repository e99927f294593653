"""What somebody expects of a breaker, held against what was measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from agent.breakers.boxes.contradictions import Disagreement
from agent.breakers.bugs import NAMES as BUGS
from agent.breakers.measures import isolation
from agent.breakers.measures.estimate import Status
from agent.breakers.measures.properties import NAMES as PROPERTIES
from agent.model import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

BOUNDS = {"min", "max"}
TOLERATED = "tolerated_findings"
TOLERABLE = (*BUGS, *Disagreement)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """A property between ``min`` and ``max`` (None: no bound), and whether it is."""

    property: str
    min: float | None
    max: float | None
    status: Status
    why: str


def parse(path: Path) -> dict[str, Any]:
    """Return the expectations that a YAML or JSON file holds.

    Raises:
        UsageError: It cannot be read, or holds what is no expectation; names what there is.
    """
    try:
        found = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, YAMLError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise UsageError(f"{path}: expectations are property: {{max: number}}, not {type(found).__name__}")
    return checked(found)


def checked(wanted: dict[str, Any]) -> dict[str, Any]:
    """Return *wanted* if it holds expectations only.

    Raises:
        UsageError: It does not; names what there is.
    """
    check(wanted, {})
    tolerated(wanted)
    return wanted


def held(wanted: Mapping[str, Any], answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return each expectation with its status: of the answer's one stream, or for each of several links."""
    found = []
    for where, properties in judged(answer):
        for each in check(wanted, properties):
            bounds = {name: bound for name in ("min", "max") if (bound := getattr(each, name)) is not None}
            one = {"property": each.property, "expected": bounds, "status": str(each.status), "why": each.why}
            found.append(one | ({"of": where} if where else {}))
    return found


def judged(answer: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the properties that count, with the link or key they are of where there are several."""
    everything = answer["properties"]
    streams = [each for each in answer["streams"] if each["judged"]]
    if len(streams) < 2:
        return [("", everything)]
    across = {name: each for name, each in everything.items() if name == isolation.NAME}
    return [(each["key"] or each["link"], each["properties"] | across) for each in streams]


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
    if not isinstance(names, list) or (unknown := [name for name in names if name not in TOLERABLE]):
        raise UsageError(
            f"{TOLERATED} is a list of {', '.join(TOLERABLE)}; not {unknown if names else names!r}"
        )
    return frozenset(names)


def complaints(wanted: Mapping[str, Any], answer: Mapping[str, Any]) -> list[str]:
    """Return every failed expectation and every finding that is not tolerated, each in a few words."""
    failed = [_at(each, each["why"]) for each in held(wanted, answer) if each["status"] == Status.FAIL]
    ignored = tolerated(wanted)
    several = len(judged(answer)) > 1
    found = [each for each in answer["findings"] if each["bug"] not in ignored]
    return failed + [_at(each, each["title"]) if several else each["title"] for each in found]


def undecided(wanted: Mapping[str, Any], answer: Mapping[str, Any]) -> list[str]:
    """Return why no complaint is no praise yet."""
    found = []
    for where, properties in judged(answer):
        opening = properties["failures_to_open"]
        if opening["status"] == Status.INCONCLUSIVE:
            found.append(_at({"of": where}, f"it was not seen to open: {opening['why']}"))
    open_ones = [each for each in held(wanted, answer) if each["status"] == Status.INCONCLUSIVE]
    return found + [_at(each, each["why"]) for each in open_ones]


def _at(where: Mapping[str, Any], says: str) -> str:
    name = where.get("of") or where.get("key") or where.get("link")
    return f"{name}: {says}" if name else says


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
