"""What a child tells its parent; known to both, and free of the engine, which the parent does not need."""

from __future__ import annotations

import contextlib
import importlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agent.model import Activity, GamedayError, Refused

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Chaos Toolkit entered (or left) one part of the experiment; ``met`` is a hypothesis's outcome."""

    name: str
    at: float
    ended: bool = False
    met: bool | None = None
    probes_met: Mapping[str, bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """Chaos Toolkit is done, with its own status and, when it crashed, why."""

    at: float
    status: str
    deviated: bool
    error: str | None = None


type Message = Activity | Section | Played


def refusal(error: str) -> str | None:
    """Return what the door said if *error*, an activity's failure, is a refusal of ours."""
    name, _, says = error.partition(": ")
    module, _, klass = name.rpartition(".")
    if not module.startswith("agent."):
        return None
    with contextlib.suppress(ImportError, AttributeError):
        raised = getattr(importlib.import_module(module), klass)
        if isinstance(raised, type) and issubclass(raised, GamedayError) and issubclass(raised, Refused):
            return says
    return None
