"""The Prometheus text format, as far as a gauge or counter needs it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LINE = re.compile(r"^(?P<name>[a-zA-Z_:][\w:]*)(?:\{(?P<labels>.*)\})?\s+(?P<value>\S+)(?:\s+-?\d+)?\s*$")
LABEL = re.compile(r'([a-zA-Z_]\w*)\s*=\s*"((?:[^"\\]|\\.)*)"')
ESCAPES = {r"\\": "\\", r"\"": '"', r"\n": "\n"}


class Measured(NamedTuple):
    """One line: the labels and the value."""

    labels: Mapping[str, str]
    value: float


def measured(text: str, metric: str, labels: Mapping[str, str] | None = None) -> Iterator[Measured]:
    """Return the lines of *metric* that have all of *labels*; lines that are none are passed over.

    Source:
        Prometheus, "Exposition formats", text-based format; OpenMetrics' exemplars are cut off.
    """
    for line in text.splitlines():
        if not line.startswith(metric):
            continue
        match = LINE.match(line.partition(" # ")[0])
        if match is None or match["name"] != metric:
            continue
        found = {name: _plain(value) for name, value in LABEL.findall(match["labels"] or "")}
        if all(found.get(name) == value for name, value in (labels or {}).items()):
            try:
                yield Measured(found, float(match["value"]))
            except ValueError:
                continue


def _plain(value: str) -> str:
    return re.sub(r'\\[\\"n]', lambda each: ESCAPES[each[0]], value)
