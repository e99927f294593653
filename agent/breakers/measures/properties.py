"""What a breaker is like, in numbers; each property is one function of a view."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.breakers.machines.kinds import Kind
from agent.breakers.measures import isolation
from agent.breakers.measures.conduct import (
    AMPLIFICATION_LIMIT,
    BUDGET_LIMIT,
    FAIL_FAST_LIMIT_MS,
    LEAK_LIMIT,
    degraded_share,
    fail_fast_p99_ms,
    half_open_budget,
    leak_share,
    recovery_overshoot,
    requests_per_call,
    retry_amplification,
)
from agent.breakers.measures.estimate import Property, Status
from agent.breakers.measures.timing import (
    failures_to_open,
    flaps,
    overhang,
    relapses,
    time_to_close_s,
    time_to_half_open_s,
    time_to_open_s,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.breakers.view import View


def measure(view: View) -> dict[str, Property]:
    """Return every property of one breaker, by name.

    Those that are about states are left open where the machine has not those three.
    """
    found = {name: function(view) for name, function in PROPERTIES.items()}
    if view.machine.three_state:
        return found
    said = "what decides is" if view.machine.kind is Kind.UNCLEAR else "no breaker with three states:"
    why = f"{said} {view.machine.kind}: {view.machine.why}"
    left_open = {
        name: Property(unit=each.unit, status=Status.INCONCLUSIVE, why=why)
        for name, each in found.items()
        if name not in STATELESS
    }
    return found | left_open


PROPERTIES: dict[str, Callable[[View], Property]] = {
    function.__name__: function
    for function in (
        failures_to_open,
        overhang,
        time_to_open_s,
        fail_fast_p99_ms,
        leak_share,
        half_open_budget,
        time_to_half_open_s,
        time_to_close_s,
        relapses,
        flaps,
        degraded_share,
        retry_amplification,
        requests_per_call,
        recovery_overshoot,
    )
}

STATELESS = ("retry_amplification",)
"""Properties that say something about any machine."""

NAMES = (*PROPERTIES, isolation.NAME)
"""Every property there is: of one stream, or of several together."""

LIMITS: dict[str, float] = {
    "fail_fast_p99_ms": FAIL_FAST_LIMIT_MS,
    "leak_share": LEAK_LIMIT,
    "half_open_budget": BUDGET_LIMIT,
    "relapses": 0,
    "flaps": 0,
    "retry_amplification": AMPLIFICATION_LIMIT,
    isolation.NAME: isolation.COLLATERAL_LIMIT,
}
"""The most that passes, for properties that have one such number."""
