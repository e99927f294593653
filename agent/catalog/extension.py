"""The ``gameday`` extension of an experiment file: what a run is allowed, and when it is due."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from agent.catalog.cron import check_cron, check_timezone
from agent.catalog.fields import Fraction, Part, Seconds, SecondsOrZero, Text


class ScheduleKeys(Part):
    """When ``gameday serve`` starts this experiment."""

    cron: Annotated[str, AfterValidator(check_cron)]
    """Five fields: minute, hour, day of month, month, day of week.  Weekdays are names (mon-sun),
    because schedulers disagree about the numbers.  Required."""
    timezone: Annotated[str, AfterValidator(check_timezone)] = "UTC"
    """The IANA time zone the cron fields are read in.  Default UTC, the one zone without gaps."""
    jitter_s: SecondsOrZero = 0.0
    """Each start is late by a random part of this many seconds.  Default 0: at the minute."""


_WORKLOAD = re.compile(r"(deployment|statefulset|daemonset)/[a-z0-9]([-.a-z0-9]*[a-z0-9])?")
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


def _workload(text: str) -> str:
    if not _WORKLOAD.fullmatch(text):
        raise ValueError("is no workload; write deployment/NAME, statefulset/NAME or daemonset/NAME")
    return text


def _namespace(text: str) -> str:
    if not _NAMESPACE.fullmatch(text):
        raise ValueError("is no name of a namespace: small letters, digits and dashes")
    return text


class AfterKeys(Part):
    """After which rollouts in Kubernetes ``gameday serve`` and ``gameday check --after`` run this."""

    workloads: Annotated[list[Annotated[str, AfterValidator(_workload)]], Field(min_length=1)]
    """Which workloads: deployment/NAME, statefulset/NAME or daemonset/NAME.  Required."""
    namespace: Annotated[str, AfterValidator(_namespace)]
    """The namespace they are in.  Required: a name alone may mean another one elsewhere."""
    settle_s: SecondsOrZero = 30.0
    """Seconds for which the rollout must have been finished.  Default 30: caches are warm again and
    connections are balanced, so that what is measured is the release and not its arrival."""
    debounce_s: SecondsOrZero = 300.0
    """At most one run in so many seconds; of the rollouts meanwhile only the newest counts.  Default
    300: a release in several steps is one release."""
    on_deviated: Literal["nothing", "rollback"] = "nothing"
    """What becomes of a rollout whose run is DEVIATED: rollback undoes it, as ``kubectl rollout undo``
    does, and only if the workload is still at that revision.  Default nothing."""


class RadiusKeys(Part):
    """The most distinct victims a run may hit; with both given the smaller one counts."""

    count: Annotated[int, Field(ge=1)] | None = None
    """How many victims, at most."""
    fraction: Fraction | None = None
    """Which part of the population a victim belongs to, at most, above 0 to 1, rounded down."""

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if self.count is None and self.fraction is None:
            raise ValueError("needs count, fraction, or both")
        return self


class WatchKeys(Part):
    """How closely the steady state is watched during the run, and when the watch steps in."""

    every_s: Annotated[float, Field(ge=0.05, le=60, allow_inf_nan=False)] = 0.5
    """Seconds from the start of one look to the start of the next, 0.05 to 60.  Default 0.5: two
    looks a second notice a loss soon and cost the target next to nothing."""
    abort_after_s: Seconds | None = None
    """Heal at once after this many seconds of uninterrupted unsteadiness; null: never.  Default: 5
    or during.unsteady_s_max, whichever is longer, so that an experiment nobody thought through
    stops hurting by itself."""
    look_timeout_s: Annotated[float, Field(gt=0, le=60, allow_inf_nan=False)] = 2.0
    """A look that takes longer than this many seconds is unknown, not steady.  Default 2: slow
    enough for a probe across a network, quick enough to notice one that hangs."""


class DuringKeys(Part):
    """What the steady state may do between the moment a fault landed and the end of the heal."""

    unsteady_s_max: SecondsOrZero = 0.0
    """Seconds of unsteady looks allowed in total.  Default 0: the claim is that nobody notices."""


class GamedayKeys(Part):
    """What gameday needs to know beyond Chaos Toolkit; Chaos Toolkit itself ignores it."""

    name: Literal["gameday"]
    """Always gameday."""
    owner: Text | None = None
    """Who answers for this experiment.  Default: nobody is named."""
    timeout_s: Seconds
    """Hard end of the run in seconds, from its first look; then it is healed and judged.  Required:
    a run without an end is a fault without an end."""
    schedule: ScheduleKeys | None = None
    """When to run by itself.  Default: only when asked."""
    after: AfterKeys | None = None
    """After which rollouts to run.  Default: after none."""
    blast_radius: RadiusKeys | None = None
    """The most that may be hit.  Default: GAMEDAY_RADIUS_COUNT victims, which is 1."""
    watch: WatchKeys = Field(default_factory=WatchKeys)
    """The watch.  Default: its own defaults."""
    during: DuringKeys = Field(default_factory=DuringKeys)
    """The allowance.  Default: its own defaults."""
    recover_within_s: SecondsOrZero = 10.0
    """Seconds from the end of the heal in which the system must be steady again.  Default 10: a
    restart and a few rounds of retries."""
