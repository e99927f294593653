"""The nouns of the agent, as frozen data; imports the standard library only.

The tree of errors, each raised beside the code that knows the reason::

    GamedayError
    ├── UsageError            the user's mistake: a wrong file, setting or argument  (exit 2)
    │   ├── InvalidExperiment     catalog: every mistake of a file at once
    │   ├── Unreadable            catalog: a file that is no experiment at all
    │   ├── RecordError           report: the record of a run is missing or not one of ours
    │   └── SettingsError         settings: an unknown or malformed GAMEDAY_ variable
    ├── Refused               a gate or the door said no; nothing was touched        (exit 4)
    │   ├── NoTargets             nothing matches the selector
    │   ├── RadiusExceeded        more would be hit than the run may hit
    │   ├── Halted                the kill switch is on
    │   ├── Aborting              the run is being stopped
    │   ├── Unsupported           this machine or target cannot carry the fault
    │   └── NotCopied             the ledger's entry could not be copied out of a Job's pod
    ├── DidNotLand            a fault was applied, could not be seen, and was taken out again
    ├── NotRecovered          something may still be broken                          (exit 5)
    ├── NoEvidence            a probe had too little to answer from
    ├── NotOurs               a copy of the ledger names what this agent never wrote; it is not called
    ├── NoReaper, NoDeadMan   a fault's own way to end could not be set up; nothing was touched
    ├── ProxyUnreachable, NftError, TcError    a tool of ours did not answer as it should
    ├── KubernetesError       the API server did not do what it was asked to; NotThere, Changed, Forbidden
    ├── PartlyKilled          some pods were killed, and then one was refused
    └── NotUp                 the sandbox did not come up
"""

from __future__ import annotations

import importlib
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

type Json = None | bool | int | float | str | list[Json] | dict[str, Json]


class GamedayError(Exception):
    """Anything this program says no to; the message says what, where, and what to do."""

    found: Fact | None = None
    """What an undo that failed had found out about the dose, and the next one may not."""


class UsageError(GamedayError):
    """The user's mistake; nothing was touched."""


class Refused(GamedayError):
    """A gate or the door said no; nothing was touched."""


class NoTargets(Refused):
    """Nothing matches the selector."""


class RadiusExceeded(Refused):
    """More would be hit than the run may hit."""


class Halted(Refused):
    """The kill switch is on."""


class Aborting(Refused):
    """The run is being stopped."""


class Unsupported(Refused):
    """This machine or target cannot carry the fault."""


class DidNotLand(GamedayError):
    """A fault was applied, could not be seen, and was taken out again."""


class NotRecovered(GamedayError):
    """Something may still be broken."""


class NoEvidence(GamedayError):
    """A probe had too little to answer from; never a pass."""


class Verdict(StrEnum):
    """What a run showed; NOT RECOVERED is said on top of it by ``RunRecord.recovered``."""

    HELD = "HELD"
    DEVIATED = "DEVIATED"
    INCONCLUSIVE = "INCONCLUSIVE"
    REFUSED = "REFUSED"


EXIT_CODES = {Verdict.HELD: 0, Verdict.DEVIATED: 1, Verdict.INCONCLUSIVE: 3, Verdict.REFUSED: 4}
EXIT_USAGE = 2
EXIT_NOT_RECOVERED = 5


class InjectionState(StrEnum):
    """Where an injection stands in the ledger; the first two are what may be broken now."""

    INTENDED = "intended"
    APPLIED = "applied"
    HEALED = "healed"
    NOT_RECOVERED = "not_recovered"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A function and its arguments as data, so that any process can undo and check a fault.

    ``func`` is ``package.module:function``; ``arguments`` are JSON and are passed by keyword.
    """

    func: str
    arguments: Mapping[str, Json] = field(default_factory=dict)

    @property
    def module(self) -> str:
        """The module that holds the function."""
        return self.func.partition(":")[0]

    def __call__(self) -> Any:
        """Import the function and call it."""
        name = self.func.partition(":")[2]
        return getattr(importlib.import_module(self.module), name)(**self.arguments)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """What a check of an injection found: does it hold, in one sentence, and what was measured."""

    holds: bool
    says: str = ""
    measured: Mapping[str, Json] = field(default_factory=dict)
    expected_by: float | None = None
    """Until then (seconds since the epoch) what does not hold may still come true by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Radius:
    """The blast radius: the most distinct victims a run may hit.

    ``fraction`` is of the population a victim belongs to (all links of a proxy, all processes of a
    group), rounded down; with both given the smaller one counts.
    """

    count: int | None = None
    fraction: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Injection:
    """One fault put into targets in one run, with everything needed to undo and check it.

    Times are seconds since the epoch.  ``undo`` is idempotent and harmless where the fault never
    happened; it may return a :class:`Fact` with the dose measured over the fault's whole life.
    """

    id: str
    run: str
    fault: str
    victims: tuple[str, ...]
    undo: Call
    landed_check: Call
    gone_check: Call
    renew: Call | None = None
    lease_s: float | None = None
    max_duration_s: float
    state: InjectionState = InjectionState.INTENDED
    intended_at: float
    applied_at: float | None = None
    landed_at: float | None = None
    healed_at: float | None = None
    landed: bool | None = None
    gone: bool | None = None
    dose: Mapping[str, Json] = field(default_factory=dict)
    missed: str | None = None
    """Why the dose was not what was asked for, in one sentence; None when it was."""
    error: str | None = None

    @property
    def open(self) -> bool:
        """Whether this injection may still be in its victims."""
        return self.state is not InjectionState.HEALED

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Return the injection whose fields, as JSON, are *values*."""
        names = ("undo", "landed_check", "gone_check", "renew")
        calls = {name: Call(**values[name]) for name in names if values[name] is not None}
        told = {"state": InjectionState(values["state"]), "victims": tuple(values["victims"])}
        return cls(**{**values, **calls, **told})


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What one steady-state probe said at one look; ``met`` is None when it could not be told."""

    probe: str
    value: Json = None
    met: bool | None = None
    error: str | None = None
    took_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One evaluation of the steady-state hypothesis; ``steady`` is None when it could not be told."""

    at: float
    ended_at: float
    steady: bool | None
    readings: tuple[Reading, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """One activity as Chaos Toolkit played it.

    ``section`` is ``before``, ``method``, ``after`` (the looks of Chaos Toolkit's own hypothesis) or
    ``rollbacks``; ``kind`` is ``action`` or ``probe``; ``status`` is Chaos Toolkit's.
    """

    name: str
    kind: str
    section: str
    started_at: float
    ended_at: float | None = None
    status: str | None = None
    met: bool | None = None
    output: Json = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Something else worth a line on the timeline: a phase, an abort, a signal, a death.

    ``kind`` is one lower-case word or two with an underscore: ``started``, ``abort``, ``interrupted``,
    ``child_died``, ``heal_started``, ``healed``, ``recovered``, ``ended``, …
    """

    at: float
    kind: str
    says: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficBin:
    """What the traffic saw in ``[at, at + width_s)``, by the time a request was *intended* to leave.

    Latencies count from that time too, in milliseconds; ratios and percentiles are None where
    ``n`` is 0.
    """

    at: float
    width_s: float
    n: int
    ok: int
    degraded: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """Everything a run leaves behind: what the judge reads and what the report shows.

    ``definition`` is the experiment as it was run, with secrets redacted.  ``looks`` are the
    watch's; ``activities`` are Chaos Toolkit's.  ``breaker`` is what an exercise of one found out
    (docs/breakers.md), ``storm`` what became of a short trouble under load (docs/storms.md).
    ``window`` (in ``watch``) and the other allowances stand in ``definition["extensions"]``.
    """

    run: str
    experiment: str
    title: str
    started_at: float
    ended_at: float | None = None
    verdict: Verdict | None = None
    reason: str = ""
    recovered: bool = True
    aborted: bool = False
    leashed: bool = False
    injections: tuple[Injection, ...] = ()
    activities: tuple[Activity, ...] = ()
    looks: tuple[Look, ...] = ()
    marks: tuple[Mark, ...] = ()
    traffic: tuple[TrafficBin, ...] = ()
    definition: Mapping[str, Any] = field(default_factory=dict)
    breaker: dict[str, Any] | None = None
    storm: dict[str, Any] | None = None
    host: str = ""
    agent_version: str = ""
    report: str | None = None

    def with_(self, **changes: Any) -> Self:
        """Return this record with *changes*."""
        return replace(self, **changes)

    @property
    def exit_code(self) -> int:
        """The process exit code for this record (the table in the design)."""
        if not self.recovered:
            return EXIT_NOT_RECOVERED
        return EXIT_CODES[self.verdict or Verdict.INCONCLUSIVE]

    def summary(self) -> dict[str, Any]:
        """Return what ``gameday run --json`` prints and the store keeps; times are ISO 8601, UTC."""
        return {
            "run": self.run,
            "experiment": self.experiment,
            "title": self.title,
            "verdict": self.verdict,
            "reason": self.reason,
            "recovered": self.recovered,
            "aborted": self.aborted,
            "leashed": self.leashed,
            "started_at": iso(self.started_at),
            "ended_at": iso(self.ended_at),
            "injections": [_brief(injection) for injection in self.injections],
            "report": self.report,
        }

    def to_json(self) -> dict[str, Any]:
        """Return this record as JSON-ready data, schema ``gameday/run/1``."""
        return {"schema": "gameday/run/1", **asdict(self)}


def iso(at: float | None) -> str | None:
    """Return seconds since the epoch as ISO 8601 in UTC with milliseconds."""
    return None if at is None else datetime.fromtimestamp(at, tz=UTC).isoformat(timespec="milliseconds")


def _brief(injection: Injection) -> dict[str, Any]:
    return {
        "fault": injection.fault,
        "victims": list(injection.victims),
        "landed": injection.landed,
        "gone": injection.gone,
        "dose": dict(injection.dose),
        "intended_at": iso(injection.intended_at),
        "applied_at": iso(injection.applied_at),
        "healed_at": iso(injection.healed_at),
    }
