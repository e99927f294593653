"""The injector of pods, in a network namespace: its stream is its lifeline, and the kernel is behind it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from agent.faults.kernel.scope import Scope, parse
from agent.injector.orders import HEAL, RENEW, Cut

pytestmark = pytest.mark.root

TABLE = "gameday_0123456789abcdef"
TIMES = {"table": TABLE, "lease_s": 5.0, "max_duration_s": 60.0}
ECHO = Path(__file__).with_name("echo.py")


def cut(*peers: str, **changes: Any) -> dict[str, Any]:
    """Return the order to cut *peers* off."""
    return Cut(scope=_scope(peers, changes), **({**TIMES, "loss_fraction": 1.0} | changes)).to_json()


def _scope(peers: tuple[str, ...], changes: dict[str, Any]) -> Scope:
    fields = {"port": None, "protocol": "any", "direction": "both", "spared": (), "spares_dns": True}
    fields |= {name: changes.pop(name) for name in tuple(fields) if name in changes}
    return Scope(networks=parse(peers), **fields)


def test_a_cut_lasts_while_it_is_renewed_and_ends_when_told(wire: Any, injector: Any) -> None:
    """The peer that is named is cut off longer than a lease lasts, the other never; the dose comes back."""
    with injector(wire.near) as stream:
        stream.say(cut(wire.peers[0], lease_s=1.0))
        assert stream.hear() == {"is": "in", "says": "", "measured": {"own_packet": "dropped"}}
        began = time.monotonic()
        while time.monotonic() < began + 1.5:
            stream.say(RENEW)
            assert stream.hear() == {"is": "renewed"}
            assert not wire.reaches(wire.peers[0])
        assert wire.reaches(wire.peers[1])
        stream.say(HEAL)
        last = stream.hear()
        assert last["is"] == "healed"
        assert last["measured"]["packets_dropped"] > 0
        assert stream.process.wait(10) == 0
        assert wire.tables() == []


def test_the_end_of_the_stream_heals_at_once(wire: Any, injector: Any) -> None:
    """Nobody has to say anything: when whoever ordered it is gone, so is the cut."""
    with injector(wire.near) as stream:
        stream.say(cut(wire.peers[0], lease_s=60.0))
        stream.hear()
        began = time.monotonic()
        stream.end()
        last = stream.hear()
        assert time.monotonic() - began < 2.0
        assert (last["is"], last["why"]) == ("healed", "the stream ended")
        assert wire.tables() == []
        assert wire.reaches(wire.peers[0])


def test_silence_heals_when_the_lease_is_over(wire: Any, injector: Any) -> None:
    """A stream that stays open and says nothing is nobody's."""
    with injector(wire.near) as stream:
        stream.say(cut(wire.peers[0], lease_s=0.5))
        stream.hear()
        assert stream.hear()["why"] == "no beat came"
        assert wire.tables() == []


def test_beats_do_not_keep_it_beyond_its_time(wire: Any, injector: Any) -> None:
    """``max_duration_s`` is a hard end whatever renews."""
    with injector(wire.near) as stream:
        stream.say(cut(wire.peers[0], max_duration_s=1.0))
        stream.hear()
        stream.say(RENEW)
        assert stream.hear() == {"is": "renewed"}
        assert stream.hear()["why"] == "its time was over"


@pytest.mark.parametrize("name", [signal.SIGKILL, signal.SIGSTOP])
def test_the_kernel_heals_when_the_injector_cannot(
    wire: Any, injector: Any, until: Any, name: signal.Signals
) -> None:
    """Killed or stopped, it renews nothing, and the rules match nothing once the lease is over."""
    with injector(wire.near) as stream:
        stream.say(cut(wire.peers[0], lease_s=1.0))
        stream.hear()
        assert not wire.reaches(wire.peers[0])
        stream.process.send_signal(name)
        until(lambda: wire.reaches(wire.peers[0]), within_s=5.0)


def test_sigterm_heals(wire: Any, injector: Any) -> None:
    """As when the pod is deleted while its network is broken."""
    with injector(wire.near) as stream:
        stream.say(cut(wire.peers[0]))
        stream.hear()
        stream.process.terminate()
        assert stream.hear()["why"] == "a signal said so"
        assert stream.process.wait(10) == 0
        assert wire.tables() == []


def test_what_is_spared_is_reached_inside_a_network_that_is_cut(wire: Any, injector: Any) -> None:
    """The API server's address and every name server stay, unless they were named."""
    words = ["ip", "netns", "exec", wire.far, sys.executable, str(ECHO), "53"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == "ready\n"
            for spares_dns in (True, False):
                with injector(wire.near) as stream:
                    order = cut("10.77.0.0/24", spared=parse([wire.peers[1]]), spares_dns=spares_dns)
                    stream.say(order)
                    assert stream.hear()["is"] == "in"
                    assert not wire.reaches(wire.peers[0])
                    assert wire.reaches(wire.peers[1])
                    assert wire.reaches(wire.peers[0], port=53) is spares_dns
                    stream.say(HEAL)
                    assert stream.hear()["is"] == "healed"
        finally:
            server.kill()


@pytest.mark.parametrize(
    "line",
    ["[]", "{}", "cut", json.dumps(cut("10.0.0.1", table="filter")), json.dumps(cut("10.0.0.1", lease_s=0))],
)
def test_what_is_no_order_is_refused(wire: Any, injector: Any, line: str) -> None:
    """Whoever speaks another version is told so, and nothing is touched."""
    with injector(wire.near) as stream:
        assert stream.process.stdin is not None
        stream.process.stdin.write(line + "\n")
        stream.process.stdin.flush()
        assert stream.hear()["is"] == "refused"
        assert stream.process.wait(10) == 2
        assert wire.tables() == []
