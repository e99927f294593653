"""Whether a host that fails is left alone, where others can serve the calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.breakers.bugs.detector import detector
from agent.breakers.bugs.rows import shown, under
from agent.breakers.machines.ejections import ELSEWHERE, QUIET, WELL_SHARE
from agent.breakers.machines.kinds import Kind
from agent.breakers.measures.timing import ENOUGH_FAILURES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.breakers.bugs.detector import Evidence
    from agent.breakers.measures.estimate import Property
    from agent.breakers.streams import FaultWindow
    from agent.breakers.view import View

KINDS = ("error", "hang", "reset")
AS_BEFORE = 0.8
"""Under a fault it receives at least this share of what it received before."""


@detector(
    "never-ejected",
    title="A host that fails goes on receiving",
    severity="high",
    advice="Let at least one host be ejected whatever the cap on their share, and mind the panic threshold.",
    stateless=True,
)
def never_ejected(view: View, _: Mapping[str, Property]) -> Evidence | None:
    """Leaves a host in that fails every call, though others serve theirs.

    Source:
        As of :func:`agent.breakers.machines.recognition.recognise`: n exp(-rate t) for a silence of t among
        n arrivals.
    """
    if not view.faults or view.machine.three_state or view.machine.kind is Kind.EJECTION:
        return None
    if view.baseline.aside_share < ELSEWHERE or not _served_elsewhere(view):
        return None
    for fault in (each for each in view.faults if each.kind in KINDS):
        failed = _failed_as_before(view, fault)
        if failed:
            rows = under(view, fault.kind) & view.asked.forwarded & ~view.asked.good
            return shown(
                view,
                rows,
                f"{failed} requests failed on this host ({fault.kind}), which received as many as before; "
                f"others served {view.baseline.aside_share:.0%} of all calls",
            )
    return None


def _served_elsewhere(view: View) -> bool:
    """Whether the calls that did not come here in the calm came out well: others had them, and no limit."""
    decisions = view.decisions
    calm = ~decisions.forwarded & (decisions.at < min(each.began for each in view.faults))
    well = view.calls.good[decisions.call[calm]]
    return len(well) > 0 and float(well.mean()) >= WELL_SHARE


def _failed_as_before(view: View, fault: FaultWindow) -> int:
    """Return how many requests failed under *fault*, 0 where they became fewer or paused."""
    at, first = np.sort(view.arrivals.at), min(each.began for each in view.faults)
    calm = at[at < first]
    met = at[(at >= fault.began) & (at <= fault.ended)]
    if len(calm) < ENOUGH_FAILURES or len(met) < ENOUGH_FAILURES:
        return 0
    rate = len(calm) / float(calm[-1] - calm[0])
    gaps = np.diff(np.concatenate([[fault.began], met, [fault.ended]]))
    fewer = len(met) < AS_BEFORE * rate * (fault.ended - fault.began)
    if fewer or len(met) * np.exp(-rate * float(gaps.max())) < QUIET:
        return 0
    bad = (view.arrivals.at >= fault.began) & (view.arrivals.at <= fault.ended) & ~view.arrivals.good
    return int(bad.sum()) if bad.sum() >= ENOUGH_FAILURES else 0
