"""Provokes a storm: a short trigger under a load that is held, then the load alone.

The trigger and every raised load go through the one door, as faults of :mod:`agent.faults.links` and
:mod:`agent.faults.traffic`; nothing here breaks anything by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.breakers.storms import hysteresis
from agent.breakers.storms.storm import Outcome, Pace, Rules
from agent.faults.exercise.storm import Recorder, Storm, Trigger
from agent.model import NoEvidence, UsageError
from agent.safety.context import current_run

if TYPE_CHECKING:
    from agent.breakers.storms.answer import Level
    from agent.model import Json

SWEEP_MAX_LEVELS = 12


def provoke(
    *,
    link: str,
    trigger: str = "latency",
    trigger_s: float = 3.0,
    latency_ms: float = 1000.0,
    surge_factor: float = 3.0,
    baseline_s: float = 10.0,
    watch_s: float = 20.0,
    lowered_max_s: float = 40.0,
    restored_s: float = 6.0,
    good_share: float = 0.9,
    prompt_s: float = 5.0,
    proxy: str | None = None,
) -> dict[str, Json]:
    """Trigger an outage for a moment while the load is held, and see whether it ends with its trigger.

    If the goodput does not come back, the load is lowered and restored, to tell what keeps it down.
    Leaves ``storm.json`` (docs/storms.md) in the run's folder.

    Args:
        link: The one link between the service and its dependency.
        trigger: ``latency``, ``error``, ``hang``, ``refuse`` or ``reset`` on the link, or ``surge``, a
            burst of the load itself.
        trigger_s: How long it lasts.
        latency_ms: Of the trigger ``latency``; more than the service waits for its dependency.
        surge_factor: Of the trigger ``surge``: so many times the load, within the traffic's
            ``rate_max_rps``.
        baseline_s: Seconds of calm before it.
        watch_s: How long the goodput is waited for at the same load.
        lowered_max_s: How long it is waited for at a lower load.
        restored_s: How long the restored load is watched.
        good_share: The share of the calls that has to come out well; 0 to 1.
        prompt_s: A goodput that is back within this time has recovered, a later one has drained.
        proxy: The proxy's API; default: the setting, else the proxy of this home.

    Returns:
        ``{"answer": "...", "outcome": "metastable"}``; on the leash what the trigger returns.

    Raises:
        UsageError: No such trigger.  Nothing was injected.
        NoTargets: No such link, or no traffic.  Nothing was injected.
        NoEvidence: None of the traffic comes over the link, or the goodput was lost before anything was
            done (which is what ``storm.json`` then says).  Nothing was injected.
        Refused, DidNotLand: As the trigger's own fault raises them.

    Undo:
        The trigger's own; it is taken out after *trigger_s*.

    Dead man:
        The trigger's own: the reaper, and the lease that proxy or driver hold.
    """
    pace = Pace(
        baseline_s=baseline_s,
        trigger_s=trigger_s,
        watch_s=watch_s,
        lowered_max_s=lowered_max_s,
        restored_s=restored_s,
    )
    what = Trigger(
        kind=trigger,
        for_s=trigger_s,
        latency_ms=latency_ms if trigger == "latency" else None,
        factor=surge_factor if trigger == "surge" else None,
    )
    if current_run().leashed:
        return what.begin(link, proxy)
    recorder = Recorder(link, proxy)
    storm = Storm(recorder, pace, Rules(good_share=good_share, prompt_s=prompt_s), what, proxy)
    level = storm.play(recorder.plan_rps)
    told = storm.answer([level], swept=False)
    if level.judged.outcome is Outcome.TRIPPED:
        raise NoEvidence(level.judged.says)  # nothing was injected, so there is no verdict on a fault
    return told


def sweep(
    *,
    link: str,
    high_rps: float,
    precision_rps: float | None = None,
    trigger: str = "latency",
    trigger_s: float = 3.0,
    latency_ms: float = 1000.0,
    baseline_s: float = 6.0,
    watch_s: float = 12.0,
    lowered_max_s: float = 40.0,
    restored_s: float = 4.0,
    good_share: float = 0.9,
    prompt_s: float = 5.0,
    proxy: str | None = None,
) -> dict[str, Json]:
    """Find the load at which the trigger becomes an outage that stays: between the plan's and *high_rps*.

    Begins with the plan's load, then *high_rps*, then halves what lies between; each raised load is a
    surge, and between two of them the load is low until the goodput is back.  A level that tells
    nothing, or that does not recover at a low load, ends it.

    Args:
        link: The one link between the service and its dependency.
        high_rps: The highest load that may be offered; at most the traffic's ``rate_max_rps``.
        precision_rps: How narrow the bracket has to become; default: a tenth of what is swept.
        trigger: As for :func:`provoke`, without ``surge``; and so are the rest, Returns and Raises.
        trigger_s: See :func:`provoke`.
        latency_ms: See :func:`provoke`.
        baseline_s: Of each level.
        watch_s: See :func:`provoke`.
        lowered_max_s: See :func:`provoke`.
        restored_s: See :func:`provoke`.
        good_share: See :func:`provoke`.
        prompt_s: See :func:`provoke`.
        proxy: See :func:`provoke`.

    Undo:
        Those of the trigger and of the surge; the load goes back to the plan's.

    Dead man:
        Theirs: the reaper, and the leases that proxy and driver hold.
    """
    pace = Pace(
        baseline_s=baseline_s,
        trigger_s=trigger_s,
        watch_s=watch_s,
        lowered_max_s=lowered_max_s,
        restored_s=restored_s,
    )
    if trigger == "surge":
        raise UsageError("a sweep raises the load itself; its trigger is one on the link")
    what = Trigger(kind=trigger, for_s=trigger_s, latency_ms=latency_ms if trigger == "latency" else None)
    if current_run().leashed:
        return what.begin(link, proxy)
    recorder = Recorder(link, proxy)
    low = recorder.plan_rps
    if not low < high_rps <= recorder.rate_max_rps:
        raise UsageError(
            f"high_rps is above the plan's rate, {low:g} rps, and at most the traffic's rate_max_rps, "
            f"{recorder.rate_max_rps:g}; not {high_rps:g}"
        )
    storm = Storm(recorder, pace, Rules(good_share=good_share, prompt_s=prompt_s), what, proxy)
    return _bisect(storm, low, high_rps, precision_rps or (high_rps - low) / 10)


def _bisect(storm: Storm, low: float, high: float, precision_rps: float) -> dict[str, Json]:
    levels: list[Level] = []
    while len(levels) < SWEEP_MAX_LEVELS:
        tried = [(level.rate_rps, level.judged.outcome) for level in levels]
        rate = hysteresis.next_rate(tried, low=low, high=high, precision_rps=precision_rps)
        if rate is None or (levels and not storm.calm_down()):
            break
        levels.append(storm.play(rate))
        storm.answer(levels, swept=True)
    return storm.answer(levels, swept=True)
