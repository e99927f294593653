"""Connections that are slowed or failed inside a network namespace, and whole again whoever ends."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from agent.faults.kernel.scope import Scope, parse
from agent.injector.orders import HEAL, RENEW, Hold

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.root

TABLE = "gameday_0123456789abcdef"
TIMES = {"table": TABLE, "lease_s": 5.0, "max_duration_s": 60.0}
FAIL = {"kind": "fail_requests", "status": 503.0, "path": "/rank*"}
WELL = Path(__file__).with_name("well.py")


def hold(*peers: str, **changes: Any) -> dict[str, Any]:
    """Return the order to put a toxic, a delay of 80 ms, on what *peers* say and hear."""
    toxic = {"kind": "delay", "latency_ms": 80.0, "direction": "downstream"}
    return Hold(scope=_scope(peers, changes), **({**TIMES, "toxic": toxic} | changes)).to_json()


def _scope(peers: tuple[str, ...], changes: dict[str, Any]) -> Scope:
    fields = {"port": None, "protocol": "any", "direction": "both", "spared": (), "spares_dns": True}
    fields |= {name: changes.pop(name) for name in tuple(fields) if name in changes}
    return Scope(networks=parse(peers), **fields)


def _trip_ms(connection: socket.socket) -> float:
    began = time.monotonic()
    connection.sendall(b"x")
    assert connection.recv(1) == b"x"
    return (time.monotonic() - began) * 1000


def _is_direct(wire: Any, peer: str) -> bool:
    """Whether a new connection is not held any more."""
    try:
        with wire.connect(peer, timeout_s=0.5) as connection:
            return _trip_ms(connection) < 60
    except OSError:
        return False


def test_a_new_connection_to_the_named_peer_is_held_and_the_proxy_is_not_held_again(
    wire: Any, injector: Any
) -> None:
    """One peer is 80 ms away, both ways together, the other is not; healed, the way is direct."""
    with injector(wire.near) as stream:
        stream.say(hold(wire.peers[0], ways=["proxy"], lease_s=3.0))
        told = stream.hear()
        assert told["is"] == "in", told
        assert told["measured"]["by"] == "proxy"
        assert 79 <= told["measured"]["own_round_trip_ms"] < 500
        with wire.connect(wire.peers[0]) as held, wire.connect(wire.peers[1]) as other:
            assert 79 <= _trip_ms(held) < 300
            assert _trip_ms(other) < 60
            assert held.getpeername()[0] == wire.peers[0]
            stream.say(RENEW)
            news = stream.hear()
            assert news["is"] == "renewed"
            assert "connection" in [each["kind"] for each in news["arrivals"]]
            stream.say(HEAL)
            last = stream.hear()
            assert last["is"] == "healed"
            assert last["says"] == ""
            assert last["measured"]["connections"] == 1
            assert last["measured"]["held_p50_ms"] >= 79
            assert last["measured"]["connections_ended_by_healing"] == 1
            with pytest.raises(ConnectionResetError):
                held.recv(1)
        assert _is_direct(wire, wire.peers[0])
        assert wire.tables() == []


def test_a_connection_that_is_open_is_reset_and_comes_again_through_the_proxy(
    wire: Any, injector: Any
) -> None:
    """Without that a pool of connections would never notice the fault."""
    with (
        injector(wire.near) as stream,
        wire.connect(wire.peers[0]) as before,
        wire.connect(wire.peers[1]) as other,
    ):
        assert _trip_ms(before) < 60
        stream.say(hold(wire.peers[0], ways=["proxy"]))
        assert stream.hear()["is"] == "in"
        with pytest.raises(ConnectionResetError):
            _trip_ms(before)
        assert _trip_ms(other) < 60
        with wire.connect(wire.peers[0]) as again:
            assert _trip_ms(again) >= 79
        stream.say(HEAL)
        assert stream.hear()["measured"]["connections_reset"] >= 1


def test_a_connection_that_is_open_stays_as_it_is_when_told_so(wire: Any, injector: Any) -> None:
    """It is neither reset nor held, and the dose says that nothing was met."""
    with injector(wire.near) as stream, wire.connect(wire.peers[0]) as before:
        stream.say(hold(wire.peers[0], ways=["proxy"], resets=False))
        assert stream.hear()["is"] == "in"
        assert _trip_ms(before) < 60
        stream.say(HEAL)
        assert "met no traffic" in stream.hear()["says"]
        assert _trip_ms(before) < 60


def test_what_peers_open_is_held_too_and_nothing_else(wire: Any, injector: Any) -> None:
    """Ingress: a client of ours on the far side is slowed, our own connections are not."""
    words = [
        "ip",
        "netns",
        "exec",
        wire.near,
        sys.executable,
        str(Path(__file__).with_name("echo.py")),
        "9100",
    ]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == "ready\n"
            with injector(wire.near) as stream:
                stream.say(hold("10.77.0.0/24", ways=["proxy"], direction="ingress", port=9100))
                assert stream.hear()["is"] == "in"
                far = lambda: socket.create_connection(("10.77.0.1", 9100), timeout=5)  # noqa: E731
                with wire.inside(wire.far, far) as client:
                    assert 79 <= _trip_ms(client) < 300
                assert _is_direct(wire, wire.peers[0])
                stream.say(HEAL)
                assert stream.hear()["measured"]["held"] >= 1
                with wire.inside(wire.far, far) as client:
                    assert _trip_ms(client) < 60
        finally:
            server.kill()


def test_ipv6_is_held_as_well(wire: Any, injector: Any) -> None:
    """The original destination of an IPv6 connection is found as that of an IPv4 one."""
    wire.connect(wire.peers_v6[0]).close()  # on a new wire the discovery of neighbours takes a second
    with injector(wire.near) as stream:
        stream.say(hold(wire.peers_v6[0], ways=["proxy"]))
        assert stream.hear()["measured"]["own_round_trip_ms"] >= 79
        with wire.connect(wire.peers_v6[0]) as held:
            assert 79 <= _trip_ms(held) < 300


def _ask(wire: Any, path: str) -> int:
    with wire.connect(wire.peers[0], port=9200) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
        answer: bytes = connection.recv(4096)
    return int(answer.split()[1])


def test_requests_fail_by_their_path_and_the_others_pass(wire: Any, injector: Any) -> None:
    """The status comes from the proxy, the upstream is not asked; what does not match reaches it."""
    words = ["ip", "netns", "exec", wire.far, sys.executable, str(WELL), "9200"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == "ready\n"
            with injector(wire.near) as stream:
                stream.say(hold(wire.peers[0], ways=["proxy"], toxic=FAIL, port=9200))
                assert stream.hear()["is"] == "in"
                assert (_ask(wire, "/rank?player=1"), _ask(wire, "/other")) == (503, 200)
                stream.say(HEAL)
                last = stream.hear()
                assert (last["says"], last["measured"]["failed"]) == ("", 1)
                assert _ask(wire, "/rank?player=1") == 200
        finally:
            server.kill()


def test_the_end_of_the_stream_heals_at_once(wire: Any, injector: Any, until: Callable[..., Any]) -> None:
    """New connections are direct, and what went through the proxy has ended."""
    with injector(wire.near) as stream:
        stream.say(hold(wire.peers[0], ways=["proxy"], lease_s=60.0))
        assert stream.hear()["is"] == "in"
        with wire.connect(wire.peers[0]) as held:
            assert _trip_ms(held) >= 79
            began = time.monotonic()
            stream.end()
            until(lambda: _is_direct(wire, wire.peers[0]), within_s=5.0)
            assert time.monotonic() - began < 2.0
            assert stream.hear()["why"] == "the stream ended"
        assert wire.tables() == []


@pytest.mark.parametrize("name", [signal.SIGKILL, signal.SIGSTOP])
def test_the_kernel_leads_nobody_to_a_proxy_that_is_dead(
    wire: Any, injector: Any, until: Callable[..., Any], name: signal.Signals
) -> None:
    """Killed or stopped, it renews nothing, and connections are direct once the lease is over."""
    with injector(wire.near) as stream:
        stream.say(hold(wire.peers[0], ways=["proxy"], lease_s=1.0))
        assert stream.hear()["is"] == "in"
        stream.process.send_signal(name)
        until(lambda: _is_direct(wire, wire.peers[0]), within_s=5.0)


def test_silence_heals_when_the_lease_is_over(wire: Any, injector: Any) -> None:
    """A stream that stays open and says nothing is nobody's."""
    with injector(wire.near) as stream:
        stream.say(hold(wire.peers[0], ways=["proxy"], lease_s=0.5))
        stream.hear()
        assert stream.hear()["why"] == "no beat came"
        assert wire.tables() == []
        assert _is_direct(wire, wire.peers[0])


def test_without_netem_the_proxy_is_taken_and_the_dose_says_why(wire: Any, injector: Any) -> None:
    """Which way was used is never a guess of the reader's."""
    with injector(wire.near) as stream:
        stream.say(hold(wire.peers[0]))
        measured = stream.hear()["measured"]
        if measured["by"] == "proxy":
            assert "no netem" in measured["why_not"]["netem"]
        stream.say(HEAL)
        assert stream.hear()["measured"]["by"] == measured["by"]
        assert wire.tables() == []


def test_udp_is_refused_where_only_a_proxy_would_do(wire: Any, injector: Any) -> None:
    """A proxy carries no datagrams, and says so before anything is touched."""
    with injector(wire.near) as stream:
        stream.say(hold(wire.peers[0], ways=["proxy"], protocol="udp"))
        told = stream.hear()
        assert (told["is"], "only TCP" in told["says"]) == ("refused", True)
        assert wire.tables() == []


def test_peers_that_change_are_followed(wire: Any, injector: Any) -> None:
    """Another peer takes the place of the first while the fault is in."""
    with injector(wire.near) as stream:
        stream.say(hold(wire.peers[0], ways=["proxy"]))
        stream.hear()
        stream.say({"do": "peers", "networks": [wire.peers[1]]})
        assert stream.hear() == {"is": "changed"}
        assert _is_direct(wire, wire.peers[0])
        assert not _is_direct(wire, wire.peers[1])
        assert TABLE in wire.tables()
