"""Connections that are led through a proxy inside a network namespace, on which faults come and go."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from agent.faults.inside.clocks import Clock, Exchange
from agent.faults.kernel.scope import Scope, parse
from agent.injector import orders
from agent.injector.orders import HEAL, RENEW, TOXICS, Lead

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.root

TABLE = "gameday_0123456789abcdef"
PORT = 9200
WELL = Path(__file__).with_name("well.py")
TIMES = {"lease_s": 5.0, "max_duration_s": 60.0}
ALONE = {"kind": "fail_requests", "status": 500, "path": "/rank*", "max_duration_s": 30.0}


@contextmanager
def _served(wire: Any) -> Iterator[None]:
    words = ["ip", "netns", "exec", wire.far, sys.executable, str(WELL), str(PORT)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == "ready\n"
            yield
        finally:
            server.kill()


@contextmanager
def _led(wire: Any, injector: Any, **changes: Any) -> Iterator[Any]:
    """Yield the stream of an injector that leads what is opened to the first peer."""
    scope = Scope(networks=parse([wire.peers[0]]), port=PORT, protocol="tcp", direction="egress")
    with _served(wire), injector(wire.near) as stream:
        stream.say(Lead(table=TABLE, scope=scope, **{**TIMES, **changes}).to_json())
        told = stream.hear()
        assert told["is"] == "in", told
        yield stream


def _said(stream: Any, line: dict[str, Any]) -> dict[str, Any]:
    stream.say(line)
    told: dict[str, Any] = stream.hear()
    return told


def _ask(wire: Any, path: str = "/rank?player=1") -> int:
    """Return the status, 0 where the connection is refused or ends, -1 where nothing comes."""
    try:
        with wire.connect(wire.peers[0], port=PORT, timeout_s=0.5) as connection:
            ask = f"GET {path} HTTP/1.1\r\nhost: x\r\nx-request-id: 7b\r\nconnection: close\r\n\r\n"
            connection.sendall(ask.encode())
            answer: bytes = connection.recv(4096)
    except TimeoutError:
        return -1
    except OSError:
        return 0
    return int(answer.split()[1]) if answer else 0


@pytest.mark.parametrize(
    ("toxic", "status"),
    [
        ({"kind": "fail_requests", "status": 500}, 500),
        ({"kind": "partition"}, -1),
        ({"kind": "refuse", "connections": "reset"}, 0),
        ({"kind": "reset", "on": "request"}, 0),
    ],
)
def test_a_fault_comes_and_goes_and_the_redirect_stays(
    wire: Any, injector: Any, toxic: dict[str, Any], status: int
) -> None:
    """Well before, failing while it is on, well after, all through one and the same proxy."""
    with _led(wire, injector) as stream:
        assert _ask(wire) == 200
        put = _said(stream, orders.put_toxic("one", {**toxic, "max_duration_s": 30.0}))
        assert (put["is"], put["holds"]) == ("put", True), put
        assert _said(stream, TOXICS)["names"] == ["one"]
        assert _ask(wire) == status
        taken = _said(stream, orders.take_toxic("one"))
        assert taken["dose"]["n"] == (0 if toxic["kind"] == "refuse" else 1)
        assert _ask(wire) == 200
        assert _said(stream, orders.take_toxic("one"))["dose"] is None
        assert _said(stream, HEAL)["measured"]["connections"] >= 2
    assert wire.tables() == []


def test_what_came_over_it_is_told_with_the_moments_of_the_exchange(wire: Any, injector: Any) -> None:
    """Each request once, answered or not yet; on one host the clocks agree to what the exchange can tell."""
    with _led(wire, injector) as stream:
        began = time.monotonic()
        assert _ask(wire) == 200
        _said(stream, orders.put_toxic("silence", {"kind": "partition", "max_duration_s": 30.0}))
        with wire.connect(wire.peers[0], port=PORT) as waiting:
            waiting.sendall(b"GET /late HTTP/1.1\r\nhost: x\r\n\r\n")
            clock = Clock()
            seen: dict[str, Any] = {"open": []}
            while not seen["open"]:
                asked = time.monotonic()
                seen = _said(stream, orders.arrivals(0))
                clock.learn(
                    Exchange(asked=asked, heard=seen["heard"], told=seen["told"], answered=time.monotonic())
                )
        (request,), (late,) = seen["requests"], seen["open"]
        assert (request["path"], request["status"], request["id"]) == ("/rank?player=1", 200, "7b")
        assert late["path"] == "/late"
        at = clock.ours(request["monotonic_at"])
        assert abs(at - request["monotonic_at"]) <= clock.worst_s
        assert began - clock.worst_s <= at <= time.monotonic()
        again = _said(stream, orders.arrivals(seen["seq"]))
        assert [each["path"] for each in again["requests"]] in ([], ["/late"])


def test_questions_are_no_beat(wire: Any, injector: Any) -> None:
    """Only a beat renews the lease: whoever asks on and renews nothing loses the link."""
    with _led(wire, injector, lease_s=1.0) as stream:
        since, told = time.monotonic(), {"is": ""}
        while told["is"] != "healed" and time.monotonic() - since < 10.0:
            told = _said(stream, TOXICS)
        assert told["why"] == "no beat came"
        assert 0.9 < time.monotonic() - since < 5.0
        assert _ask(wire) == 200
    assert wire.tables() == []


def test_beats_keep_link_and_faults_and_the_end_of_the_stream_ends_both(
    wire: Any, injector: Any, until: Callable[..., Any]
) -> None:
    """A fault has no lease of its own beside the link's."""
    with _led(wire, injector, lease_s=1.0) as stream:
        assert _said(stream, orders.put_toxic("one", ALONE))["holds"]
        since = time.monotonic()
        while time.monotonic() - since < 2.0:
            assert _said(stream, RENEW) == {"is": "renewed"}
            assert (_ask(wire), _ask(wire, "/other")) == (500, 200)
        stream.end()
        until(lambda: _ask(wire) == 200, within_s=5.0)
        assert stream.hear()["why"] == "the stream ended"


def test_a_fault_that_makes_no_sense_is_refused_and_the_link_stays(wire: Any, injector: Any) -> None:
    """It says why; nothing is on."""
    with _led(wire, injector) as stream:
        put = _said(stream, orders.put_toxic("one", {"kind": "hurricane", "max_duration_s": 30.0}))
        assert (put["holds"], "hurricane" in put["says"]) == (False, True)
        assert _said(stream, TOXICS)["names"] == []
        assert _ask(wire) == 200
