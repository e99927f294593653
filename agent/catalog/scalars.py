"""What an unquoted YAML scalar means, and whether YAML 1.1 and 1.2 agree about it."""

from __future__ import annotations

import re
from typing import Any

_NULL = re.compile(r"|~|null|Null|NULL")
_TRUE = re.compile(r"true|True|TRUE")
_FALSE = re.compile(r"false|False|FALSE")
_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"([-+]?[0-9]+\.[0-9]*|\.[0-9]+)([eE][-+][0-9]+)?")
_ONLY_1_2 = re.compile(
    r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+|[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
    r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)
_ONLY_1_1 = re.compile(
    r"yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF|<<|="
    r"|[-+]?0b[01_]+|[-+]?0[0-7_]+|[-+]?[1-9][0-9_]*|[-+]?0x[0-9a-fA-F_]+|[-+]?[1-9][0-9_]*(:[0-5]?[0-9])+"
    r"|[-+]?[0-9][0-9_]*\.[0-9_]*([eE][-+][0-9]+)?|\.[0-9][0-9_]*([eE][-+][0-9]+)?"
    r"|[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+\.[0-9_]*"
    r"|[-+]?[0-9.]*_[0-9._]*([eE][-+]?[0-9]+)?"  # some readers take these for numbers and then fail
    r"|[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt]|[ \t]+)[0-9].*"
)


def plain(text: str) -> tuple[Any, str]:
    """Return the value of a plain scalar, and why it is in doubt (empty if it is not).

    Chaos Toolkit reads YAML 1.1, where ``no`` is false and ``10:30`` is 630; a scalar that the two
    versions read differently is in doubt and has to be quoted.

    Source:
        YAML 1.2.2, section 10.3.2 (core schema), and https://yaml.org/type/ for 1.1.
    """
    if _NULL.fullmatch(text):
        return None, ""
    if _TRUE.fullmatch(text) or _FALSE.fullmatch(text):
        return _TRUE.fullmatch(text) is not None, ""
    if _INT.fullmatch(text):
        return whole(text)
    if _FLOAT.fullmatch(text):
        return broken(text)
    if _ONLY_1_2.fullmatch(text) or _ONLY_1_1.fullmatch(text):
        return text, f"{text[:40]} is read differently by YAML 1.1 and YAML 1.2"
    return text, ""


def whole(text: str) -> tuple[int, str]:
    """Return the integer in *text*, and why it is in doubt."""
    if len(text) > 20:
        return 0, f"the number {text[:20]}… is too long"
    return int(text), ""


def broken(text: str) -> tuple[float, str]:
    """Return the finite decimal number in *text*, and why it is in doubt."""
    value = float(text)
    if value in (float("inf"), float("-inf")):
        return 0.0, f"the number {text[:20]} is too large"
    return value, ""
