"""At which load does a trigger become an endless outage: a bisection over loads, told as a bracket."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.breakers.storms.storm import FAILS, SURVIVES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.breakers.storms.storm import Outcome

type Tried = Sequence[tuple[float, Outcome]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bracket:
    """The highest load that was survived, and the lowest that was not; None where none was tried."""

    survives_rps: float | None
    fails_rps: float | None
    says: str


def next_rate(tried: Tried, *, low: float, high: float, precision_rps: float) -> float | None:
    """Return the load to try next, the least harmful first; None when the bracket is narrow enough.

    The outcome is taken to change once between *low* and *high*; a level that tells nothing ends it.
    """
    if not tried:
        return low
    if any(outcome not in (*SURVIVES, *FAILS) for _, outcome in tried):
        return None
    survived, failed = _ends(tried)
    if survived is None:
        return None
    if failed is None:
        return high if high not in [rate for rate, _ in tried] else None
    return None if failed - survived <= precision_rps else (survived + failed) / 2


def bracket(tried: Tried, *, trigger_s: float) -> Bracket:
    """Tell what the levels that were tried show."""
    survived, failed = _ends(tried)
    what = f"a trigger of {trigger_s:g} s"
    if failed is None and survived is None:
        says = f"No load was found at which {what} tells anything"
    elif failed is None:
        says = f"At no load up to {survived:g} rps {what} becomes an outage that stays"
    elif survived is None:
        says = f"At {failed:g} rps, the lowest load tried, {what} becomes an outage that stays already"
    else:
        says = f"Between {survived:g} and {failed:g} rps {what} becomes an outage that stays"
    if unclear := [rate for rate, outcome in tried if outcome not in (*SURVIVES, *FAILS)]:
        says += f"; at {unclear[0]:g} rps it could not be told"
    return Bracket(survives_rps=survived, fails_rps=failed, says=says)


def _ends(tried: Tried) -> tuple[float | None, float | None]:
    failed = min((rate for rate, outcome in tried if outcome in FAILS), default=None)
    survived = max(
        (rate for rate, outcome in tried if outcome in SURVIVES and (failed is None or rate < failed)),
        default=None,
    )
    return survived, failed
