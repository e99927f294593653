"""Which answers it takes for failures that are none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.breakers.bugs.detector import detector
from agent.breakers.bugs.rows import opened_under, shown, under
from agent.breakers.courses.states import State
from agent.breakers.exercise.protocol import patience_of_service_s
from agent.breakers.measures.timing import ENOUGH_FAILURES
from agent.breakers.streams import Outcome
from agent.breakers.view import GUARD_S

LONGEST_S = 10.0

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.breakers.bugs.detector import Evidence
    from agent.breakers.courses.states import Transition
    from agent.breakers.measures.estimate import Property
    from agent.breakers.streams import Phase
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


@detector(
    "client-errors-mask-failures",
    title="Client errors keep it from opening",
    severity="medium",
    advice="Let a 4xx neither count nor set the count back: it says nothing about the dependency's health.",
    whole=True,
)
def client_errors_mask_failures(view: View, properties: Mapping[str, Property]) -> Evidence | None:
    """Takes a 404 for a success, which sets back the count of failures."""
    count = properties["failures_to_open"]
    if not view.phases_of("interleaved") or not count.more.get("constant") or count.high is None:
        return None
    rows = under(view, "interleaved") & view.asked.forwarded & ~view.asked.good
    if opened_under(view, "interleaved") or rows.sum() < max(ENOUGH_FAILURES, 10 * count.high):
        return None
    others = int((under(view, "interleaved") & view.asked.forwarded & view.asked.good).sum())
    return shown(
        view,
        rows,
        f"{count.high:.0f} failures in a row open it, and {int(rows.sum())} among {others} answers of 404 "
        "did not",
    )


@detector(
    "cancelled-calls-open-it",
    title="Callers that give up open it",
    severity="high",
    advice="Let a call that its caller cancelled count neither as a failure nor as a success.",
    whole=True,
)
def cancelled_calls_open_it(view: View, _: Mapping[str, Property]) -> Evidence | None:
    """Opens on a healthy dependency because callers go away before they are answered."""
    for phase in view.phases_of("cancel"):
        step = next((t for _, _, t in view.steps_of(State.CLOSED, State.OPEN) if _during(phase, t)), None)
        if step is None or phase.timeout_s is None:
            continue
        asked = view.asked
        rows = asked.forwarded & ~asked.good & (asked.at >= phase.began) & (asked.at <= step.before)
        given_up = view.calls.outcome[asked.call[rows]] == Outcome.TIMEOUT
        rejected = view.rows(State.OPEN) & (asked.at >= step.before) & ~asked.forwarded
        if rows.sum() < 3 or rejected.sum() < 3 or not given_up.all() or _fails(view, phase, step):
            continue
        return shown(
            view,
            rows,
            f"it opened after {int(rows.sum())} callers had given up after {phase.timeout_s * 1000:.0f} ms; "
            "no request had failed, and none had lasted as long as the service itself waits",
        )
    return None


def _during(phase: Phase, step: Transition) -> bool:
    return phase.began < step.before <= phase.ended


def _fails(view: View, phase: Phase, step: Transition) -> bool:
    """Whether the dependency did anything between the two that a breaker should count."""
    came = view.arrivals
    rows = (came.at >= phase.began - LONGEST_S) & (came.ended <= step.before + GUARD_S)
    rows &= came.ended >= phase.began
    patience = patience_of_service_s(view.plain)
    return bool(((came.status >= 500) | (came.ended - came.at >= 0.8 * patience))[rows].any())
