"""Reasons not to start, each one sentence; a gate that raises refuses."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from agent.catalog.experiment import Fault
    from agent.store import Store

type Gate = Callable[[], str | None]


def ask(gates: Iterable[Gate]) -> str | None:
    """Return the first reason not to start, or None when every gate is open."""
    for gate in gates:
        try:
            if why := gate():
                return why
        except Exception as error:  # noqa: BLE001  # boundary: a gate that cannot tell must refuse
            return f"{getattr(gate, '__name__', 'a gate')} could not tell: {error}"
    return None


def not_halted(store: Store) -> Gate:
    """Return the gate that is closed while the kill switch is on."""

    def halted() -> str | None:
        reason = store.halted()
        return f"Halted: {reason}; `gameday resume` lifts it." if reason is not None else None

    return halted


def nothing_left_broken(store: Store) -> Gate:
    """Return the gate that is closed while an earlier fault is not known to be gone."""

    def left_broken() -> str | None:
        stuck = [i for i in store.injections(open_only=True) if i.state == "not_recovered"]
        if not stuck:
            return None
        names = ", ".join(f"{i.fault} of run {i.run}" for i in stuck[:5])
        return f"Not recovered from earlier: {names}; `gameday heal --all` first."

    return left_broken


def fits_a_job(faults: Iterable[Fault]) -> Gate:
    """Return the gate that is closed to faults without a dead man in the cluster.

    The pod of a Job may vanish with its node, and the reaper and the ledger in it.  A module of faults
    says ``IN_A_JOB = True`` when all of its faults end without them.
    """

    def unfit() -> str | None:
        found = [each for each in faults if not getattr(_module(each), "IN_A_JOB", False)]
        if not found:
            return None
        names = ", ".join(f"{each.name} ({each.call.func})" for each in found)
        return (
            f"{names}: has no dead man outside the pod that would play it, so it may not run in a Job; "
            "GAMEDAY_EXECUTOR=process plays it here."
        )

    return unfit


def _module(fault: Fault) -> object:
    return importlib.import_module(fault.call.module)
