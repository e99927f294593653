"""The kinds of machines that there are, and what is said of the one that was recognised."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Kind(StrEnum):
    """What stands before the dependency."""

    BREAKER = "breaker"
    SLOW_CALL = "slow-call"
    NONE = "none"
    REPLICAS = "replicas"
    GRADUAL = "gradual"
    THROTTLE = "throttle"
    EJECTION = "ejection"
    SLIDING = "sliding"
    BULKHEAD = "bulkhead"
    RATE_LIMITER = "rate-limiter"
    UNCLEAR = "unclear"


THREE_STATES = (Kind.BREAKER, Kind.SLOW_CALL, Kind.NONE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The kind, one sentence of why, figures, and how sure: ``high``, ``medium`` or ``low``.

    ``figures`` has ``nats``: for each kind that was tried how well it explains the decisions (the natural
    logarithm of their chance), and what is known of the kind that is named.
    """

    kind: Kind
    why: str
    figures: Mapping[str, object] = field(default_factory=dict)
    confidence: str = "high"

    @property
    def three_state(self) -> bool:
        """Whether closed, open and half-open mean what they say; for no other machine are they told."""
        return self.kind in THREE_STATES
