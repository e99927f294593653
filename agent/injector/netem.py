"""Packets of this pod that are held back by netem: nftables chooses them, and so the kernel lets go of them.

The qdisc holds only what a rule has given its class to; when the lease is over no rule does, whoever is
dead by then, and the qdisc that is left holds nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent.clients import netns, nft, tc
from agent.faults.kernel import delays, rules
from agent.model import Fact, Unsupported

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agent.faults.kernel.scope import Network, Scope
    from agent.injector.orders import Hold
    from agent.model import Json

_OPENED = {"egress": "ct direction original ", "ingress": "ct direction reply ", "both": ""}


class Netem:
    """A delay of what leaves this pod; see :class:`~agent.injector.breaking.Breaking`."""

    def __init__(self, order: Hold) -> None:
        self._order = order
        self._space = netns.own()
        self._handle = delays.fresh_handle()
        self._amount = {name: float(order.toxic.get(name, 0.0)) for name in ("latency_ms", "jitter_ms")}
        self._devices: list[str] = []

    def check(self) -> None:
        """Let the kernel verify the rules, and look for queueing disciplines of somebody else's.

        Whether this kernel has netem is found out by :meth:`put`: there is no device to try it on.
        """
        nft.check(self._space, self._script())
        for device in tc.links():
            delays.refuse_foreign(device, tc.qdiscs(device))

    def put(self) -> Fact:
        """Put an idle netem on every interface, then give it packets.

        Raises:
            Unsupported: This kernel has none; nothing is left.
        """
        self._devices = list(tc.links())
        try:
            for device in self._devices:
                tc.tc(delays.qdisc_commands(device, self._handle, **self._amount))
        except tc.TcError as error:
            self._take_off()
            if "kind is unknown" not in str(error):
                raise
            raise Unsupported("unsupported: this kernel has no netem") from error
        nft.run(self._space, self._script())
        scope = self._order.scope
        whither: dict[str, Any] = {"address": "", "port": None}
        whither |= delays.round_trip(scope) if scope.networks else {}
        return delays.landed(
            path=self._space.path,
            inode=self._space.inode,
            handle=self._handle,
            devices=self._devices,
            latency_ms=self._amount["latency_ms"],
            jitter_ms=self._amount["jitter_ms"],
            **whither,
        )

    def _script(self) -> str:
        return script(
            self._order.table,
            self._order.scope,
            handle=self._handle,
            lease_s=self._order.lease_s,
            max_duration_s=self._order.max_duration_s,
        )

    def renew(self) -> Fact:
        """Renew the kernel's lease."""
        try:
            nft.run(self._space, rules.renewed(self._order.table, self._order.lease_s))
        except nft.NotThereError:
            return Fact(holds=False, says="the lease has lapsed already")
        return Fact(holds=True)

    def change(self, networks: Sequence[Network]) -> None:
        """Hold what goes to *networks*, and nothing else."""
        nft.run(self._space, rules.with_peers(self._order.table, networks))

    def news(self) -> Mapping[str, Json]:
        """Return nothing; what was held is told at the end."""
        return {}

    def remove(self) -> Fact | None:
        """Give it no packets any more, then take it off; what it holds at that moment is lost."""
        found = nft.table(self._space, self._order.table)
        nft.delete(self._space, self._order.table)
        self._take_off()
        if found is None:
            return None
        held = found.packets["met"]
        says = "" if held > delays.OWN_PACKETS else "met no traffic but the agent's own"
        return Fact(holds=not says, says=says, measured={"packets_delayed": held})

    def _take_off(self) -> None:
        for device in self._devices:
            tc.delete_root(device, self._handle)


def script(table: str, scope: Scope, *, handle: str, lease_s: float, max_duration_s: float) -> str:
    """Return the transaction that gives what leaves in *scope* to the fourth band of qdisc *handle*.

    Its direction is that of a connection: ``egress`` if the pod opened it.

    Source:
        tc-prio(8): a packet whose priority names a class of the qdisc goes there, without any filter.
    """
    chain = f"inet {table} leaves"
    lines = rules.begin(table, scope, counters=("met",))
    lines += [f"add chain inet {table} fault", *rules.while_armed(table, "fault")]
    lines.append(f"add rule inet {table} fault counter name met meta priority set {handle}4")
    lines.append(f"add chain {chain} {{ type filter hook postrouting priority 0; policy accept; }}")
    lines += [f"add rule {chain} {match} return" for match in rules.spared(scope, "egress")]
    opened = _OPENED[scope.direction]
    ends = {"egress": ("dport",), "ingress": ("sport",), "both": ("dport", "sport")}[scope.direction]
    lines += [
        f"add rule {chain} {opened}{match} jump fault" for match in rules.matches(scope, "daddr", ends=ends)
    ]
    lines += rules.arm(table, lease_s=lease_s, max_duration_s=max_duration_s)
    return "\n".join(lines) + "\n"
