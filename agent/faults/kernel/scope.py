"""Which packets a fault is about: peers, port, protocol and direction, checked before anything is touched."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_address, ip_network
from typing import TYPE_CHECKING

from agent.model import Refused, UsageError
from agent.safety.targets import choose

if TYPE_CHECKING:
    from collections.abc import Sequence

type Network = IPv4Network | IPv6Network

PROTOCOLS = ("tcp", "udp", "any")
DIRECTIONS = ("ingress", "egress", "both")
ANYBODY = "*"
SSH_PORT = 22
LONGEST_DELAY_MS = 60_000.0
LOOPBACK = (ip_address("127.0.0.1"), ip_address("::1"))
SHORTEST_PREFIX = {4: 8, 6: 16}
"""The widest network, by IP version, that may lose every port in the agent's own namespace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """The packets of a fault; no network means any peer, and no port means every port.

    A packet is in scope when its far end is in one of the networks and *port* is the port of either
    end, so that a scope fits the machine that connects and the one that listens alike.
    """

    networks: tuple[Network, ...] = ()
    port: int | None = None
    protocol: str = "any"
    direction: str = "both"
    spared: tuple[Network, ...] = ()
    """Never hit, although they may be inside *networks*."""
    spares_dns: bool = False
    """Whether questions to a name server and its answers pass."""

    @property
    def versions(self) -> tuple[int, ...]:
        """The IP versions that are concerned."""
        return tuple(sorted({n.version for n in self.networks})) if self.networks else (4, 6)

    @property
    def victims(self) -> tuple[str, ...]:
        """The peers as an operator writes them, such as ``10.0.0.2:9000``; a network is one victim."""
        return tuple(_victim(n, self.port) for n in self.networks) or (f"{ANYBODY}:{self.port}",)

    def of_version(self, version: int) -> tuple[Network, ...]:
        """Return the networks of IP *version*, none inside another."""
        if version == 4:
            return tuple(collapse_addresses(n for n in self.networks if isinstance(n, IPv4Network)))
        return tuple(collapse_addresses(n for n in self.networks if isinstance(n, IPv6Network)))


def scope(
    *,
    peers: Sequence[str],
    port: int | None,
    protocol: str,
    direction: str = "both",
    quantity: int | None = None,
    fraction: float | None = None,
    seed: int | None = None,
) -> Scope:
    """Return the scope that these arguments of an action describe.

    With neither *quantity* nor *fraction* every peer is chosen.

    Raises:
        UsageError: An argument makes no sense; the message says which and what to write.
        NoTargets: Too few peers to choose from.
    """
    _one_of("protocol", protocol, PROTOCOLS)
    _one_of("direction", direction, DIRECTIONS)
    if port is not None and (isinstance(port, bool) or not isinstance(port, int) or not 0 < port < 65536):
        raise UsageError(f"port: {port!r} is not a port; write a number from 1 to 65535")
    if not peers and port is None:
        raise UsageError("say what to hit: peers (addresses or networks), a port, or both")
    networks = {str(network): network for network in parse(peers)}
    chosen: Sequence[str] = sorted(networks)
    if quantity is not None or fraction is not None:
        chosen = choose(chosen, quantity=quantity, fraction=fraction, seed=seed)
    return Scope(
        networks=tuple(networks[name] for name in chosen), port=port, protocol=protocol, direction=direction
    )


def parse(peers: Sequence[str]) -> tuple[Network, ...]:
    """Return *peers* as networks; a single address is a network of one.

    Raises:
        UsageError: One of them is neither an address nor a network.
    """
    if isinstance(peers, str):
        raise UsageError(f"peers: write a list, [{peers!r}]")
    return tuple(_network(peer) for peer in peers)


def check_delay(latency_ms: float, jitter_ms: float) -> None:
    """Refuse a delay that netem cannot make sense of.

    Raises:
        UsageError: One of the two is out of its range.
    """
    if not 0 < latency_ms <= LONGEST_DELAY_MS:
        raise UsageError(f"latency_ms: {latency_ms!r} is not above 0 and at most {LONGEST_DELAY_MS:g}")
    if not 0 <= jitter_ms <= latency_ms:
        raise UsageError(f"jitter_ms: {jitter_ms!r} is not between 0 and latency_ms")


def refuse_lockout(scope: Scope) -> None:
    """Refuse what would cut the agent's own namespace off from itself or from everybody.

    Meant for the namespace that the agent runs in; elsewhere everything may be cut.

    Raises:
        Refused: All of loopback, nearly all addresses, or everybody's ssh would be cut.
    """
    everybody = not scope.networks or any(_is_nearly_everybody(network) for network in scope.networks)
    if scope.port == SSH_PORT and everybody:
        raise Refused("cutting port 22 for everybody would lock you out of this machine: name the peers")
    if scope.port is not None:
        return
    for network in scope.networks:
        if any(address in network for address in LOOPBACK):
            raise Refused(f"{network} is this machine's loopback, the agent's own included: name a port")
        if _is_nearly_everybody(network):
            raise Refused(f"{network} is nearly everybody, in the agent's own network namespace: name a port")


def _is_nearly_everybody(network: Network) -> bool:
    return network.prefixlen < SHORTEST_PREFIX[network.version]


def _network(peer: str) -> Network:
    try:
        network = ip_network(peer, strict=True)
    except (ValueError, TypeError) as error:
        raise UsageError(f"peers: {peer!r} is not an address or a network: {error}") from None
    if isinstance(network, IPv6Network):
        first = network.network_address
        if first.scope_id is not None:
            raise UsageError(f"peers: leave the interface out of {peer!r}")
        if first.ipv4_mapped is not None:
            raise UsageError(f"peers: write {first.ipv4_mapped} for {peer!r}: that is what crosses the wire")
    return network


def _victim(network: Network, port: int | None) -> str:
    single = network.prefixlen == network.max_prefixlen
    name = str(network.network_address if single else network)
    if port is None:
        return name
    return f"[{name}]:{port}" if network.version == 6 else f"{name}:{port}"


def _one_of(what: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UsageError(f"{what}: {value!r} is unknown; write {', '.join(known[:-1])} or {known[-1]}")
