"""Packets of this pod that are lost: an nftables table, which the kernel itself disarms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent.clients import netns, nft
from agent.faults.kernel import cuts
from agent.faults.kernel import rules as packet_rules

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agent.faults.kernel.scope import Network
    from agent.injector.orders import Cut
    from agent.model import Fact, Json


class CutOff:
    """A cut; see :class:`~agent.injector.breaking.Breaking`."""

    def __init__(self, order: Cut) -> None:
        self._order = order
        self._space = netns.own()
        self._held: dict[str, Any] = {
            "table": order.table,
            "path": self._space.path,
            "inode": self._space.inode,
        }
        self._script = cuts.script(
            order.table,
            order.scope,
            loss_fraction=order.loss_fraction,
            lease_s=order.lease_s,
            max_duration_s=order.max_duration_s,
        )

    def check(self) -> None:
        """Nothing beforehand: the rules are one transaction, of which the kernel takes all or nothing."""

    def put(self) -> Fact:
        """Put the rules in, and send a packet of our own into them."""
        nft.run(self._space, self._script)
        own: dict[str, Any] = cuts.own_packet(self._order.scope)
        return cuts.landed(**self._held, **own)

    def renew(self) -> Fact:
        """Renew the kernel's lease."""
        return cuts.renew(**self._held, lease_s=self._order.lease_s)

    def change(self, networks: Sequence[Network]) -> None:
        """Cut *networks* off and nobody else."""
        nft.run(self._space, packet_rules.with_peers(self._order.table, networks))

    def news(self) -> Mapping[str, Json]:
        """Return nothing; what was dropped is told at the end."""
        return {}

    def remove(self) -> Fact | None:
        """Delete the table."""
        return cuts.remove(**self._held)
