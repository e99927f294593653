"""What every test may use: a state folder of its own, and waiting on a condition."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A state folder of the test's own; no GAMEDAY_ variable of the outside reaches it."""
    for variable in [name for name in os.environ if name.startswith("GAMEDAY_")]:
        monkeypatch.delenv(variable)
    folder = tmp_path / "home"
    monkeypatch.setenv("GAMEDAY_HOME", str(folder))
    yield folder
    os.environ.pop("GAMEDAY_RUN", None)  # set by a run that a test began in this process


@pytest.fixture
def until() -> Callable[..., Any]:
    """Wait for a condition and return what it returned; fail when it does not come true in time."""

    def wait(holds: Callable[[], Any], *, within_s: float = 20.0) -> Any:
        deadline = time.monotonic() + within_s
        while not (found := holds()):
            if time.monotonic() > deadline:
                pytest.fail(f"still not so after {within_s:g} s")
            time.sleep(0.02)
        return found

    return wait
