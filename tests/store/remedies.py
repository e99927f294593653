"""A fault that is a file, with an undo that can be made to fail; what the ledger's calls name."""

from __future__ import annotations

from pathlib import Path

from agent.model import Fact


def mend(*, path: str) -> None:
    """Take the file away, unless a stone lies on it."""
    if Path(path + ".stone").exists():
        raise OSError("a stone lies on it")
    Path(path).unlink(missing_ok=True)


def is_mended(*, path: str) -> Fact:
    """Tell whether it is gone."""
    return Fact(holds=not Path(path).exists())
