"""Towards whom a pod's network fails: what the arguments of a fault say, as packets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from agent.faults.inside.peers import HOST, PODS, SERVICE, addresses_of, api_server
from agent.faults.kernel import scope as packet_scope
from agent.faults.kernel.rules import DNS_PORT
from agent.model import UsageError

if TYPE_CHECKING:
    from agent.clients.kubernetes import Api
    from agent.faults.kernel.scope import Network, Scope


@dataclass(frozen=True, slots=True, kw_only=True)
class Far:
    """Towards whom, as the arguments of a fault say it."""

    peers: tuple[str, ...]
    port: int | None
    protocol: str
    direction: str

    @property
    def hosts(self) -> tuple[str, ...]:
        """The peers by name, for the pod's own resolver."""
        return tuple(each.removeprefix(HOST) for each in self.peers if each.startswith(HOST))

    @property
    def moves(self) -> bool:
        """Whether the cluster may give a peer another address."""
        return any(each.startswith((SERVICE, PODS)) for each in self.peers)

    def networks(self, api: Api, namespace: str) -> tuple[Network, ...]:
        """Return the addresses of the peers by now, hosts left out.

        Raises:
            NoTargets: A peer has none.
        """
        named = [each for each in self.peers if not each.startswith(HOST)]
        return packet_scope.parse(addresses_of(api, namespace, named))

    def scope(self, api: Api, namespace: str) -> Scope:
        """Return the packets meant, sparing DNS and the API server unless they are what is named.

        Raises:
            UsageError: An argument makes no sense.
            NoTargets: A peer has no address.
            Refused: The API server cannot be spared.
        """
        if any(not host for host in self.hosts):
            raise UsageError("peers: host/ needs a name, such as host/db.example.com")
        networks = self.networks(api, namespace)
        port = self.port if self.port is not None or not self.hosts or networks else 1
        meant = packet_scope.scope(
            peers=[str(each) for each in networks],
            port=port,
            protocol=self.protocol,
            direction=self.direction,
        )
        meant = replace(meant, networks=networks, port=self.port)
        wide = [network for network in meant.networks if network.num_addresses > 1]
        spared = api_server(api) if wide or not (meant.networks or self.hosts) else ()
        kept = tuple(each for each in spared if each not in meant.networks)
        return replace(meant, spared=kept, spares_dns=self.port != DNS_PORT)

    def victims(self, scope: Scope) -> tuple[str, ...]:
        """Return the peers as an operator writes them."""
        port = f":{self.port}" if self.port else ""
        named = tuple(f"{host}{port}" for host in self.hosts)
        return (*(scope.victims if scope.networks or not named else ()), *named)
