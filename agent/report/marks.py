"""The few pieces of Markdown that memos are made of; foreign text is escaped here."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from agent.report.words import NONE, brief, printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ANSWERS = {"steady": "✓", "unsteady": "✗", "unknown": "?"}
"""The sign of each answer."""
# A parenthesis means nothing after a bracket that is escaped, a dash or a plus only where a line begins.
_ANYWHERE = re.compile(r"([\\`*_{}\[\]<>#|~&$])")
_AT_THE_START = re.compile(r"^([-+=]|[0-9]{1,9}(?=[.)]))")


def plain(text: str) -> str:
    """Return *text* on one line, with every sign that Markdown would read taken at its face value."""
    line = _ANYWHERE.sub(r"\\\1", " ".join(printable(text).split()))
    line = _AT_THE_START.sub(lambda found: _still(found[1]), line)
    for sign, apart in (
        ("@", "@\N{WORD JOINER}"),
        ("://", ":\N{WORD JOINER}//"),
        ("www.", "www\N{WORD JOINER}."),
    ):
        line = line.replace(sign, apart)
    return line


def _still(sign: str) -> str:
    """Keep a dash from beginning a list, and a number from counting one."""
    return f"{sign}\N{WORD JOINER}" if sign.isdigit() else f"\\{sign}"


def code(text: str) -> str:
    """Return *text* as a code span, also inside a table."""
    inner = brief(text, 120).replace("|", "\N{BROKEN BAR}")
    longest = max((len(m) for m in re.findall("`+", inner)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if inner.startswith("`") or inner.endswith("`") else ""
    return f"{fence}{pad}{inner}{pad}{fence}" if inner else NONE


def table(names: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> Iterator[str]:
    """Yield a table under the heading *title* (with its ``#``); nothing where it has no row."""
    if not rows:
        return
    if title:
        yield f"{title}\n"
    yield "| " + " | ".join(names) + " |"
    yield "|" + " --- |" * len(names)
    yield from ("| " + " | ".join(row) + " |" for row in rows)
    yield ""
