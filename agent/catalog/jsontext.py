"""JSON as nodes, each with its line and column."""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from json.decoder import scanstring  # type: ignore[attr-defined]  # the reader of json itself
from typing import TYPE_CHECKING

from agent.catalog.document import DEPTH_MAX, Items, Node, Pairs, Scalar
from agent.catalog.problem import Place, Unreadable
from agent.catalog.scalars import broken, whole

if TYPE_CHECKING:
    from collections.abc import Callable

_SPACE = re.compile(r"[ \t\n\r]*")
_NUMBER = re.compile(r"(-?(?:0|[1-9]\d*))(\.\d+)?([eE][-+]?\d+)?", re.ASCII)
_WORDS = {"null": None, "true": True, "false": False}
_WORD = re.compile("null|true|false")


def parse(text: str) -> Node:
    """Return the value in *text*.

    Raises:
        Unreadable: The text is not one JSON value.
    """
    reader = _Reader(text)
    try:
        node, end = reader.value(reader.skip(0), 0)
    except json.JSONDecodeError as error:
        at = Place(line=error.lineno, column=error.colno)
        raise Unreadable(f"is not JSON: {error.msg[:1].lower()}{error.msg[1:]}", at=at) from None
    if reader.skip(end) != len(text):
        raise Unreadable("is not JSON: more follows the value", at=reader.place(reader.skip(end)))
    return node


class _Reader:
    """A recursive reader of one text; positions are offsets into it."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._lines = [0, *(match.end() for match in re.finditer("\n", text))]

    def place(self, offset: int) -> Place:
        line = bisect_right(self._lines, offset)
        return Place(line=line, column=offset - self._lines[line - 1] + 1)

    def skip(self, offset: int) -> int:
        match = _SPACE.match(self._text, offset)
        return match.end() if match else offset

    def value(self, offset: int, depth: int) -> tuple[Node, int]:
        if depth > DEPTH_MAX:
            raise Unreadable(f"is nested deeper than {DEPTH_MAX} levels", at=self.place(offset))
        at = self.place(offset)
        match self._text[offset : offset + 1]:
            case "{":
                pairs, end = self._list(offset, "}", lambda o: self._pair(o, depth + 1))
                return Pairs(pairs=pairs, at=at), end
            case "[":
                items, end = self._list(offset, "]", lambda o: self.value(o, depth + 1))
                return Items(items=items, at=at), end
            case '"':
                text, end = scanstring(self._text, offset + 1, True)
                return Scalar(value=text, at=at), end
        return self._word(offset, at)

    def _list[T](self, offset: int, close: str, one: Callable[[int], tuple[T, int]]) -> tuple[list[T], int]:
        """Read what *one* reads, separated by commas, up to *close*."""
        found: list[T] = []
        offset = self.skip(offset + 1)
        if self._text[offset : offset + 1] == close:
            return found, offset + 1
        while True:
            item, offset = one(offset)
            found.append(item)
            offset = self.skip(offset)
            after = self._text[offset : offset + 1]
            if after == close:
                return found, offset + 1
            if after != ",":
                raise json.JSONDecodeError(f"expecting , or {close}", self._text, offset)
            offset = self.skip(offset + 1)

    def _pair(self, offset: int, depth: int) -> tuple[tuple[Node, Node], int]:
        if self._text[offset : offset + 1] != '"':
            raise json.JSONDecodeError("expecting a key in double quotes", self._text, offset)
        key, colon = self.value(offset, depth)
        colon = self.skip(colon)
        if self._text[colon : colon + 1] != ":":
            raise json.JSONDecodeError("expecting : after a key", self._text, colon)
        item, end = self.value(self.skip(colon + 1), depth)
        return (key, item), end

    def _word(self, offset: int, at: Place) -> tuple[Node, int]:
        if word := _WORD.match(self._text, offset):
            return Scalar(value=_WORDS[word[0]], at=at), word.end()
        if number := _NUMBER.match(self._text, offset):
            read = broken if number[2] or number[3] else whole
            value, doubt = read(number[0])
            return Scalar(value=value, at=at, doubt=doubt), number.end()
        raise json.JSONDecodeError("expecting a value", self._text, offset)
