"""Which answers it takes for failures that are none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.breakers.bugs.detector import detector
from agent.breakers.bugs.rows import shown, under
from agent.breakers.states import State

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.breakers.bugs.detector import Evidence
    from agent.breakers.estimate import Property
    from agent.breakers.view import View


@detector(
    "client-errors-open-it",
    title="Client errors open it",
    severity="high",
    advice="Count only answers that say something about the dependency's health.",
)
def client_errors_open_it(view: View, _: Mapping[str, Property]) -> Evidence | None:
    """Cuts off a healthy dependency because it said 404."""
    rows = view.rows(State.OPEN) & under(view, "not-found") & ~view.asked.forwarded
    if rows.sum() < 3:
        return None
    return shown(view, rows, f"{int(rows.sum())} calls were rejected while the dependency answered 404")
