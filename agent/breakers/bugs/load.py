"""What it costs the dependency."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.breakers.bugs.detector import detector
from agent.breakers.bugs.rows import shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.breakers.bugs.detector import Evidence
    from agent.breakers.estimate import Property
    from agent.breakers.view import View


@detector(
    "retries-multiply",
    title="Retries multiply the load",
    severity="medium",
    advice="Retry around the breaker, not inside it, with a budget.",
)
def retries_multiply(view: View, properties: Mapping[str, Property]) -> Evidence | None:
    """Sends several requests for each call that fails."""
    amplification = properties["retry_amplification"]
    if amplification.low is None or amplification.low < 1.5:
        return None
    rows = view.in_fault & (view.asked.attempts > 1)
    most = amplification.more["most"]
    return shown(
        view,
        rows,
        f"{amplification.estimate:.1f} requests for each call let through under a fault, up to {most}",
    )
