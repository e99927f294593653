"""Delays packets on a kernel with netem and writes down what was seen; runs inside User-Mode Linux."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent import settings
from agent.clients import tc
from agent.faults import heal, packets
from agent.faults.kernel import delays
from agent.model import GamedayError
from agent.store import Store

if TYPE_CHECKING:
    from agent.model import Injection

FAR = "10.77.0.2"
NEIGHBOUR = "10.77.0.3"
FAR_V6 = "fd77::2"
DEVICE = "w0"
WITHIN_S = 30.0


def main(work: Path) -> None:
    """Play every story, each on a clean interface."""
    os.environ |= {"GAMEDAY_HOME": str(work / "home"), "GAMEDAY_RADIUS_COUNT": "5"}
    _wire()
    stories = {
        "class": _class(),
        "peer": _peer(),
        "ipv6": _ipv6(),
        "port": _port(),
        "foreign": _foreign(),
        "hard_end": _hard_end(),
        "dead_man": _dead_man(),
    }
    (work / "seen.json").write_text(json.dumps(stories))


def _peer() -> dict[str, Any]:
    before = _kinds()
    landed = packets.delay(peers=[FAR], latency_ms=80)
    late = max(_echo_ms(FAR, count=10))
    return {
        "before": before,
        "landed": landed,
        "peer_ms": late,
        "neighbour_ms": min(_echo_ms(NEIGHBOUR)),
        "healed": heal(),
        "after": _kinds(),
        "dose": _last().dose,
        "missed": _last().missed,
    }


def _ipv6() -> dict[str, Any]:
    packets.delay(peers=[FAR_V6], latency_ms=60)
    late = min(_echo_ms(FAR_V6))
    heal()
    return {"peer_ms": late}


def _port() -> dict[str, Any]:
    landed = packets.delay(peers=[FAR], port=9000, protocol="tcp", latency_ms=100, jitter_ms=0)
    echo = min(_echo_ms(FAR))
    heal()
    return {"landed": landed, "echo_ms": echo}


def _foreign() -> dict[str, Any]:
    tc.tc([f"qdisc add dev {DEVICE} root handle 5: pfifo limit 500"])
    before = _kinds()
    try:
        packets.delay(peers=[FAR], latency_ms=80)
        error = ["", "nothing was refused"]
    except GamedayError as refused:
        error = [type(refused).__name__, str(refused)]
    after = _kinds()
    tc.tc([f"qdisc del dev {DEVICE} root"])
    return {"before": before, "after": after, "error": error}


def _hard_end() -> dict[str, Any]:
    began = time.monotonic()
    packets.delay(peers=[FAR], latency_ms=20, max_duration_s=2.0)
    ended = _wait_until_off() - began
    heal()
    return {"ended_after_s": ended, "missed": _last().missed}


def _dead_man() -> dict[str, Any]:
    """Let a child inject, and kill it together with its reaper."""
    if (child := os.fork()) == 0:
        os.environ.pop("GAMEDAY_RUN", None)
        packets.delay(peers=[FAR], latency_ms=20)
        Path(settings.current().home, "injected").touch()
        signal.pause()
    injected = Path(settings.current().home, "injected")
    while not injected.exists():
        time.sleep(0.05)
    for reaper in _children(child):
        os.kill(reaper, signal.SIGKILL)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    died = time.monotonic()
    ended = _wait_until_off() - died
    return {"ended_after_s": ended, "says": _last().undo().says}


def _class() -> dict[str, Any]:
    """Let packets reach the netem by their priority alone, as nftables gives them to it in a pod."""
    handle = delays.fresh_handle()
    tc.tc(delays.qdisc_commands(DEVICE, handle, latency_ms=80, jitter_ms=0))
    named = (int(handle.rstrip(":"), 16) << 16) | 4
    late, others = _connect_ms(priority=named), _connect_ms(priority=0)
    tc.delete_root(DEVICE, handle)
    return {"late_ms": late, "others_ms": others}


def _connect_ms(*, priority: int) -> float:
    """Return how long a peer takes to refuse a connection whose packets have *priority*."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, priority)
        began = time.monotonic()
        sock.connect_ex((FAR, 9))
        return (time.monotonic() - began) * 1000


def _children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _last() -> Injection:
    with closing(Store(settings.current().home)) as store:
        return max(store.injections(), key=lambda each: each.intended_at)


def _wait_until_off() -> float:
    deadline = time.monotonic() + WITHIN_S
    while _kinds() != ["noqueue"] and time.monotonic() < deadline:
        time.sleep(0.05)
    return time.monotonic()


def _kinds() -> list[str]:
    return [each.kind for each in tc.qdiscs(DEVICE)]


def _echo_ms(address: str, count: int = 3) -> list[float]:
    words = ["ping", "-n", f"-c{count}", "-i0.2", "-W2", address]
    done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
    return [float(each) for each in re.findall(r"time=([\d.]+) ms", done.stdout)]


def _wire() -> None:
    ip = "ip netns add far; ip link set lo up; ip -n far link set lo up"
    ip += f"; ip link add {DEVICE} type veth peer name w0 netns far"
    ip += f"; ip addr add 10.77.0.1/24 dev {DEVICE}; ip addr add fd77::1/64 dev {DEVICE} nodad"
    for address in (f"{FAR}/24", f"{NEIGHBOUR}/24", f"{FAR_V6}/64 nodad"):
        ip += f"; ip -n far addr add {address} dev w0"
    ip += f"; ip link set {DEVICE} up; ip -n far link set w0 up"
    for words in ip.split(";"):
        subprocess.run(words.split(), check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
