"""How long a fault, and what it waits for, may take: the ranges of these arguments."""

from __future__ import annotations

from agent.model import UsageError

LONGEST_S = 86400.0
"""A fault that is meant to last longer than a day is a mistake."""
WAIT_MAX_S = 600.0


def check_duration(max_duration_s: float) -> None:
    """Refuse a *max_duration_s* that is no time or longer than a day.

    Raises:
        UsageError: It is.
    """
    if not 0 < max_duration_s <= LONGEST_S:
        raise UsageError(f"max_duration_s: {max_duration_s!r} is not above 0 and at most {LONGEST_S:g}")


def check_wait(wait_s: float) -> None:
    """Refuse a *wait_s* that is no time or longer than ten minutes.

    Raises:
        UsageError: It is.
    """
    if not 0 <= wait_s <= WAIT_MAX_S:
        raise UsageError(f"wait_s: {wait_s!r} is not between 0 and {WAIT_MAX_S:g}")


def check_grace_period(grace_period_s: int | None) -> None:
    """Refuse a *grace_period_s* below 0; None leaves it to the pod.

    Raises:
        UsageError: It is.
    """
    if grace_period_s is not None and grace_period_s < 0:
        raise UsageError(f"grace_period_s: {grace_period_s!r} is below 0")
