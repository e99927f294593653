"""Raises the load of the run's own traffic: what a campaign or a failed neighbour does."""

from __future__ import annotations

import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from agent import settings as settings_of
from agent.model import Call, Fact, NoTargets, UsageError
from agent.safety.context import current_run
from agent.safety.door import inject
from agent.traffic import commands
from agent.traffic.commands import TrafficGone

if TYPE_CHECKING:
    from agent.model import Json

LAND_WITHIN_S = 5.0
SEEN_S = 0.3
SEEN_REQUESTS = 10
POLL_S = 0.05
DOSE_SHARE = 0.8
"""A surge of which less than this share could be sent has missed its dose."""


def surge(
    *,
    rate_rps: float | None = None,
    factor: float | None = None,
    max_duration_s: float = 60.0,
    alone: bool = False,
) -> dict[str, Json]:
    """Raise the rate of this run's traffic to *rate_rps*, or to *factor* times the plan's.

    Args:
        rate_rps: Requests a second, above the plan's and at most the traffic's ``rate_max_rps``.
        factor: The same as a multiple of the plan's rate, > 1; give one of the two.
        max_duration_s: The surge ends after this, whatever happens.
        alone: If it does not land, leave the run's other faults in.

    Returns:
        ``{"victims": ["http://127.0.0.1:8080"], "landed": true, "dose": {"asked": {"rate_rps": 300}, ...}}``

    Raises:
        NoTargets: No traffic runs.  Nothing was injected.
        UsageError: Not exactly one of rate and factor, or beyond what the traffic allows.  Nothing
            was injected.
        DidNotLand: The departures were measured and did not become that many.

    Undo:
        Tells the driver to go back to the plan; harmless if it has.

    Dead man:
        The reaper, and the lease that the driver itself holds.
    """
    folder = current_run().folder
    try:
        now = commands.status(folder)
    except TrafficGone as error:
        raise NoTargets(f"{error}: a surge needs the control agent.controls.traffic") from error
    wanted = _rate(now, rate_rps, factor)
    lease_s = settings_of.current().lease_s
    name = uuid.uuid4().hex
    place: dict[str, Json] = {"folder": str(folder), "name": name}
    return inject(
        fault="traffic.surge",
        victims=[_target(now["url"])],
        population=1,
        apply=lambda: _begin(folder, name, wanted, lease_s, max_duration_s),
        undo=Call(func=f"{__name__}:end", arguments=place),
        landed_check=Call(func=f"{__name__}:is_up", arguments=place),
        gone_check=Call(func=f"{__name__}:is_over", arguments=place),
        renew=Call(func=f"{__name__}:renew", arguments={**place, "lease_s": lease_s}),
        lease_s=lease_s,
        max_duration_s=max_duration_s,
        asked={"rate_rps": wanted},
        alone=alone,
    )


def _rate(now: dict[str, Any], rate_rps: float | None, factor: float | None) -> float:
    """Return the rate that is meant, refused before anything is recorded where the driver would refuse it."""
    if (rate_rps is None) == (factor is None):
        raise UsageError("give either rate_rps or factor, and not both")
    plan, most = float(now["plan_rate_rps"]), float(now["rate_max_rps"])
    wanted = rate_rps if rate_rps is not None else (factor or 0.0) * plan
    if not plan < wanted <= most:
        raise UsageError(
            f"a surge is to a rate above the plan's, {plan:g} rps, and at most the traffic's rate_max_rps, "
            f"{most:g}; not {wanted:g}"
        )
    return wanted


def _begin(folder: Path, name: str, rate_rps: float, lease_s: float, max_duration_s: float) -> None:
    commands.begin_surge(folder, name=name, rate_rps=rate_rps, lease_s=lease_s, max_duration_s=max_duration_s)


def _target(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def is_up(*, folder: str, name: str) -> Fact:
    """Tell whether more requests leave than the plan's rate would send: half of what was asked on top."""
    deadline = time.monotonic() + LAND_WITHIN_S
    while True:
        now = commands.status(Path(folder))
        dose = now["surge"]
        if dose is None or dose["name"] != name:
            return Fact(holds=False, says="the surge is over already")
        measured = _measured(dose)
        enough = (now["plan_rate_rps"] + dose["rate_rps"]) / 2
        seen = dose["lasted_s"] >= SEEN_S and dose["sent"] >= SEEN_REQUESTS
        if seen and measured["rate_rps"] >= enough:
            return Fact(holds=True, measured=measured)
        if time.monotonic() > deadline:
            says = f"{measured['rate_rps']:.1f} rps leave, {dose['rate_rps']:g} were asked for"
            return Fact(holds=False, says=says, measured=measured)
        time.sleep(POLL_S)


def end(*, folder: str, name: str) -> Fact | None:
    """Undo: go back to the plan; tell how much was sent, and None where nothing of it is left."""
    try:
        dose = commands.end_surge(Path(folder), name=name)
    except TrafficGone:
        return None
    if dose is None or dose["lasted_s"] < SEEN_S:
        return None
    measured = _measured(dose)
    met = measured["rate_rps"] >= DOSE_SHARE * dose["rate_rps"]
    says = f"{measured['rate_rps']:.1f} rps could be sent, {dose['rate_rps']:g} were asked for"
    return Fact(holds=met, says="" if met else says, measured=measured)


def is_over(*, folder: str, name: str) -> Fact:
    """Tell whether the surge is no longer in force."""
    try:
        dose = commands.status(Path(folder))["surge"]
    except TrafficGone:
        return Fact(holds=True, says="the traffic is over, and its surge with it")
    still = dose is not None and dose["name"] == name
    return Fact(holds=not still, says="the surge is still in" if still else "")


def renew(*, folder: str, name: str, lease_s: float) -> None:
    """Extend the lease; a surge that ended is left alone."""
    commands.renew_surge(Path(folder), name=name, lease_s=lease_s)


def _measured(dose: dict[str, Any]) -> dict[str, Json]:
    lasted_s = float(dose["lasted_s"])
    rate = dose["sent"] / lasted_s if lasted_s else 0.0
    return {"rate_rps": round(rate, 2), "sent": int(dose["sent"]), "lasted_s": round(lasted_s, 3)}
