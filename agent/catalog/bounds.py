"""Rules about tolerances: bounds that can be met, patterns that compile, values that arrive."""

from __future__ import annotations

import importlib.util
import re
from typing import TYPE_CHECKING, Any

from agent.catalog.outline import activities, mapping, number
from agent.catalog.problem import Finding
from agent.catalog.values import names_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from agent.catalog.problem import Where


def tolerance_findings(definition: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield what is wrong with the tolerances of the hypothesis."""
    for spot in activities(definition):
        if spot.section != "hypothesis":
            continue
        where, tolerance = (*spot.where, "tolerance"), spot.body.get("tolerance")
        if isinstance(tolerance, list) and spot.provider.get("type") not in ("http", "process"):
            yield from _pair(where, tolerance)
        match mapping(tolerance).get("type"):
            case "range":
                yield from _range(where, mapping(tolerance).get("range"))
            case "regex":
                yield from _regex(where, mapping(tolerance).get("pattern"))
            case "probe":
                yield from _probe(where, mapping(mapping(tolerance).get("provider")))
            case "jsonpath" if importlib.util.find_spec("jsonpath2") is None:
                says = "JSONPath is not installed"
                yield Finding(where=where, says=says, instead="pip install chaostoolkit-lib[jsonpath]")


def _pair(where: Where, tolerance: list[Any]) -> Iterator[Finding]:
    """A list of two is a range to Chaos Toolkit, whatever is in it."""
    if len(tolerance) != 2:
        return
    if not all(number(bound) is not None for bound in tolerance):
        says = "a list of two is read as lowest and highest"
        yield Finding(where=where, says=says, instead="write {type: regex, pattern: ^(this|that)$}")
    else:
        yield from _backwards(where, tolerance)


def _range(where: Where, bounds: Any) -> Iterator[Finding]:
    if isinstance(bounds, list) and len(bounds) == 2 and all(number(bound) is not None for bound in bounds):
        yield from _backwards((*where, "range"), bounds)


def _backwards(where: Where, bounds: list[Any]) -> Iterator[Finding]:
    low, high = bounds
    if low > high:
        says = f"no number is at least {low} and at most {high}"
        yield Finding(where=where, says=says, instead=f"write [{high}, {low}]")


def _regex(where: Where, pattern: Any) -> Iterator[Finding]:
    if not isinstance(pattern, str) or names_in(pattern):
        return
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        yield Finding(where=(*where, "pattern"), says=f"is not a regular expression: {error}")


def _probe(where: Where, provider: Mapping[str, Any]) -> Iterator[Finding]:
    if not isinstance(provider.get("arguments"), dict):
        says = "Chaos Toolkit puts the value into provider.arguments, and there are none"
        yield Finding(where=(*where, "provider"), says=says, instead="add arguments: {}, a mapping")
