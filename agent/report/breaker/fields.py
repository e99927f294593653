"""Single fields of an answer that anybody may have written: what is odd is taken for missing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from agent.report.words import brief

MOST_MOMENTS = 50_000
TOO_FAR = 1e12
"""No figure and no time is larger; what is larger is taken for missing."""


def text(value: Any, limit: int = 200) -> str:
    """Return *value* on one line if it is a text, else nothing."""
    return brief(value, limit) if isinstance(value, str) else ""


def number(value: Any) -> float | None:
    """Return *value* if it is a number that can be drawn."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < TOO_FAR and math.isfinite(value) else None


def count(value: Any) -> int:
    """Return *value* as a count, 0 if it is none."""
    found = number(value)
    return 0 if found is None else max(0, int(found))


def items(value: Any) -> list[Mapping[str, Any]]:
    """Return the objects in a list."""
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list | tuple) else []


def mapping(value: Any) -> Mapping[str, Any]:
    """Return *value* if it is an object."""
    return value if isinstance(value, Mapping) else {}


def numbers(value: Any, most: int = MOST_MOMENTS) -> tuple[float, ...]:
    """Return the numbers in a list."""
    found = (number(each) for each in (value[:most] if isinstance(value, list | tuple) else ()))
    return tuple(each for each in found if each is not None)
