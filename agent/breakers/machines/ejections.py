"""An ejection: others serve the calls while this dependency is left alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.breakers.machines.kinds import Kind, Machine

if TYPE_CHECKING:
    from agent.breakers.view import View

QUIET = 1e-6
"""A silence of the dependency less likely than this is none by chance."""
WELL_SHARE = 0.95
ELSEWHERE = 0.2
"""Where a balancer has other hosts, at least this share of the calls in the baseline is served by them."""


def ejection(view: View) -> Machine | None:
    """Recognise that others serve the calls while this dependency is left alone.

    Source:
        The chance of a silence of so long in a Poisson stream, at any of its arrivals: n exp(-rate t).
    """
    if view.baseline.aside_share < ELSEWHERE or not view.faults:
        return None
    at = np.sort(view.arrivals.at)
    calm = at[at < min(fault.began for fault in view.faults)]
    if len(calm) < 2:
        return None
    rate = len(calm) / float(calm[-1] - calm[0])
    longest = int(np.argmax(np.diff(at)))
    began, ended = float(at[longest]), float(at[longest + 1])
    if len(at) * np.exp(-rate * (ended - began)) > QUIET:
        return None
    meanwhile = (view.calls.begun > began) & (view.calls.ended < ended)
    well = view.calls.good[meanwhile]
    if len(well) < 1 / (1 - WELL_SHARE) or well.mean() < WELL_SHARE:
        return None
    others = view.baseline.aside_share
    why = (
        f"the dependency was left alone for up to {ended - began:.1f} s, and {int(well.sum())} of "
        f"{len(well)} calls came out well meanwhile: others serve them, as {others:.0%} of all calls before"
    )
    return Machine(kind=Kind.EJECTION, why=why, figures={"longest_s": ended - began, "elsewhere": others})
