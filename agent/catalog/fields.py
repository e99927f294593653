"""Kinds of values that several parts of the file format share."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, WithJsonSchema

REFERENCE = re.compile(r"\$\{[_a-zA-Z][_a-zA-Z0-9]*\}")
"""A text that is one ``${name}`` and nothing else: it is replaced with its type kept."""
NEVER_TOO_LONG_S = 86_400.0


class Part(BaseModel):
    """A mapping of the file format: every key is known, every value has its type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)


Text = Annotated[str, StringConstraints(pattern=r"\S")]
Seconds = Annotated[float, Field(gt=0, le=NEVER_TOO_LONG_S, allow_inf_nan=False)]
SecondsOrZero = Annotated[float, Field(ge=0, le=NEVER_TOO_LONG_S, allow_inf_nan=False)]
Fraction = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
Module = Annotated[str, StringConstraints(pattern=r"^[^\W\d]\w*(\.[^\W\d]\w*)*$")]
Name = Annotated[str, StringConstraints(pattern=r"^[^\W\d]\w*$")]


def _number(value: Any, *, least: float, open_end: bool) -> bool:
    good = isinstance(value, int | float) and not isinstance(value, bool)
    return good and (least < value if open_end else least <= value) and value <= NEVER_TOO_LONG_S


def _pause(value: Any) -> Any:
    if isinstance(value, str) and REFERENCE.fullmatch(value):
        return value
    if not _number(value, least=0, open_end=False):
        raise ValueError("must be seconds, at least 0, or one ${name}")
    return value


def _http_timeout(value: Any) -> Any:
    if isinstance(value, str) and REFERENCE.fullmatch(value):
        return value
    pair = value if isinstance(value, list) else [value, value]
    if len(pair) != 2 or not all(_number(one, least=0, open_end=True) for one in pair):
        raise ValueError("must be seconds above 0, a list of two (connect, read), or one ${name}")
    return value


_SECONDS = {"type": "number", "minimum": 0, "maximum": NEVER_TOO_LONG_S}
_REFERENCE = {"type": "string", "pattern": f"^{REFERENCE.pattern}$"}
Pause = Annotated[Any, AfterValidator(_pause), WithJsonSchema({"anyOf": [_SECONDS, _REFERENCE]})]
HttpTimeout = Annotated[
    Any,
    AfterValidator(_http_timeout),
    WithJsonSchema(
        {
            "anyOf": [
                {**_SECONDS, "exclusiveMinimum": 0},
                {"type": "array", "items": _SECONDS, "minItems": 2, "maxItems": 2},
                _REFERENCE,
            ]
        }
    ),
]
