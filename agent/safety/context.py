"""Which run this process belongs to, under ``gameday run`` and under plain ``chaos run`` alike."""

from __future__ import annotations

import os
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent import settings as settings_of
from agent.model import Radius
from agent.safety import owner
from agent.store import Store

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContext:
    """A run as its own processes know it.

    ``parent_owned`` is True under ``gameday``, where a parent outlives the engine, judges and
    reports; False under plain ``chaos run``, where this process is all there is.
    """

    id: str
    folder: Path
    leashed: bool
    parent_owned: bool


def new_run_id() -> str:
    """Return a fresh id that sorts by time, such as ``20261123-101500-3f9a2c``."""
    return time.strftime("%Y%m%d-%H%M%S", time.gmtime()) + "-" + secrets.token_hex(3)


def run_folder(home: Path, run: str) -> Path:
    """Return the folder of *run*, made if need be."""
    folder = home / "runs" / run
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def current_run() -> RunContext:
    """Return this process's run; under plain ``chaos run`` the first call begins one.

    Raises:
        StoreUnavailable: The state folder cannot be written; nothing may be broken.
    """
    settings = settings_of.current()
    run = settings.run or _begin(settings)
    return RunContext(
        id=run,
        folder=run_folder(settings.home, run),
        leashed=settings.leash,
        parent_owned=settings.lifeline_fd is not None,
    )


def _begin(settings: settings_of.Settings) -> str:
    run = new_run_id()
    store = Store(settings.home)
    try:
        store.begin_run(
            run,
            experiment="",
            title="under chaos run",
            owner=owner.this_process(),
            leashed=settings.leash,
            radius=Radius(count=settings.radius_count),
        )
    finally:
        store.close()
    os.environ[settings_of.PREFIX + "RUN"] = run
    return run
