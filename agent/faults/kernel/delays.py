"""Packets that are held back: one band of a prio qdisc with netem below it, and filters for the peers."""

from __future__ import annotations

import random
import re
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from agent.clients import tc, tc_lease
from agent.clients.netns import Namespace, NamespaceGone
from agent.model import Fact, Refused, Unsupported

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.clients.tc import Qdisc
    from agent.faults.kernel.scope import Network, Scope
    from agent.model import Json

QUEUE_PACKETS = 100_000
"""netem drops what is beyond its queue; 1000, its default, is 80 ms at 12,500 packets a second."""
PRIOMAP = "1 2 2 2 1 2 0 0 1 1 1 1 1 1 1 1"
"""The kernel's own (tc-prio(8)); the fourth band is reached by a filter only."""
MEASURE_WITHIN_S = 3.0
SLACK_MS = 1.0
OWN_PACKETS = 6
"""The most that :func:`landed` sends: a connection with its first packet repeated, and its end."""
_PROTOCOLS = {"tcp": (6,), "udp": (17,), "any": (6, 17)}
_SELECTOR = {4: ("ip", "ip", 1), 6: ("ipv6", "ip6", 2)}


def devices_of(space: Namespace, scope: Scope) -> dict[str, tuple[Network, ...]]:
    """Return which peers are reached through which interface; a network by its first address.

    Raises:
        NoTargets: A peer has no route.
        Refused: An interface has a queueing discipline that somebody put there.
    """

    def look() -> dict[str, tuple[Network, ...]]:
        found: dict[str, tuple[Network, ...]] = {}
        for network in scope.networks:
            device = tc.device_towards(str(network.network_address))
            found[device] = (*found.get(device, ()), network)
        for device in found:
            refuse_foreign(device, tc.qdiscs(device))
        return found

    return space.inside(look)


def fresh_handle() -> str:
    """Return a qdisc handle that nobody is likely to have; from 8000: on the kernel gives its own."""
    return f"{random.SystemRandom().randrange(0x100, 0x8000):x}:"


def round_trip(scope: Scope) -> dict[str, Json]:
    """Return where :func:`landed` measures: an echo if all is delayed, a connection if its port is."""
    single = scope.protocol == "any" and scope.port is None
    measurable = single or (scope.port is not None and scope.protocol != "udp")
    return {"address": str(scope.networks[0].network_address) if measurable else "", "port": scope.port}


def qdisc_commands(device: str, handle: str, *, latency_ms: float, jitter_ms: float) -> list[str]:
    """Return the lines for ``tc -batch`` that put a netem on *device* which no packet reaches by itself."""
    netem = f"netem delay {latency_ms:.3f}ms" + (f" {jitter_ms:.3f}ms" if jitter_ms else "")
    return [
        f"qdisc add dev {device} root handle {handle} prio bands 4 priomap {PRIOMAP}",
        f"qdisc add dev {device} parent {handle}4 {netem} limit {QUEUE_PACKETS}",
    ]


def commands(
    device: str,
    handle: str,
    networks: Sequence[Network],
    scope: Scope,
    *,
    latency_ms: float,
    jitter_ms: float,
) -> list[str]:
    """Return the lines for ``tc -batch`` that delay what leaves *device* towards *networks*.

    The filters come last, so that nothing is held by half a fault.

    Source:
        tc-prio(8), tc-netem(8), tc-u32(8); the port is looked for behind an IP header without options.
    """
    lines = qdisc_commands(device, handle, latency_ms=latency_ms, jitter_ms=jitter_ms)
    for network in networks:
        protocol, selector, priority = _SELECTOR[network.version]
        lines += [
            f"filter add dev {device} parent {handle} protocol {protocol} prio {priority} u32"
            f" match {selector} dst {network}{rest} flowid {handle}4"
            for rest in _matches(selector, scope)
        ]
    return lines


def renew(*, lease: str, lease_s: float) -> Fact:
    """Give the lease another *lease_s*; one that has lapsed stays lapsed."""
    held = tc_lease.renew(Path(lease), lease_s=lease_s)
    return Fact(holds=held, says="" if held else "the lease has lapsed already")


def landed(
    *,
    path: str,
    inode: int,
    handle: str,
    devices: list[str],
    latency_ms: float,
    jitter_ms: float,
    address: str,
    port: int | None,
) -> Fact:
    """Tell whether every interface holds packets back for as long as asked, and by a round trip."""
    space = Namespace(path=path, inode=inode)
    for device, qdisc in space.inside(lambda: _held(devices, handle)).items():
        if qdisc is None or abs(qdisc.delay_s * 1000 - latency_ms) > SLACK_MS:
            return Fact(holds=False, says=f"{device} has no netem with a delay of {latency_ms:g} ms")
    trip_ms = space.inside(lambda: _round_trip_ms(address, port)) if address else None
    if trip_ms is None:
        return Fact(holds=True, measured={"round_trip_ms": None})
    least = latency_ms - jitter_ms - SLACK_MS
    measured: dict[str, Json] = {"round_trip_ms": round(trip_ms, 2)}
    if trip_ms < least:
        says = f"a round trip to {address} took {trip_ms:.1f} ms, less than {least:g} ms"
        return Fact(holds=False, says=says, measured=measured)
    return Fact(holds=True, measured=measured)


def gone(*, path: str, inode: int, handle: str, devices: list[str]) -> Fact:
    """Tell whether no interface has the qdisc any more."""
    try:
        held = Namespace(path=path, inode=inode).inside(lambda: _roots(devices, handle))
    except NamespaceGone as error:
        return Fact(holds=True, says=f"{error}, and the fault with it")
    says = "; ".join(f"`tc qdisc del dev {device} root` is needed" for device in held)
    return Fact(holds=not held, says=says)


def remove(*, path: str, inode: int, handle: str, devices: list[str], lease: str) -> Fact | None:
    """Take the qdisc off, and with it the dead man; return the packets held, or None if it was off."""
    kept = tc_lease.read(Path(lease))

    def work() -> dict[str, Qdisc | None]:
        found = _held(devices, handle)
        for device in devices:
            tc.delete_root(device, handle)
        return found

    try:
        found = Namespace(path=path, inode=inode).inside(work)
    except NamespaceGone:
        return None
    finally:
        Path(lease).unlink(missing_ok=True)
    held = [qdisc for qdisc in found.values() if qdisc is not None]
    if not held:
        lapsed = kept is not None and kept.has_lapsed(tc_lease.boot_clock())
        return Fact(holds=False, says="ended before it was healed: its lease lapsed") if lapsed else None
    packets = sum(qdisc.packets for qdisc in held)
    says = "" if packets > OWN_PACKETS else "met no traffic but the agent's own"
    return Fact(holds=not says, says=says, measured={"packets_delayed": packets})


def _matches(selector: str, scope: Scope) -> list[str]:
    if scope.port is None and scope.protocol == "any":
        return [""]
    ends = [""]
    if scope.port is not None:
        ends = [f" match {selector} {end} {scope.port} 0xffff" for end in ("dport", "sport")]
    layers = [f" match {selector} protocol {number} 0xff" for number in _PROTOCOLS[scope.protocol]]
    return [layer + end for layer in layers for end in ends]


def refuse_foreign(device: str, qdiscs: Sequence[Qdisc]) -> None:
    """Refuse a *device* that has a queueing discipline that somebody put there.

    Raises:
        Refused: It has.
        Unsupported: Its name is none that tc could be told.
    """
    if not re.fullmatch(r"[\w.@:-]+", device):
        raise Unsupported(f"unsupported: tc cannot be told of an interface called {device!r}")
    for qdisc in qdiscs:
        if qdisc.is_root and qdisc.handle != tc.DEFAULT_HANDLE:
            what = f"{qdisc.kind} {qdisc.handle}"
            raise Refused(f"{device} has a queueing discipline already ({what}); it stays")


def _held(devices: Sequence[str], handle: str) -> dict[str, Qdisc | None]:
    """Return each interface's netem below our root, with what it has held so far."""
    return {
        device: next((q for q in tc.qdiscs(device) if q.kind == "netem" and q.parent == f"{handle}4"), None)
        for device in devices
    }


def _roots(devices: Sequence[str], handle: str) -> list[str]:
    return [d for d in devices if any(q.is_root and q.handle == handle for q in tc.qdiscs(d))]


def _round_trip_ms(address: str, port: int | None) -> float | None:
    """Return how long a connection (also a refused one) or an echo takes, or None when nobody answers."""
    if port is None:
        return _echo_ms(address)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.settimeout(MEASURE_WITHIN_S)
        began = time.perf_counter()
        try:
            sock.connect((address, port))
        except ConnectionRefusedError:
            pass
        except OSError:
            return None
        return (time.perf_counter() - began) * 1000


def _echo_ms(address: str) -> float | None:
    command = ["ping", "-n", "-c1", f"-W{MEASURE_WITHIN_S:g}", address]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=2 * MEASURE_WITHIN_S, check=False
        )
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"time[=<]([\d.]+) ms", done.stdout)
    return float(found[1]) if found else None
