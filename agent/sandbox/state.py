"""The file that says where a home's sandbox is; written whole by its supervisor only."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from agent.clients.processes import created_at

if TYPE_CHECKING:
    from pathlib import Path

FILE = "sandbox.json"


def write(home: Path, state: dict[str, Any]) -> None:
    """Write *state*, readable by its owner only."""
    path = home / FILE
    draft = path.with_name(f"{FILE}.{os.getpid()}")
    draft.touch(mode=0o600)
    draft.write_text(json.dumps(state), encoding="utf-8")
    draft.replace(path)


def read(home: Path) -> dict[str, Any] | None:
    """Return the state of the sandbox that runs in *home*, None if none does."""
    try:
        state: dict[str, Any] = json.loads((home / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return state if created_at(state["supervisor"]["pid"]) == state["supervisor"]["created"] else None


def public(state: dict[str, Any]) -> dict[str, Any]:
    """Return what ``gameday sandbox status --json`` prints."""
    return {key: state[key] for key in ("url", "proxy", "shards", "links")}
