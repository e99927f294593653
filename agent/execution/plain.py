"""Whatever an activity returned, as bounded JSON."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agent.model import Json

TEXT_MAX = 10_000
ITEMS_MAX = 1_000
DEPTH_MAX = 12


def plain(value: Any, *, depth: int = DEPTH_MAX) -> Json:  # noqa: PLR0911  # one line a type
    """Return *value* as JSON of bounded size; what is no JSON becomes its ``repr``, what is too long is cut.

    Never raises, whatever an activity hands back.
    """
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else repr(value)
    if isinstance(value, str):
        return _cut(value)
    if depth == 0:
        return "…"
    if isinstance(value, Mapping):
        items = itertools.islice(value.items(), ITEMS_MAX)
        return {_cut(str(key)): plain(each, depth=depth - 1) for key, each in items}
    if isinstance(value, list | tuple):
        return _items(value, depth, len(value))
    try:
        return _cut(repr(value))
    except Exception as error:  # noqa: BLE001  # boundary: somebody else's __repr__
        return f"<{type(value).__name__}: {type(error).__name__} in its repr>"


def _items(value: Iterable[Any], depth: int, count: int) -> Json:
    kept: list[Json] = [plain(each, depth=depth - 1) for each in itertools.islice(value, ITEMS_MAX)]
    if count > ITEMS_MAX:
        kept.append(f"… and {count - ITEMS_MAX} more")
    return kept


def _cut(text: str) -> str:
    if len(text) <= TEXT_MAX:
        return text
    return f"{text[:TEXT_MAX]}… and {len(text) - TEXT_MAX} more characters"
