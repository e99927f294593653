"""Loses and delays packets of Linux, by peer and port, in this or another network namespace."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from agent import settings as settings_of
from agent.clients import netns as namespaces
from agent.clients import nft, tc, tc_lease
from agent.faults.durations import check_duration
from agent.faults.kernel import cuts
from agent.faults.kernel import delays as packet_delays
from agent.faults.kernel.scope import Scope, check_delay, refuse_lockout, scope
from agent.model import Call, Unsupported, UsageError
from agent.safety.context import current_run
from agent.safety.door import inject

if TYPE_CHECKING:
    from agent.clients.netns import Namespace
    from agent.model import Json

__all__ = ["delay", "drop", "partition"]


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
    space = namespaces.find(netns, pid=pid, created=created)
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
    if not 1 / cuts.GRAIN <= loss_fraction <= 1:
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
    space = namespaces.find(netns, pid=pid, created=created)
    return _lose("packets.drop", whom, space, loss_fraction=loss_fraction, max_duration_s=max_duration_s)


def delay(
    *,
    peers: list[str],
    latency_ms: float,
    jitter_ms: float = 0.0,
    port: int | None = None,
    protocol: str = "any",
    quantity: int | None = None,
    fraction: float | None = None,
    seed: int | None = None,
    netns: str | None = None,
    pid: int | None = None,
    created: float | None = None,
    max_duration_s: float = 60.0,
) -> dict[str, Json]:
    """Hold every packet that leaves for *peers* for *latency_ms*, plus or minus *jitter_ms*.

    Only the way out is delayed, so a round trip takes *latency_ms* longer, not twice that.

    Args:
        peers: Addresses and networks; none is not allowed here.
        latency_ms: 0 < latency_ms <= 60000.
        jitter_ms: Half-width of a uniform spread, 0 <= jitter_ms <= latency_ms; reorders packets.
        port: As for :func:`partition`, like everything below.
        protocol: ``tcp``, ``udp`` or ``any``.
        quantity: How many of *peers*.
        fraction: Which share of *peers*, rounded down.
        seed: Repeats the choice of peers.
        netns: Inside the network namespace of this name.
        pid: Inside the network namespace of this process.
        created: When that process began, in seconds since the epoch.
        max_duration_s: The fault ends after this, whatever happens; 0 < max_duration_s <= 86400.

    Returns:
        ``{"victims": [...], "landed": true, "dose": {"measured": {"round_trip_ms": 80.3}}}``; None
        for the round trip when nobody answered it.

    Raises:
        UsageError: An argument makes no sense.  Nothing was injected.
        NoTargets: No such namespace or process, too few peers, or no route.  Nothing was injected.
        Refused: The interface has a queueing discipline already.  Nothing was injected.
        Unsupported: No tc, no root, or a kernel without netem.  Nothing was injected.

    Undo:
        Takes the injection's own qdisc off; harmless if it is not there or somebody else's is.

    Dead man:
        The reaper, and a process of its own session that takes the qdisc off when the lease is not
        renewed.
    """
    check_delay(latency_ms, jitter_ms)
    if not peers:
        raise UsageError("peers: say whose packets to delay")
    whom = scope(
        peers=peers,
        port=port,
        protocol=protocol,
        direction="egress",
        quantity=quantity,
        fraction=fraction,
        seed=seed,
    )
    if why := tc.why_no_netem():
        raise Unsupported(why)
    space = namespaces.find(netns, pid=pid, created=created)
    amount = {"latency_ms": float(latency_ms), "jitter_ms": float(jitter_ms)}
    return _hold(whom, space, amount, max_duration_s=max_duration_s)


def _lose(
    fault: str, whom: Scope, space: Namespace, *, loss_fraction: float, max_duration_s: float
) -> dict[str, Json]:
    check_duration(max_duration_s)
    if space.is_own:
        refuse_lockout(whom)
    table = nft.PREFIX + uuid.uuid4().hex
    lease_s = settings_of.current().lease_s
    script = cuts.script(
        table, whom, loss_fraction=loss_fraction, lease_s=lease_s, max_duration_s=max_duration_s
    )
    nft.check(space, script)
    held: dict[str, Json] = {"table": table, "path": space.path, "inode": space.inode}
    calls = cuts.__name__
    return inject(
        fault=fault,
        victims=whom.victims,
        population=None,
        apply=lambda: nft.run(space, script),
        undo=Call(func=f"{calls}:remove", arguments=held),
        landed_check=Call(func=f"{calls}:landed", arguments={**held, **cuts.own_packet(whom)}),
        gone_check=Call(func=f"{calls}:gone", arguments=held),
        renew=Call(func=f"{calls}:renew", arguments={**held, "lease_s": lease_s}),
        lease_s=lease_s,
        max_duration_s=max_duration_s,
        asked={"loss_fraction": loss_fraction, "direction": whom.direction, "protocol": whom.protocol},
    )


def _hold(
    whom: Scope, space: Namespace, amount: dict[str, float], *, max_duration_s: float
) -> dict[str, Json]:
    check_duration(max_duration_s)
    parts = packet_delays.devices_of(space, whom)
    handle = packet_delays.fresh_handle()
    lease_s = settings_of.current().lease_s
    lease = str(current_run().folder / f"delay-{uuid.uuid4().hex}.lease")
    batches = [packet_delays.commands(d, handle, peers, whom, **amount) for d, peers in parts.items()]
    place: dict[str, Json] = {"path": space.path, "inode": space.inode}
    held: dict[str, Json] = {**place, "handle": handle, "devices": list(parts)}
    calls = packet_delays.__name__

    def put() -> None:
        tc_lease.begin(Path(lease), lease_s=lease_s, max_duration_s=max_duration_s)
        tc_lease.start(Path(lease), handle=handle, devices=list(parts))
        for batch in batches:
            tc.tc(batch)

    return inject(
        fault="packets.delay",
        victims=whom.victims,
        population=None,
        apply=lambda: space.inside(put),
        undo=Call(func=f"{calls}:remove", arguments={**held, "lease": lease}),
        landed_check=Call(
            func=f"{calls}:landed", arguments={**held, **amount, **packet_delays.round_trip(whom)}
        ),
        gone_check=Call(func=f"{calls}:gone", arguments=held),
        renew=Call(func=f"{calls}:renew", arguments={"lease": lease, "lease_s": lease_s}),
        lease_s=lease_s,
        max_duration_s=max_duration_s,
        asked={**amount, "protocol": whom.protocol},
    )
