"""An experiment that was read and found good: the definition for Chaos Toolkit, and what it allows."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agent.catalog.redact import secret_values
from agent.catalog.values import convert
from agent.model import Radius

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from agent.catalog.extension import AfterKeys, GamedayKeys
    from agent.catalog.problem import Problem
    from agent.model import Call

HEAL_S = 30.0
"""How long undoing and checking every fault of a run may take, in seconds."""
ABORT_AFTER_S = 5.0
"""The watch's patience where the experiment names none, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When ``gameday serve`` starts the experiment: five cron fields with names for weekdays."""

    cron: str
    timezone: str = "UTC"
    jitter_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class After:
    """After which rollouts it runs; ``workloads`` are as ``deployment/NAME``."""

    workloads: tuple[str, ...]
    namespace: str
    settle_s: float = 30.0
    debounce_s: float = 300.0
    rollback: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """How closely the steady state is watched; ``abort_after_s`` is None to never abort."""

    every_s: float = 0.5
    abort_after_s: float | None = ABORT_AFTER_S
    look_timeout_s: float = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class During:
    """What the steady state may do while a fault is in: unsteady seconds in total."""

    unsteady_s_max: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What a run of the experiment may do and take; ``blast_radius`` is None for the setting's."""

    timeout_s: float
    blast_radius: Radius | None = None
    watch: Watch = field(default_factory=Watch)
    during: During = field(default_factory=During)
    recover_within_s: float = 10.0
    schedule: Schedule | None = None
    after: After | None = None
    tags: tuple[str, ...] = ()
    owner: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One activity that injects: its name, what it calls, and the place in the definition.

    Values of the configuration are filled in as far as they are known before a run.
    """

    name: str
    call: Call
    where: str
    background: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """Something a run needs from its surroundings, and the problem there is without it.

    ``variable`` is of the environment and converts to ``kind``; ``program`` is on ``PATH``.
    """

    problem: Problem
    variable: str | None = None
    kind: str = "str"
    program: str | None = None

    def met(self, environ: Mapping[str, str]) -> bool:
        """Return whether *environ* has it."""
        if self.program is not None:
            return shutil.which(os.path.expanduser(self.program), path=environ.get("PATH")) is not None  # noqa: PTH111 - as Chaos Toolkit does
        try:
            convert(self.kind, environ[self.variable or ""])
        except (KeyError, ValueError):
            return False
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """One file that holds an experiment; ``definition`` is what Chaos Toolkit is given.

    Variables are in the definition's configuration already.
    """

    path: Path
    title: str
    definition: Mapping[str, Any]
    allowance: Allowance
    faults: tuple[Fault, ...] = ()
    needs: tuple[Need, ...] = ()

    def unmet(self, environ: Mapping[str, str]) -> tuple[Problem, ...]:
        """Return what a run in *environ* would lack; a run does not start while there is any."""
        return tuple(need.problem for need in self.needs if not need.met(environ))

    def secret_values(self, environ: Mapping[str, str]) -> frozenset[str]:
        """Return every value that must not be shown; see :mod:`agent.catalog.redact`."""
        return secret_values(self.definition, environ)

    @property
    def description(self) -> str:
        """What happens and why it should not matter."""
        return str(self.definition["description"])

    @property
    def probes(self) -> tuple[Mapping[str, Any], ...]:
        """The probes of the steady-state hypothesis, references resolved."""
        named = {step["name"]: step for step in self.definition["method"] if "name" in step}
        given = self.definition["steady-state-hypothesis"]["probes"]
        return tuple({**named[p["ref"]], "tolerance": p["tolerance"]} if "ref" in p else p for p in given)

    @property
    def longest_s(self) -> float:
        """The longest a run can take, in seconds: its hard end, the heal, and the recovery."""
        return self.allowance.timeout_s + HEAL_S + self.allowance.recover_within_s


def allowance(keys: GamedayKeys, *, tags: tuple[str, ...] = ()) -> Allowance:
    """Return what *keys* of a file allow, defaults filled in."""
    radius, due, watch = keys.blast_radius, keys.schedule, keys.watch
    unsteady_s_max = keys.during.unsteady_s_max
    named = "abort_after_s" in watch.model_fields_set
    return Allowance(
        timeout_s=keys.timeout_s,
        blast_radius=Radius(count=radius.count, fraction=radius.fraction) if radius else None,
        watch=Watch(
            every_s=watch.every_s,
            abort_after_s=watch.abort_after_s if named else max(ABORT_AFTER_S, unsteady_s_max),
            look_timeout_s=watch.look_timeout_s,
        ),
        during=During(unsteady_s_max=unsteady_s_max),
        recover_within_s=keys.recover_within_s,
        schedule=Schedule(cron=due.cron, timezone=due.timezone, jitter_s=due.jitter_s) if due else None,
        after=_after(keys.after) if keys.after else None,
        tags=tags,
        owner=keys.owner,
    )


def _after(keys: AfterKeys) -> After:
    return After(
        workloads=tuple(keys.workloads),
        namespace=keys.namespace,
        settle_s=keys.settle_s,
        debounce_s=keys.debounce_s,
        rollback=keys.on_deviated == "rollback",
    )
