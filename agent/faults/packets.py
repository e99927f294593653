"""Loses and delays packets of Linux, by peer and port, in this or another network namespace."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from agent import settings as settings_of
from agent.clients import netns as namespaces
from agent.clients import nft
from agent.faults import packet_cuts
from agent.faults.packet_scope import Scope, refuse_lockout, scope
from agent.model import Call, UsageError
from agent.safety.door import inject

if TYPE_CHECKING:
    from agent.clients.netns import Namespace
    from agent.model import Json

__all__ = ["drop", "partition"]

LONGEST_S = 86_400.0


def partition(
    *,
    peers: list[str] | None = None,
    port: int | None = None,
    protocol: str = "any",
    direction: str = "both",
    quantity: int | None = None,
    fraction: float | None = None,
    seed: int | None = None,
    netns: str | None = None,
    pid: int | None = None,
    created: float | None = None,
    max_duration_s: float = 60.0,
) -> dict[str, Json]:
    """Lose every packet from and to *peers*, established connections included.

    The peers fall silent: nothing is refused or reset.  Packets that are only routed through the
    namespace pass.  A sender of UDP inside it is told (``EPERM``), one of TCP is not.

    Args:
        peers: Addresses and networks (``10.0.0.2``, ``10.0.1.0/24``, ``fd00::2``); none means
            everybody, and then *port* is needed.  A network counts as one victim.
        port: Only packets with this port at either end.
        protocol: ``tcp``, ``udp`` or ``any``; with a port, ``any`` means these two.
        direction: ``egress`` (packets that leave the namespace), ``ingress`` or ``both``.
        quantity: How many of *peers*; give this, *fraction* or, for all of them, neither.
        fraction: Which share of *peers*, rounded down.
        seed: Repeats the choice.
        netns: Inside the network namespace of this name (``ip netns``), not the agent's own.
        pid: Inside the network namespace of this process.
        created: When that process began, in seconds since the epoch; refused if it is another one.
        max_duration_s: The fault ends after this, whatever happens; 0 < max_duration_s <= 86400.

    Returns:
        ``{"victims": ["10.0.0.2:9000"], "landed": true, "dose": {"measured": {...}}}``; the packets
        are counted when it is healed.

    Raises:
        UsageError: An argument makes no sense.  Nothing was injected.
        NoTargets: No such namespace or process, or too few peers.  Nothing was injected.
        Refused: In the agent's own namespace: all of loopback, nearly everybody, or ssh for
            everybody.  Nothing was injected.
        Unsupported: No nft, no root, or a kernel without it.  Nothing was injected.

    Undo:
        Deletes the injection's own nftables table; harmless if it is not there.

    Dead man:
        The reaper, and the kernel: the rules match only while a set element lives, whose timeout is
        the lease.
    """
    whom = scope(
        peers=peers or [],
        port=port,
        protocol=protocol,
        direction=direction,
        quantity=quantity,
        fraction=fraction,
        seed=seed,
    )
    space = _where(netns, pid, created)
    return _lose("packets.partition", whom, space, loss_fraction=1.0, max_duration_s=max_duration_s)


def drop(
    *,
    loss_fraction: float,
    peers: list[str] | None = None,
    port: int | None = None,
    protocol: str = "any",
    direction: str = "both",
    quantity: int | None = None,
    fraction: float | None = None,
    seed: int | None = None,
    netns: str | None = None,
    pid: int | None = None,
    created: float | None = None,
    max_duration_s: float = 60.0,
) -> dict[str, Json]:
    """Lose *loss_fraction* of the packets from and to *peers*, each by chance of its own.

    With both directions a round trip fails more often than that: 1 - (1 - loss_fraction)**2.  On
    loopback every packet leaves and enters, and so has two chances to be lost.

    Args:
        loss_fraction: Share of packets, 0.0001 <= loss_fraction <= 1.
        peers: As for :func:`partition`, like everything below.
        port: Only packets with this port at either end.
        protocol: ``tcp``, ``udp`` or ``any``.
        direction: ``egress``, ``ingress`` or ``both``.
        quantity: How many of *peers*.
        fraction: Which share of *peers*, rounded down.
        seed: Repeats the choice of peers; which packets are lost is the kernel's own chance.
        netns: Inside the network namespace of this name.
        pid: Inside the network namespace of this process.
        created: When that process began, in seconds since the epoch.
        max_duration_s: The fault ends after this, whatever happens; 0 < max_duration_s <= 86400.

    Returns:
        As :func:`partition`; ``dropped_fraction`` is measured when it is healed.

    Raises:
        UsageError: An argument makes no sense.  Nothing was injected.
        NoTargets: No such namespace or process, or too few peers.  Nothing was injected.
        Refused: As for :func:`partition`.  Nothing was injected.
        Unsupported: No nft, no root, or a kernel without it.  Nothing was injected.

    Undo:
        Deletes the injection's own nftables table; harmless if it is not there.

    Dead man:
        The reaper, and the kernel, as for :func:`partition`.
    """
    if not 1 / packet_cuts.GRAIN <= loss_fraction <= 1:
        raise UsageError(f"loss_fraction: {loss_fraction!r} is not between 0.0001 and 1")
    whom = scope(
        peers=peers or [],
        port=port,
        protocol=protocol,
        direction=direction,
        quantity=quantity,
        fraction=fraction,
        seed=seed,
    )
    space = _where(netns, pid, created)
    return _lose("packets.drop", whom, space, loss_fraction=loss_fraction, max_duration_s=max_duration_s)


def _lose(
    fault: str, whom: Scope, space: Namespace, *, loss_fraction: float, max_duration_s: float
) -> dict[str, Json]:
    _check_duration(max_duration_s)
    if space.is_own:
        refuse_lockout(whom)
    table = nft.PREFIX + uuid.uuid4().hex
    lease_s = settings_of.current().lease_s
    script = packet_cuts.script(
        table, whom, loss_fraction=loss_fraction, lease_s=lease_s, max_duration_s=max_duration_s
    )
    nft.check(space, script)
    held: dict[str, Json] = {"table": table, "path": space.path, "inode": space.inode}
    calls = packet_cuts.__name__
    return inject(
        fault=fault,
        victims=whom.victims,
        population=None,
        apply=lambda: nft.run(space, script),
        undo=Call(func=f"{calls}:remove", arguments=held),
        landed_check=Call(func=f"{calls}:landed", arguments={**held, **packet_cuts.own_packet(whom)}),
        gone_check=Call(func=f"{calls}:gone", arguments=held),
        renew=Call(func=f"{calls}:renew", arguments={**held, "lease_s": lease_s}),
        lease_s=lease_s,
        max_duration_s=max_duration_s,
        asked={"loss_fraction": loss_fraction, "direction": whom.direction, "protocol": whom.protocol},
    )


def _where(netns: str | None, pid: int | None, created: float | None) -> Namespace:
    if netns is not None and pid is not None:
        raise UsageError("give netns or pid, not both")
    if created is not None and pid is None:
        raise UsageError("created: belongs to pid")
    if netns is not None:
        return namespaces.named(netns)
    return namespaces.own() if pid is None else namespaces.of_process(pid, created=created)


def _check_duration(max_duration_s: float) -> None:
    if not 0 < max_duration_s <= LONGEST_S:
        raise UsageError(f"max_duration_s: {max_duration_s!r} is not above 0 and at most {LONGEST_S:g}")
