"""What is wrong with an experiment file, where, and what to write instead."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.model import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

type Where = tuple[str | int, ...]
"""The way from the top of a document to a value: keys and list indices."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A line and a column of a file, both counted from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One mistake in a document; ``at`` is given where the mistake has no value to point at."""

    where: Where
    says: str
    instead: str = ""
    at: Place | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One mistake in a file, ready to be shown; ``line`` is 0 where the file could not be read."""

    file: str
    line: int
    column: int
    where: str
    says: str
    instead: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        where = f" {self.where}:" if self.where else ""
        instead = f"; {self.instead}" if self.instead else ""
        return f"{place}:{where} {self.says}{instead}"


class InvalidExperiment(UsageError):
    """A file is not an experiment this program runs; carries every mistake at once."""

    def __init__(self, errors: Iterable[Problem]) -> None:
        self.errors = tuple(errors)
        super().__init__("\n".join(map(str, self.errors)))


class Unreadable(UsageError):
    """A file stops being readable at one place; there is nothing to look at beyond it."""

    def __init__(self, says: str, instead: str = "", *, at: Place | None = None) -> None:
        self.finding = Finding(where=(), says=says, instead=instead, at=at)
        super().__init__(says)


def dotted(where: Where) -> str:
    """Return *where* as people write it: ``method[0].provider.func``."""
    parts = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in where)
    return "".join(parts).removeprefix(".")


def nearest(word: str, known: Iterable[str]) -> str:
    """Return a sentence that names the *known* word most like *word*, or all of them."""
    choices = sorted(known)
    close = difflib.get_close_matches(word, choices, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]}?"
    return f"known here: {', '.join(choices)}" if choices else ""
