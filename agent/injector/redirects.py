"""The nftables table that leads connections through the proxy in this pod, and ends with its lease.

Only a connection's first packet is redirected, so that what was open before stays as it was, unless it
is reset on purpose: it then comes again, through the proxy.  The proxy's own connections carry a mark,
which lets them pass; the mark ends where the pod's network does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.faults.kernel import rules

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.faults.kernel.scope import Scope

PROXY_MARK = 0x67616D66
"""The firewall mark of the proxy's own connections (``gamf``)."""
BEFORE_OTHERS = -110
"""Ahead of what others redirect (dstnat is -100), such as a mesh."""
FIRST = "tcp flags & (fin | syn | rst | ack) == syn"
_HOOKS = {"egress": ("output", "dport"), "ingress": ("prerouting", "dport")}


def script(
    table: str,
    scope: Scope,
    *,
    port: int,
    resets: bool,
    listening: Sequence[int],
    lease_s: float,
    max_duration_s: float,
) -> str:
    """Return the transaction that leads the connections in *scope* to *port* of this pod.

    Args:
        table: Its name.
        scope: Its direction is that of a connection: ``egress`` if the pod opens it.
        port: Where the proxy listens.
        resets: Also end the connections in scope that are open.
        listening: The ports at which the pod serves: a connection with one of them was opened by a peer.
        lease_s: How long it lasts without being renewed.
        max_duration_s: How long at most.

    Source:
        nft(8); NAT in the inet family needs Linux 5.2.
    """
    lines = rules.begin(table, scope, counters=("met", "resets"))
    lines += [f"add chain inet {table} lead", *rules.while_armed(table, "lead")]
    lines.append(f"add rule inet {table} lead meta l4proto tcp counter name met redirect to :{port}")
    for direction in _directions(scope):
        lines += _led(table, scope, direction)
    if resets:
        lines += _resets(table, scope, listening)
    lines += rules.arm(table, lease_s=lease_s, max_duration_s=max_duration_s)
    return "\n".join(lines) + "\n"


def _directions(scope: Scope) -> list[str]:
    return [each for each in _HOOKS if scope.direction in (each, "both")]


def _led(table: str, scope: Scope, direction: str) -> list[str]:
    hook, end = _HOOKS[direction]
    chain = f"inet {table} {direction}"
    let_pass = [
        "meta l4proto != tcp",
        FIRST.replace("==", "!="),
        f"meta mark {PROXY_MARK:#x}",
        "fib daddr type local" if direction == "egress" else 'iifname "lo"',
        *rules.spared(scope, direction),
    ]
    return [
        f"add chain {chain} {{ type nat hook {hook} priority {BEFORE_OTHERS}; policy accept; }}",
        *(f"add rule {chain} {match} return" for match in let_pass),
        *(
            f"add rule {chain} {match} jump lead"
            for match in rules.matches(scope, rules.SIDES[direction], ends=(end,))
        ),
    ]


def _resets(table: str, scope: Scope, listening: Sequence[int]) -> list[str]:
    """Return a chain that answers what leaves on an open connection with a reset, towards the sender."""
    chain = f"inet {table} ends"
    let_pass = [
        "meta l4proto != tcp",
        "tcp flags & (syn | rst) != 0",
        f"meta mark {PROXY_MARK:#x}",
        f"ct mark {PROXY_MARK:#x}",
        "ct status dnat",
        "fib daddr type local",
        *rules.spared(scope, "egress"),
    ]
    lines = [
        f"add chain {chain} {{ type filter hook output priority 0; policy accept; }}",
        f"add rule {chain} meta mark {PROXY_MARK:#x} ct mark set {PROXY_MARK:#x}",
        *rules.while_armed(table, "ends"),
        *(f"add rule {chain} {match} return" for match in let_pass),
    ]
    for direction in _directions(scope):
        end = "dport" if direction == "egress" else "sport"
        opened = _opened(direction, listening)
        lines += [
            f"add rule {chain} {match} {opened} counter name resets reject with tcp reset".replace("  ", " ")
            for match in rules.matches(scope, "daddr", ends=(end,))
        ]
    return lines


def _opened(direction: str, listening: Sequence[int]) -> str:
    """Return what tells who opened a connection by a packet that leaves."""
    ports = f"{{ {', '.join(map(str, listening))} }}"
    if direction == "ingress":
        return f"tcp sport {ports}" if listening else "tcp sport 0"
    return f"tcp sport != {ports}" if listening else ""
