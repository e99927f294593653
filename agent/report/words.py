"""How figures, times and foreign text are written; what came from outside is made printable here."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

NONE = "\N{EN DASH}"
"""Written where there is no figure."""

# Control characters break XML, lone surrogates cannot be encoded, and the bidirectional overrides
# make a line read differently from what it is (CVE-2021-42574, "Trojan Source").
_UNPRINTABLE = {
    code: "\N{REPLACEMENT CHARACTER}"
    for block in (
        range(0x20),
        range(0x7F, 0xA0),
        range(0xD800, 0xE000),
        range(0x202A, 0x202F),
        range(0x2066, 0x206A),
        range(0xFFFE, 0x10000),
    )
    for code in block
    if chr(code) not in "\t\n"
}


def printable(text: str) -> str:
    """Return *text* with everything replaced that is not safe to show or to encode."""
    return text.replace("\r\n", "\n").translate(_UNPRINTABLE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """The first part of a text, and how many characters were left out after it."""

    text: str
    left_out: int = 0

    @property
    def note(self) -> str:
        """One clause that says how much is missing; empty when nothing is."""
        return f"{self.left_out:,} more characters not shown" if self.left_out else ""


def cut(text: str, limit: int) -> Cut:
    """Return at most *limit* characters of *text*, printable."""
    return Cut(text=printable(text[:limit]), left_out=max(0, len(text) - limit))


def brief(text: str, limit: int = 80) -> str:
    """Return *text* on one line, cut in the middle of nothing: the end gives way to an ellipsis."""
    line = " ".join(printable(text[: limit * 4]).split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "\N{HORIZONTAL ELLIPSIS}"


def seconds(value: float | None) -> str:
    """Return a duration for people: ``340 ms``, ``12.3 s``, ``4 min 05 s``, ``2 h 10 min``."""
    if value is None or not math.isfinite(value):
        return NONE
    sign, size = ("\N{MINUS SIGN}" if value < 0 else ""), abs(value)
    if size < 0.9995:
        return f"{sign}{size * 1000:.{0 if size >= 0.0095 or size == 0 else 1}f} ms"
    if size < 59.95:
        return f"{sign}{size:.{2 if size < 9.995 else 1}f} s"
    if size < 3599.5:
        minutes, rest = divmod(round(size), 60)
        return f"{sign}{minutes} min {rest:02d} s"
    hours, rest = divmod(round(size / 60), 60)
    return f"{sign}{hours:,} h {rest:02d} min"


def milliseconds(value: float | None) -> str:
    """Return a latency in milliseconds for people."""
    return NONE if value is None else seconds(value / 1000)


def percent(ratio: float | None) -> str:
    """Return a ratio as a percentage that says 0 % and 100 % only when it is exactly that."""
    if ratio is None or not math.isfinite(ratio):
        return NONE
    if 0 < ratio < 0.0001:
        return "< 0.01 %"
    if 0.9999 < ratio < 1:
        return "> 99.99 %"
    return f"{ratio * 100:.2f}".rstrip("0").rstrip(".") + " %"


def number(value: float) -> str:
    """Return a plain number with at most five significant digits."""
    if isinstance(value, int) or not math.isfinite(value):
        return f"{value:,}" if abs(value) < 1e15 else f"{value:.5g}"
    return f"{value:,.0f}" if 10_000 <= abs(value) < 1e15 else f"{value:.5g}"


def utc(at: float | None) -> str:
    """Return a time in seconds since the epoch as ``2026-11-23 22:14:05.120 UTC``."""
    if at is None:
        return NONE
    try:
        return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S.%f}"[:-3] + " UTC"
    except (OverflowError, ValueError, OSError):
        return f"{at!r} s since 1970"


def after(at: float | None, start: float) -> str:
    """Return the time *at* as an offset from *start*: ``+12.34 s``."""
    if at is None or not math.isfinite(at - start):
        return NONE
    return f"{'+' if at >= start else chr(0x2212)}{abs(at - start):,.2f} s"


def pretty(value: Any) -> str:
    """Return what an activity or a probe gave as text: strings as they are, all else as JSON."""
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, indent=2, ensure_ascii=False, default=str)
    except (RecursionError, ValueError):
        return "(nested too deeply to be shown)"


def compact(value: Any, limit: int = 60) -> str:
    """Return *value* on one line of at most *limit* characters."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: NONE}[value]
    if isinstance(value, int | float):
        return number(value)
    return brief(pretty(value), limit)


def listing(items: Sequence[str], limit: int = 6) -> str:
    """Return *items* with commas, and how many more there are."""
    shown = ", ".join(brief(item, 60) for item in items[:limit])
    return f"{shown} and {len(items) - limit:,} more" if len(items) > limit else shown
