"""What is said over the stream: one JSON object a line, orders in, facts out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from agent.clients import nft
from agent.faults.packet_scope import LONGEST_S, Scope, parse
from agent.model import UsageError

if TYPE_CHECKING:
    from agent.model import Json

RENEW: dict[str, Json] = {"do": "renew"}
HEAL: dict[str, Json] = {"do": "heal"}
SHORTEST_LEASE_S, LONGEST_LEASE_S = 0.2, 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """The first line: lose *loss_fraction* of the packets in *scope*.

    ``lease_s`` is how long it lasts without a beat, ``max_duration_s`` how long at most.
    """

    table: str
    scope: Scope
    loss_fraction: float
    lease_s: float
    max_duration_s: float

    def to_json(self) -> dict[str, Json]:
        """Return the line."""
        scope = self.scope
        return {
            "do": "cut",
            "table": self.table,
            "networks": [str(network) for network in scope.networks],
            "spared": [str(network) for network in scope.spared],
            "spares_dns": scope.spares_dns,
            "port": scope.port,
            "protocol": scope.protocol,
            "direction": scope.direction,
            "loss_fraction": self.loss_fraction,
            "lease_s": self.lease_s,
            "max_duration_s": self.max_duration_s,
        }

    @classmethod
    def read(cls, line: bytes) -> Self:
        """Return the order in *line*.

        Raises:
            UsageError: It is none; whoever sent it is of another version.
        """
        try:
            raw = json.loads(line)
            order = cls(
                table=str(raw["table"]),
                scope=_scope(raw),
                loss_fraction=float(raw["loss_fraction"]),
                lease_s=float(raw["lease_s"]),
                max_duration_s=float(raw["max_duration_s"]),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f"not an order of this version: {error!r}") from error
        if not order.table.removeprefix(nft.PREFIX).isalnum() or not order.table.startswith(nft.PREFIX):
            raise UsageError(f"table: {order.table!r} is not one of this agent's")
        if not SHORTEST_LEASE_S <= order.lease_s <= LONGEST_LEASE_S:
            raise UsageError(f"lease_s: {order.lease_s:g} is not {SHORTEST_LEASE_S:g} to {LONGEST_LEASE_S:g}")
        if not 0 < order.max_duration_s <= LONGEST_S or not 0 < order.loss_fraction <= 1:
            raise UsageError("max_duration_s or loss_fraction is out of range")
        return order


def _scope(raw: dict[str, Any]) -> Scope:
    return Scope(
        networks=parse(raw["networks"]),
        spared=parse(raw["spared"]),
        spares_dns=bool(raw["spares_dns"]),
        port=None if raw["port"] is None else int(raw["port"]),
        protocol=str(raw["protocol"]),
        direction=str(raw["direction"]),
    )
