"""A file's bytes as text, within limits."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from agent.catalog.problem import Place, Unreadable

if TYPE_CHECKING:
    from pathlib import Path

SUFFIXES = (".yaml", ".yml", ".json")
BYTES_MAX = 1 << 20
"""An experiment is a few kilobytes; a file larger than this is something else."""


def text(path: Path) -> str:
    """Return the text of the file at *path*.

    Raises:
        Unreadable: It is not a readable regular file of UTF-8 text, of a known kind and at most
            ``BYTES_MAX`` bytes.  A larger file is not read at all.
    """
    if path.suffix not in SUFFIXES:
        raise Unreadable(
            f"{path.suffix or 'a file without a suffix'} is no experiment file",
            f"name it {', '.join(SUFFIXES)}",
        )
    try:
        content = _content(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise Unreadable(f"cannot be read: {reason}") from None
    return _decoded(content)


def _content(path: Path) -> bytes:
    # O_NONBLOCK: opening a named pipe must not wait for a writer; what was opened is what is judged.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise Unreadable("is not a regular file")
        if found.st_size <= BYTES_MAX:
            content = file.read(BYTES_MAX + 1)
            if len(content) <= BYTES_MAX:
                return content
        size = max(found.st_size, BYTES_MAX + 1)
        raise Unreadable(f"has {size} bytes; an experiment has at most {BYTES_MAX}")


def _decoded(content: bytes) -> str:
    if content.startswith(b"\xef\xbb\xbf"):
        raise Unreadable("starts with a byte-order mark", "save it as UTF-8 without one")
    if b"\0" in content:
        raise Unreadable("is a binary file or UTF-16", "save it as UTF-8 text")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        at = Place(line=before.count(b"\n") + 1, column=error.start - before.rfind(b"\n"))
        raise Unreadable("is not UTF-8 text", "save it as UTF-8", at=at) from None
