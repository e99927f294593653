"""A fault that is a file, with an undo that can be made to fail; what the ledger's calls name."""

from __future__ import annotations

import time
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


def is_back(*, at: float, expected_by: float) -> Fact:
    """Tell that it is gone once *at* has come, as a thing that somebody else brings back."""
    return Fact(holds=time.time() >= at, says="not back yet", expected_by=expected_by)
