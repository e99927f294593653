"""Who could be hit, and who is: one seeded choice for every fault."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from agent.model import NoTargets, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence


def choose(
    candidates: Sequence[str],
    *,
    quantity: int | None = None,
    fraction: float | None = None,
    seed: int | None = None,
) -> tuple[str, ...]:
    """Return the victims among *candidates*, sorted.

    Args:
        candidates: Names that match; their order does not matter.
        quantity: How many, >= 1; fewer candidates than that is a refusal, not a smaller fault.
        fraction: Which share, 0 < fraction <= 1, rounded down.
        seed: Repeats the choice; None chooses anew each time.

    Raises:
        UsageError: Not exactly one of *quantity* and *fraction* was given, or it is out of range.
        NoTargets: Too few candidates, or the fraction comes to less than one.
    """
    if (quantity is None) == (fraction is None):
        raise UsageError("give either quantity or fraction, and not both")
    names = sorted(set(candidates))
    if quantity is not None:
        if quantity < 1:
            raise UsageError(f"quantity must be at least 1, not {quantity}")
        if quantity > len(names):
            raise NoTargets(f"{quantity} wanted, but only {len(names)} match{_list(names)}")
        wanted = quantity
    else:
        assert fraction is not None
        if not 0 < fraction <= 1:
            raise UsageError(f"fraction must be above 0 and at most 1, not {fraction}")
        wanted = int(fraction * len(names) + 1e-9)
        if wanted < 1:
            raise NoTargets(f"{fraction:g} of {len(names)} targets is less than one{_list(names)}")
    return tuple(sorted(random.Random(seed).sample(names, wanted)))


def _list(names: Sequence[str]) -> str:
    return f" ({', '.join(names[:10])})" if names else ""
