"""What a probe's value has to be."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from agent.catalog.fields import Part, Text
from agent.catalog.providers import Provider  # noqa: TC001 - pydantic reads it at run time


class RangeTolerance(Part):
    """The value is a number within bounds, both included."""

    type: Literal["range"]
    """range."""
    range: Annotated[list[Annotated[float, Field(allow_inf_nan=False)]], Field(min_length=2, max_length=2)]
    """[lowest, highest]; ${name} is not replaced here."""
    target: Text | None = None
    """The key of the value to look at, where the value is a mapping."""


class RegexTolerance(Part):
    """The value is a text in which a pattern is found."""

    type: Literal["regex"]
    """regex."""
    pattern: Text
    """A Python regular expression; ${name} is replaced."""
    target: Text | None = None
    """The key of the value to look at, where the value is a mapping."""


class JsonpathTolerance(Part):
    """A JSONPath finds something in the value; needs ``chaostoolkit-lib[jsonpath]``."""

    type: Literal["jsonpath"]
    """jsonpath."""
    path: Text
    """The path; ${name} is replaced."""
    count: Annotated[int, Field(ge=0)] | None = None
    """How many values it has to find."""
    expect: Any = None
    """The values it has to find; ${name} is replaced."""
    target: Text | None = None
    """The key of the value to look at, where the value is a mapping."""


class ProbeTolerance(Part):
    """A probe that is given the value and says whether it will do."""

    type: Literal["probe"]
    """probe."""
    name: Text
    """What reports call it."""
    provider: Provider
    """What is called, with one argument more: value."""


TOLERANCE_TYPES = {
    "range": "<RangeTolerance>",
    "regex": "<RegexTolerance>",
    "jsonpath": "<JsonpathTolerance>",
    "probe": "<ProbeTolerance>",
}


def _tolerance(value: Any) -> str | None:
    if isinstance(value, dict):
        kind = value.get("type")
        return TOLERANCE_TYPES.get(kind) if isinstance(kind, str) else None
    names = {bool: "<truth>", int: "<number>", str: "<text>", list: "<list>"}
    return names.get(type(value))


Tolerance = Annotated[
    Annotated[bool, Tag("<truth>")]
    | Annotated[int, Tag("<number>")]
    | Annotated[str, Tag("<text>")]
    | Annotated[list[str | int | float | bool], Tag("<list>"), Field(min_length=1)]
    | Annotated[RangeTolerance, Tag("<RangeTolerance>")]
    | Annotated[RegexTolerance, Tag("<RegexTolerance>")]
    | Annotated[JsonpathTolerance, Tag("<JsonpathTolerance>")]
    | Annotated[ProbeTolerance, Tag("<ProbeTolerance>")],
    Discriminator(_tolerance),
]
