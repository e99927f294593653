"""Who carries out which order; each is imported only when it is wanted, since a pod waits for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.injector.orders import Cut, Fill, Hold, Kill, Lead, Order, Stress

if TYPE_CHECKING:
    from agent.injector.breaking import Breaking


def breaking_of(order: Order) -> Breaking:
    """Return what carries out *order*."""
    if isinstance(order, Cut):
        from agent.injector.cuts import CutOff  # noqa: PLC0415

        return CutOff(order)
    if isinstance(order, Lead):
        from agent.injector.leads import Led  # noqa: PLC0415

        return Led(order)
    if isinstance(order, Hold):
        from agent.injector.holds import Held  # noqa: PLC0415

        return Held(order)
    if isinstance(order, Stress):
        from agent.injector.stress import Stressed  # noqa: PLC0415

        return Stressed(order)
    if isinstance(order, Fill):
        from agent.injector.fills import Filled  # noqa: PLC0415

        return Filled(order)
    if isinstance(order, Kill):
        from agent.injector.kills import Killed  # noqa: PLC0415

        return Killed(order)
    raise AssertionError(order)
