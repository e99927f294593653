"""The parts of an nftables table that every packet fault has: its lease, its peers, what it spares.

A rule of a fault matches while two elements live: ``lease``, which is renewed, and ``span``, which never
is.  When either times out the rules match nothing any more, whoever is dead by then, and however the
clocks of this machine were set.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.faults.kernel.scope import Scope

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.faults.kernel.scope import Network

DNS_PORT = 53
SIDES = {"egress": "daddr", "ingress": "saddr"}
"""Where the far end stands in a packet that leaves (egress) or enters."""
_FAMILIES = {4: "ip", 6: "ip6"}
_KINDS = {4: "ipv4_addr", 6: "ipv6_addr"}


def begin(table: str, scope: Scope, *, counters: Sequence[str]) -> list[str]:
    """Return the lines that make *table* with its sets and *counters*; no element is in lease and span yet.

    The peers are sets of their own, so that they can be changed while the fault is in.
    """
    lines = [
        f"add table inet {table}",
        f"add set inet {table} lease {{ type nf_proto; flags timeout; }}",
        f"add set inet {table} span {{ type nf_proto; flags timeout; }}",
        *(f"add counter inet {table} {name}" for name in counters),
    ]
    if scope.networks:
        lines += [
            f"add set inet {table} {_peers(v)} {{ type {kind}; flags interval; }}"
            for v, kind in _KINDS.items()
        ]
        lines += _elements(table, scope)
    return lines


def while_armed(table: str, chain: str) -> list[str]:
    """Return the rules that leave *chain* unless lease and span live."""
    return [f"add rule inet {table} {chain} meta nfproto != @{name} return" for name in ("lease", "span")]


def arm(table: str, *, lease_s: float, max_duration_s: float) -> list[str]:
    """Return the lines that begin the lease and the span."""
    return [_element("add", table, "span", max_duration_s), _element("add", table, "lease", lease_s)]


def renewed(table: str, lease_s: float) -> str:
    """Return the transaction that gives the lease another *lease_s*; refused where it has lapsed.

    Deleted and added in one transaction, because an element that is only added again keeps its end.
    """
    return _element("delete", table, "lease") + "\n" + _element("add", table, "lease", lease_s) + "\n"


def disarmed(table: str) -> str:
    """Return the transaction that ends the lease at once; the table stays."""
    return f"flush set inet {table} lease\n"


def with_peers(table: str, networks: Sequence[Network]) -> str:
    """Return the transaction that makes *networks* the peers of *table*, which has to have some already."""
    lines = [f"flush set inet {table} {_peers(version)}" for version in _KINDS]
    return "\n".join([*lines, *_elements(table, Scope(networks=tuple(networks)))]) + "\n"


def spared(scope: Scope, direction: str) -> list[str]:
    """Return what matches the packets of *direction* that are let alone."""
    side = SIDES[direction]
    found = [f"{_FAMILIES[network.version]} {side} {network}" for network in scope.spared]
    if scope.spares_dns:
        found.append(f"{layer4('any')} th {'dport' if direction == 'egress' else 'sport'} {DNS_PORT}")
    return found


def matches(scope: Scope, side: str, *, ends: Sequence[str] = ("dport", "sport")) -> list[str]:
    """Return what matches the packets in *scope*: the far end at *side*, the port at one of *ends*."""
    peers = [f"{_FAMILIES[v]} {side} @{_peers(v)}" for v in _KINDS] if scope.networks else [""]
    ports = [""]
    if scope.port is not None:
        ports = [f"{layer4(scope.protocol)} th {end} {scope.port}" for end in ends]
    elif scope.protocol != "any":
        ports = [layer4(scope.protocol)]
    return [" ".join(filter(None, (peer, port))) for peer in peers for port in ports]


def layer4(protocol: str) -> str:
    """Return what matches *protocol*; ``any`` is both that have ports."""
    return "meta l4proto { tcp, udp }" if protocol == "any" else f"meta l4proto {protocol}"


def milliseconds(seconds: float) -> str:
    """Return *seconds* as nft writes a time, at least one millisecond."""
    return f"{max(1, round(seconds * 1000))}ms"


def _elements(table: str, scope: Scope) -> list[str]:
    return [
        f"add element inet {table} {_peers(version)} {{ {', '.join(map(str, networks))} }}"
        for version in _KINDS
        if (networks := scope.of_version(version))
    ]


def _element(verb: str, table: str, name: str, timeout_s: float | None = None) -> str:
    after = "" if timeout_s is None else f" timeout {milliseconds(timeout_s)}"
    return f"{verb} element inet {table} {name} {{ ipv4{after}, ipv6{after} }}"


def _peers(version: int) -> str:
    return f"peers{version}"
