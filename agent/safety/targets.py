"""Who could be hit, and who is: one seeded choice for every fault."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.model import NoTargets, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """How many of those that match are hit, as the arguments of a fault say it; one if they say nothing."""

    quantity: int | None = None
    fraction: float | None = None
    seed: int | None = None

    @property
    def count(self) -> int | None:
        """How many are wanted; None where a fraction is."""
        return 1 if self.quantity is None and self.fraction is None else self.quantity

    def of(self, candidates: Sequence[str]) -> tuple[str, ...]:
        """Return the victims among *candidates*; see :func:`choose`."""
        return choose(candidates, quantity=self.count, fraction=self.fraction, seed=self.seed)

    def wanted(self, population: int) -> int:
        """Return how many should be hit of *population*."""
        return self.count if self.count is not None else _share(self.fraction or 0.0, population)


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
        wanted = _share(fraction, len(names))
        if wanted < 1:
            raise NoTargets(f"{fraction:g} of {len(names)} targets is less than one{_list(names)}")
    import random  # noqa: PLC0415  # the injector in a pod, which chooses nobody, starts without it

    return tuple(sorted(random.Random(seed).sample(names, wanted)))


def _share(fraction: float, number: int) -> int:
    return int(fraction * number + 1e-9)


def _list(names: Sequence[str]) -> str:
    return f" ({', '.join(names[:10])})" if names else ""
