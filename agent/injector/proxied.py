"""A toxic on the connections of this pod: they are led through a proxy in here."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from agent.clients import netns, nft
from agent.faults.kernel import rules as packet_rules
from agent.faults.kernel.cuts import DISCARD_PORT
from agent.injector import redirects
from agent.injector.proxying import Proxy
from agent.injector.sockets import listening, own_addresses
from agent.model import Fact, Unsupported

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agent.clients.nft import Table
    from agent.faults.kernel.scope import Network
    from agent.injector.orders import Hold
    from agent.model import Json

ARRIVALS_MAX = 500
"""Entries of the arrival log with one beat; later ones are only counted, in ``arrivals_seq``."""
SLACK_MS = 1.0


class Proxied:
    """A redirect and the proxy behind it; see :class:`~agent.injector.breaking.Breaking`."""

    def __init__(self, order: Hold) -> None:
        self._order = order
        self._space = netns.own()
        self._listening = listening()
        times = {"lease_s": order.lease_s, "max_duration_s": order.max_duration_s}
        toxic = {**order.toxic, **times} if order.toxic else None
        self._proxy = Proxy(toxic, everywhere=order.scope.direction != "egress")
        self._told = 0

    def check(self) -> None:
        """Let the kernel verify the rules; of other protocols than TCP a proxy knows nothing."""
        if self._order.scope.protocol == "udp":
            raise Unsupported("unsupported: without netem only TCP can be held")
        nft.check(self._space, self._script(1))

    def put(self) -> Fact:
        """Start the proxy, then lead connections to it, and send one of our own."""
        self._proxy.start()
        nft.run(self._space, self._script(self._proxy.port))
        return self._landed()

    def _script(self, port: int) -> str:
        return redirects.script(
            self._order.table,
            replace(self._order.scope, protocol="tcp"),
            port=port,
            resets=self._order.resets,
            listening=self._listening,
            lease_s=self._order.lease_s,
            max_duration_s=self._order.max_duration_s,
        )

    def _landed(self) -> Fact:
        address = self._somebody()
        if address is None:
            return Fact(holds=True, measured={"own_round_trip_ms": None})
        took_ms = self._proxy.own_round_trip_ms(address, self._order.scope.port or DISCARD_PORT)
        if took_ms is None:
            return Fact(holds=False, says=f"a connection to {address} was not led through the proxy")
        toxic = self._order.toxic
        least = float(toxic.get("latency_ms", 0.0)) - float(toxic.get("jitter_ms", 0.0)) - SLACK_MS
        says = "" if took_ms >= least else f"a round trip took {took_ms:.1f} ms, less than {least:g}"
        return Fact(holds=not says, says=says, measured={"own_round_trip_ms": round(took_ms, 2)})

    def _somebody(self) -> str | None:
        """Return an address to try, if what the pod opens is in scope and the peers are known by address."""
        if self._order.scope.direction == "ingress":
            return None
        mine = own_addresses(self._order.scope.networks)
        for network in self._order.scope.networks:
            if network not in mine:
                return str(network[min(1, network.num_addresses - 1)])
        return None

    def renew(self) -> Fact:
        """Renew the lease in the kernel, and that of the toxic."""
        if not self._proxy.renew(self._order.lease_s):
            return Fact(holds=False, says="the lease has lapsed already")
        try:
            nft.run(self._space, packet_rules.renewed(self._order.table, self._order.lease_s))
        except nft.NotThereError:
            return Fact(holds=False, says="the lease has lapsed already")
        return Fact(holds=True)

    def change(self, networks: Sequence[Network]) -> None:
        """Lead connections with *networks* through the proxy, and no others that are opened from now on."""
        nft.run(self._space, packet_rules.with_peers(self._order.table, networks))

    def news(self) -> Mapping[str, Json]:
        """Return what arrived since the last beat."""
        entries, seq = self._proxy.arrivals(self._told, ARRIVALS_MAX)
        self._told = seq
        return {"arrivals": list(entries), "arrivals_seq": seq} if entries else {}

    def remove(self) -> Fact | None:
        """Lead nobody here any more, then end the proxy and what goes through it, then the table.

        In this order, because with the last rule the kernel stops to translate the connections that are
        still there, and nobody would hear of their end.
        """
        with suppress(nft.NotThereError):  # lapsed
            nft.run(self._space, packet_rules.disarmed(self._order.table))
        told = self._proxy.end() if self._proxy.port else None
        found = nft.table(self._space, self._order.table)
        nft.delete(self._space, self._order.table)
        return None if told is None else self._dose(found, *told)

    def _dose(self, table: Table | None, dose: Mapping[str, float], ended: int) -> Fact:
        fails = self._order.toxic["kind"] == "fail_requests"
        measured: dict[str, Json] = {
            **self._connections(table, ended),
            "failed" if fails else "held": dose["n"],
            **{name: value for name, value in dose.items() if name.startswith("held_")},
        }
        says = ""
        if not dose["n"]:
            says = f"met no traffic on the {measured['connections']} connections that were opened meanwhile"
            says = "failed no request; it knows HTTP/1.1 without TLS" if fails else says
        return Fact(holds=not says, says=says, measured=measured)

    def _connections(self, table: Table | None, ended: int) -> dict[str, Json]:
        packets = table.packets if table else {"met": 0, "resets": 0}
        own = 0 if self._order.scope.direction == "ingress" else 1
        return {
            "connections": max(0, packets["met"] - own),
            "connections_reset": packets["resets"],
            "connections_ended_by_healing": ended,
        }
