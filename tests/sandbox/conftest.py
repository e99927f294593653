"""One sandbox for all tests of a worker."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from agent.sandbox import starter

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, Any]]]:
    """A running sandbox: its home, and where it is."""
    home = tmp_path_factory.mktemp("sandbox")
    box = starter.up(home)
    yield home, box.state
    box.end()


@pytest.fixture
def environ(sandbox: tuple[Path, dict[str, Any]]) -> dict[str, str]:
    """The environment of a command that uses the sandbox."""
    home, state = sandbox
    return {**os.environ, "GAMEDAY_HOME": str(home), "GAMEDAY_SANDBOX_URL": state["url"]}
