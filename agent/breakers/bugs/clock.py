"""Whether its times follow a clock that can be set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.breakers.bugs.detector import Evidence, detector
from agent.breakers.measures import trials
from agent.breakers.view import GUARD_S

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.breakers.measures.estimate import Property
    from agent.breakers.streams import Phase
    from agent.breakers.view import View

EARLY, LATE = 0.75, 1.4
"""An open time below the one share of the shortest, or above the other of the longest, was moved."""
SOON_S = 1.0
"""Once its clock is right again, what it kept back for that is let in so soon."""
TIMES = 2


@detector(
    "follows-wall-clock",
    title="Its open time follows the wall clock",
    severity="medium",
    advice="Measure the open time with a monotonic clock: a wall clock is set now and then, either way.",
    whole=True,
)
def follows_wall_clock(view: View, _: Mapping[str, Property]) -> Evidence | None:
    """Tries at once when the service's clock is set ahead, and not while it is behind."""
    usual = trials.proper_waits(view.plain)
    steps = [phase for phase in view.phases_of("clock-step") if phase.clock_s]
    if not usual or len(steps) < TIMES:
        return None
    shortest, longest = min(wait.low for wait in usual), max(wait.high for wait in usual)
    ahead = [wait for each in steps if (wait := _met(view, each)) and _is_early(wait, each, shortest)]
    behind = [wait for each in steps if (wait := _met(view, each)) and _is_late(wait, each, longest)]
    moved = [*ahead, *behind]
    alike = len(moved) >= TIMES and len(moved) == sum(_met(view, each) is not None for each in steps)
    if not alike and not (ahead and behind):  # both ways it is no chance, whatever came of a third step
        return None
    said = []
    if ahead:
        first = ahead[0]
        said.append(f"{first.high:.2f} s after it had opened when its clock was set ahead meanwhile")
    if behind:
        said.append(f"only after {behind[0].low:.1f} s when it was set back, just as it was set right")
    return Evidence(
        says=f"it tries after {shortest:.1f} s, but {', and '.join(said)}",
        span=(moved[0].opened.after, moved[0].tried.before),
    )


def _met(view: View, step: Phase) -> trials.Wait | None:
    """Return the open time into which *step* fell, if it fell into one."""
    found = [
        each
        for each in trials.waits(view)
        if each.opened.before < step.began < each.tried.before and each.tried.before < step.ended + SOON_S
    ]
    return found[0] if found else None


def _is_early(wait: trials.Wait, step: Phase, shortest: float) -> bool:
    return (step.clock_s or 0) > 0 and wait.high < EARLY * shortest


def _is_late(wait: trials.Wait, step: Phase, longest: float) -> bool:
    ended = wait.tried.before >= step.ended - SOON_S - GUARD_S
    return (step.clock_s or 0) < 0 and wait.low > LATE * longest and ended
