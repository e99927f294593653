"""Delays by netem: refused by name where the kernel has none, and real ones in User-Mode Linux."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from agent.clients import tc

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.root

DELAY = "agent.faults.packets:delay"
HERE = Path(__file__).parent
BOOT_WITHIN_S = 110


def test_a_kernel_without_netem_is_told_by_name(wire: Any, player: Any) -> None:
    """Where netem is missing the fault is refused in one sentence before anything is touched."""
    if tc.why_no_netem() is None:
        pytest.skip("this kernel has netem")
    before = _qdiscs(wire)
    here = player()
    name, says = here.refusal(DELAY, peers=[wire.peers[0]], latency_ms=80, netns=wire.near)
    assert (name, says) == ("Unsupported", "unsupported: this kernel has no netem")
    assert _qdiscs(wire) == before
    assert here.injections() == ()


def _qdiscs(wire: Any) -> tuple[tc.Qdisc, ...]:
    return wire.inside(wire.near, lambda: tc.qdiscs("w0"))


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return what ``delayed.py`` saw on a kernel that has netem: one boot for all tests here."""
    request.getfixturevalue("require")("linux.uml", "ip", "tc", "ping", "busybox")
    work = tmp_path_factory.mktemp("uml")
    (work / "init.sh").write_text(_init(work))
    (work / "init.sh").chmod(0o755)
    words = ["linux.uml", "mem=512M", "rootfstype=hostfs", "ro", f"init={work}/init.sh"]
    words += ["con=null", "con0=null,fd:1", "quiet", f"uml_dir={work}"]
    with (work / "console").open("w") as console, _killed(words, console) as guest:
        guest.wait(timeout=BOOT_WITHIN_S)
    out = (work / "out").read_text() if (work / "out").exists() else (work / "console").read_text()
    assert (work / "seen.json").exists(), out
    return json.loads((work / "seen.json").read_text())


def _init(work: Path) -> str:
    """Return the guest's first process: the host's files read-only, the work folder writable."""
    return f"""#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc; mount -t sysfs sys /sys
mount -t tmpfs tmpfs /run; mount -t tmpfs tmpfs /lib/modules
mount -t hostfs -o {work} hostfs {work}
ln -s "/usr/lib/uml/modules/$(uname -r)" "/lib/modules/$(uname -r)"
modprobe ipv6
cd {HERE.parents[1]} && {sys.executable} {HERE}/delayed.py {work} >{work}/out 2>&1
sync; busybox poweroff -f
"""


@contextlib.contextmanager
def _killed(words: list[str], console: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Run *words* in a session of their own, and kill all of it at the end."""
    process = subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=console, stderr=console, start_new_session=True
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_the_peer_is_late_and_its_neighbour_is_not(seen: dict[str, Any]) -> None:
    """Only the peer that was asked for answers later, by the latency asked for, over both IP versions."""
    story = seen["peer"]
    assert 80 <= story["landed"]["dose"]["measured"]["round_trip_ms"] < 300
    assert story["peer_ms"] >= 80
    assert story["neighbour_ms"] < 80
    assert seen["ipv6"]["peer_ms"] >= 60


def test_only_the_port_is_late(seen: dict[str, Any]) -> None:
    """With a port, connections to it are late and echoes to the same peer are not."""
    story = seen["port"]
    assert story["landed"]["dose"]["measured"]["round_trip_ms"] >= 100
    assert story["echo_ms"] < 100


def test_a_healed_delay_leaves_the_interface_as_it_was(seen: dict[str, Any]) -> None:
    """After the heal the interface has its own qdisc again, and the dose was counted."""
    story = seen["peer"]
    assert story["healed"] == {"healed": ["packets.delay"]}
    assert story["before"] == story["after"]
    assert story["dose"]["measured"]["packets_delayed"] > 6
    assert story["missed"] is None


def test_another_qdisc_is_not_replaced(seen: dict[str, Any]) -> None:
    """An interface on which somebody put a qdisc is refused, and keeps it."""
    story = seen["foreign"]
    assert story["error"][0] == "Refused"
    assert "has a queueing discipline already (pfifo" in story["error"][1]
    assert story["before"] == story["after"]


def test_a_delay_ends_when_nobody_renews_it(seen: dict[str, Any]) -> None:
    """The dead man takes the qdisc off after the lease, with everybody else killed."""
    assert seen["dead_man"]["ended_after_s"] < 30
    assert seen["dead_man"]["says"] == "ended before it was healed: its lease lapsed"


def test_a_delay_ends_at_its_hard_end(seen: dict[str, Any]) -> None:
    """max_duration_s ends the delay although its run lives and renews."""
    assert 1.5 <= seen["hard_end"]["ended_after_s"] < 30
    assert seen["hard_end"]["missed"] is None


def test_a_packet_reaches_the_netem_by_its_priority_alone(seen: dict[str, Any]) -> None:
    """No filter is needed; what has no such priority passes at once (the way that is used inside pods)."""
    assert seen["class"]["late_ms"] >= 80
    assert seen["class"]["others_ms"] < 80
