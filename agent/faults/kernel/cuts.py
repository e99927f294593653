"""Packets that are dropped: one nftables table for each injection, which the kernel itself disarms.

A table of its own keeps injections out of each other's way: their counters, their ends and their
undoing have nothing in common.
"""

from __future__ import annotations

import errno
import socket
from ipaddress import ip_network
from typing import TYPE_CHECKING

from agent.clients import nft
from agent.clients.netns import Namespace, NamespaceGone
from agent.faults.kernel import rules
from agent.model import Fact

if TYPE_CHECKING:
    from agent.clients.nft import Table
    from agent.faults.kernel.scope import Scope
    from agent.model import Json

OWN_MARK = 0x67616D65
"""The firewall mark of the agent's own test packets (``game``), so that they are not counted as dose."""
DISCARD_PORT = 9
"""Where a test packet goes when the scope names no port (RFC 863)."""
GRAIN = 10_000
"""A fraction is carried in steps of one in so many."""
NEIGHBOURS = "nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, nd-router-advert"
_HOOKS = {"egress": "output", "ingress": "input"}


def script(table: str, scope: Scope, *, loss_fraction: float, lease_s: float, max_duration_s: float) -> str:
    """Return the transaction that drops *loss_fraction* of the packets in *scope*.

    The hooks run before connection tracking (priority -300), so that established connections are
    cut as well.  Neighbour discovery stays alive, as ARP does under IPv4: a peer falls silent, it
    does not become unreachable.

    Source:
        nft(8); measured on Linux 6.18 with nft 1.0.6: elements end within 30 ms of their timeout.
    """
    lines = rules.begin(table, scope, counters=("own", "met", "dropped"))
    lines += [f"add chain inet {table} fault", *rules.while_armed(table, "fault")]
    lines += [
        f"add rule inet {table} fault meta mark {OWN_MARK:#x} counter name own drop",
        f"add rule inet {table} fault counter name met",
    ]
    if loss_fraction < 1:
        lines.append(
            f"add rule inet {table} fault numgen random mod {GRAIN} >= {round(loss_fraction * GRAIN)} return"
        )
    lines.append(f"add rule inet {table} fault counter name dropped drop")
    lines += _hooks(table, scope)
    lines += rules.arm(table, lease_s=lease_s, max_duration_s=max_duration_s)
    return "\n".join(lines) + "\n"


def own_packet(scope: Scope) -> dict[str, Json]:
    """Return where :func:`landed` sends its packet: to the first peer, if leaving packets are in scope."""
    network = scope.networks[0] if scope.networks else ip_network("127.0.0.1")
    address = "" if scope.direction == "ingress" else str(network[min(1, network.num_addresses - 1)])
    protocol = "tcp" if scope.protocol == "tcp" else "udp"
    port = scope.port or DISCARD_PORT
    return {"family": network.version, "address": address, "port": port, "protocol": protocol}


def renew(*, table: str, path: str, inode: int, lease_s: float) -> Fact:
    """Give the lease another *lease_s*; one that has lapsed stays lapsed, and the span is untouched."""
    try:
        nft.run(Namespace(path=path, inode=inode), rules.renewed(table, lease_s))
    except (nft.NotThereError, NamespaceGone):
        return Fact(holds=False, says="the lease has lapsed already")
    return Fact(holds=True)


def landed(*, table: str, path: str, inode: int, family: int, address: str, port: int, protocol: str) -> Fact:
    """Tell whether the kernel holds the fault, and whether it drops a packet of the agent's own.

    *address* is empty where no packet of ours can be in scope (only incoming ones are).
    """
    space = Namespace(path=path, inode=inode)
    sent = bool(address) and space.inside(lambda: _send(family, address, port, protocol))
    found = nft.table(space, table)
    if found is None or not _armed(found):
        return Fact(holds=False, says=f"nftables table {table} does not hold it")
    if sent and not found.packets["own"]:
        return Fact(holds=False, says=f"a packet to {address} port {port} was not dropped")
    return Fact(holds=True, measured={"own_packet": "dropped" if sent else "not tried"})


def gone(*, table: str, path: str, inode: int) -> Fact:
    """Tell whether no packet is dropped any more: the table is away, or the kernel disarmed it."""
    try:
        found = nft.table(Namespace(path=path, inode=inode), table)
    except NamespaceGone as error:
        return Fact(holds=True, says=f"{error}, and the fault with it")
    if found is None or not _armed(found):
        return Fact(holds=True)
    says = f"nftables table {table} still drops packets; `nft delete table inet {table}` ends it"
    return Fact(holds=False, says=says)


def remove(*, table: str, path: str, inode: int) -> Fact | None:
    """Delete the table; return its counters as the dose, or None when somebody else deleted it."""
    space = Namespace(path=path, inode=inode)
    try:
        found = nft.table(space, table)
        nft.delete(space, table)
    except NamespaceGone:
        return None
    return None if found is None else dose(found)


def dose(table: Table) -> Fact:
    """Return what *table* did over its life, and whether that was less than asked for."""
    met, dropped = table.packets["met"], table.packets["dropped"]
    measured = {"packets_met": met, "packets_dropped": dropped}
    share = {"dropped_fraction": round(dropped / met, 4)} if met else {}
    says = ""
    if not met:
        says = "met no traffic"
    elif not dropped:
        says = f"dropped none of the {met} packets that it met"
    elif table.elements["span"] and not table.elements["lease"]:
        says = "ended before it was healed: its lease lapsed"
    return Fact(holds=not says, says=says, measured={**measured, **share})


def _hooks(table: str, scope: Scope) -> list[str]:
    lines = []
    for direction, hook in _HOOKS.items():
        if scope.direction not in (direction, "both"):
            continue
        chain = f"inet {table} {direction}"
        lines.append(f"add chain {chain} {{ type filter hook {hook} priority -300; policy accept; }}")
        lines.append(f"add rule {chain} icmpv6 type {{ {NEIGHBOURS} }} return")
        lines += [f"add rule {chain} {match} return" for match in rules.spared(scope, direction)]
        lines += [
            f"add rule {chain} {match} jump fault" for match in rules.matches(scope, rules.SIDES[direction])
        ]
    return lines


def _armed(table: Table) -> bool:
    return bool(table.elements["lease"] and table.elements["span"])


def _send(family: int, address: str, port: int, protocol: str) -> bool:
    """Send one marked packet to *address*; return whether it set out and the fault had its chance.

    A SYN or a datagram passes the output hook before the call returns, so nothing is waited for.
    """
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET6 if family == 6 else socket.AF_INET, kind) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, OWN_MARK)
        sock.setblocking(False)
        failed = sock.connect_ex((address, port))
        if kind is socket.SOCK_STREAM:
            return failed in {0, errno.EINPROGRESS}
        if failed:
            return False
        try:
            sock.send(b"")
        except OSError as error:
            return error.errno == errno.EPERM
        return True
