"""Breakers that take one path's failures for another's; told from several links or keys together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.breakers.bugs.detector import Bug, Evidence
from agent.breakers.measures import isolation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.breakers.measures.isolation import Collateral


SHARED_OVER_KEYS = Bug(
    bug="shared-over-keys",
    title="One breaker for all of them",
    severity="high",
    advice="Give each shard, tenant or host a breaker of its own.",
)
SHARED_STATE = Bug(
    bug="shared-state-poisons-all",
    title="One bad path opens the breakers of all replicas",
    severity="high",
    advice="Keep the state in each replica, or share only what all of them see.",
)


def across(found: Sequence[Collateral]) -> dict[Bug, Evidence]:
    """Return what the paths' *found* collateral shows."""
    shown: dict[Bug, Evidence] = {}
    for each in sorted(found, key=lambda each: each.low):
        if each.low > each.limit:
            bug = SHARED_STATE if each.spread else SHARED_OVER_KEYS
            shown[bug] = Evidence(says=isolation.said(each), calls=each.calls, span=each.span)
    return shown
