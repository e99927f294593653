"""What the kernel tells about sockets: who listens here, and where a redirected client wanted to go."""

from __future__ import annotations

import socket
import struct
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.faults.kernel.scope import Network

SO_ORIGINAL_DST = 80
"""linux/netfilter_ipv4.h and linux/netfilter_ipv6/ip6_tables.h; Python has no name for it."""
TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
LISTEN = "0A"
"""TCP_LISTEN as proc(5) writes it."""
IF_INET6 = Path("/proc/net/if_inet6")


def listening() -> tuple[int, ...]:
    """Return the TCP ports on which somebody in this network listens, sorted.

    Source:
        proc(5), /proc/net/tcp: the local address with its port in hexadecimal, then the state.
    """
    found: set[int] = set()
    for table in TABLES:
        with suppress(FileNotFoundError):
            for line in table.read_text(encoding="ascii").splitlines()[1:]:
                fields = line.split()
                if fields[3] == LISTEN:
                    found.add(int(fields[1].rpartition(":")[2], 16))
    return tuple(sorted(found))


def has_ipv6() -> bool:
    """Whether this network has an IPv6 address at all."""
    with suppress(FileNotFoundError):
        return bool(IF_INET6.read_text(encoding="ascii").strip())
    return False


def own_addresses(networks: Sequence[Network]) -> tuple[Network, ...]:
    """Return those of *networks* that are a single address of this pod itself."""
    return tuple(each for each in networks if each.num_addresses == 1 and _is_own(str(each.network_address)))


def original_destination(client: socket.socket) -> tuple[str, int] | None:
    """Return where the client of an accepted connection wanted to go; None if nothing was redirected."""
    local = client.getsockname()
    try:
        if client.family == socket.AF_INET:
            raw = client.getsockopt(socket.SOL_IP, SO_ORIGINAL_DST, 16)
            port, packed = struct.unpack_from("!2xH4s", raw)
            host = str(IPv4Address(packed))
        else:
            raw = client.getsockopt(socket.IPPROTO_IPV6, SO_ORIGINAL_DST, 28)
            port, packed = struct.unpack_from("!2xH4x16s", raw)
            host = str(IPv6Address(packed))
    except OSError:
        return None
    return None if (host, port) == (local[0], local[1]) else (host, port)


def _is_own(address: str) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind((address, 0))
        except OSError:
            return False
    return True
