"""What crosses a link, untouched and under each toxic."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
import urllib.error
import urllib.request
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.model import UsageError
from agent.proxy.client import ProxyClient, ProxyGone
from agent.proxy.http import Requests

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Proxy

relaxed = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
requests = st.lists(
    st.one_of(
        st.just(b"GET /a HTTP/1.1\r\nhost: x\r\n\r\n"),
        st.binary(max_size=200).map(
            lambda body: b"POST /b HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
        ),
        st.binary(min_size=1, max_size=200).map(
            lambda body: (
                b"PUT /c HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n"
                % (len(body), body)
            )
        ),
    ),
    max_size=6,
).map(b"".join)
streams = st.one_of(
    st.binary(max_size=5000), requests, st.tuples(requests, st.binary(max_size=99)).map(b"".join)
)


def echo(connection: socket.socket) -> None:
    """Send back what comes, until the other side has said all."""
    while data := connection.recv(65536):
        connection.sendall(data)


def exchange(where: tuple[str, int], data: bytes, *, timeout_s: float = 10.0) -> bytes:
    """Send *data*, half-close, and return everything that comes back."""
    with socket.create_connection(where, timeout=timeout_s) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        return read_all(connection)


def read_all(connection: socket.socket) -> bytes:
    """Return everything until the other side's end."""
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


def test_every_stream_crosses_byte_for_byte(proxy: Proxy, serve: Callable[..., int]) -> None:
    """Bytes, pipelined HTTP, HTTP that turns into something else; half-closes included."""
    where = proxy.link(serve(echo))

    @relaxed
    @given(streams)
    def crosses(data: bytes) -> None:
        assert exchange(where, data) == data

    crosses()


@given(data=streams, cuts=st.lists(st.integers(0, 5000), max_size=8))
def test_the_request_follower_changes_no_byte_however_the_stream_is_cut(data: bytes, cuts: list[int]) -> None:
    """Pieces and the kept rest, put together, are what came in."""
    follower, out = Requests(), b""
    bounds = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for begin, end in pairwise(bounds):
        out += b"".join(piece.data for piece in follower.feed(data[begin:end]))
    assert out + follower.rest() == data


def test_a_large_stream_crosses_whole_and_quickly_enough(proxy: Proxy, serve: Callable[..., int]) -> None:
    """Backpressure in both directions loses nothing."""

    def swallow(connection: socket.socket) -> None:
        total = len(read_all(connection))
        connection.sendall(str(total).encode())

    where = proxy.link(serve(swallow))
    assert exchange(where, os.urandom(1 << 16) * 256) == str(1 << 24).encode()


def test_a_client_that_stops_reading_does_not_grow_memory(
    proxy: Proxy, serve: Callable[..., int], until: Callable[..., Any]
) -> None:
    """The upstream is held back instead."""
    import psutil

    sent = [0]

    def pour(connection: socket.socket) -> None:
        connection.settimeout(1.0)
        for _ in range(4096):
            sent[0] += connection.send(b"x" * 65536)

    where = proxy.link(serve(pour))
    before = psutil.Process(proxy.process.pid).memory_info().rss
    with socket.create_connection(where) as connection:
        connection.recv(1)
        until(lambda: _stalls(sent))
        grown = psutil.Process(proxy.process.pid).memory_info().rss - before
    assert sent[0] < 100 << 20
    assert grown < 30 << 20


def _stalls(sent: list[int]) -> bool:
    before = sent[0]
    time.sleep(0.2)  # the interval in which nothing may move is what is measured
    return sent[0] == before


def test_a_link_survives_the_restart_of_its_upstream(proxy: Proxy, serve: Callable[..., int]) -> None:
    """Nobody behind it: the connection ends; somebody there again: it carries."""
    spare = socket.create_server(("127.0.0.1", 0))
    port = spare.getsockname()[1]
    spare.close()
    where = proxy.link(port)
    assert _ends(where)
    serve(echo, port)
    assert exchange(where, b"hello") == b"hello"


def _ends(where: tuple[str, int]) -> bool:
    """Whether a connection is ended before a byte comes back, orderly or not."""
    try:
        with socket.create_connection(where, timeout=5) as connection:
            return connection.recv(1) == b""
    except ConnectionError:
        return True


def test_delay_holds_the_answer_for_its_time_and_says_so(proxy: Proxy, serve: Callable[..., int]) -> None:
    """150 ms asked, 150 ms measured, and none after it is gone."""
    where = proxy.link(serve(echo))
    proxy.poison("delay", latency_ms=150, direction="downstream")
    began = time.monotonic()
    assert exchange(where, b"x") == b"x"
    assert 0.145 <= time.monotonic() - began < 2.0
    dose = proxy.client.delete_toxic("link", "t")["dose"]
    assert 149 <= dose["held_p50_ms"] < 200
    assert proxy.client.delete_toxic("link", "t") == {"found": False}


def test_a_partition_is_silent_and_what_was_said_goes_on_afterwards(
    proxy: Proxy, serve: Callable[..., int]
) -> None:
    """As behind a cut cable that is mended: the connection lives."""
    where = proxy.link(serve(echo))
    with socket.create_connection(where, timeout=0.3) as connection:
        connection.sendall(b"one")
        assert connection.recv(9) == b"one"
        proxy.poison("partition")
        connection.sendall(b"two")
        with pytest.raises(TimeoutError):
            connection.recv(9)
        proxy.client.delete_toxic("link", "t")
        connection.settimeout(10)
        assert connection.recv(9) == b"two"


def test_what_a_partition_held_may_be_lost_and_new_connections_are_well(
    proxy: Proxy, serve: Callable[..., int], until: Callable[..., Any]
) -> None:
    """The connection stays silent for good, and is gone when its client ends it; others never notice."""
    where = proxy.link(serve(echo))
    with socket.create_connection(where, timeout=0.3) as connection:
        connection.sendall(b"one")
        assert connection.recv(9) == b"one"
        proxy.poison("partition", held="lost")
        connection.sendall(b"two")
        with pytest.raises(TimeoutError):
            connection.recv(9)
        proxy.client.delete_toxic("link", "t")
        connection.sendall(b"three")
        with pytest.raises(TimeoutError):
            connection.recv(9)
        assert exchange(where, b"x") == b"x"
    until(lambda: proxy.client.links()[0]["connections"] == 0)


@pytest.mark.parametrize("connections", ["reset", "kept"])
def test_refuse_refuses_and_accepts_again(proxy: Proxy, serve: Callable[..., int], connections: str) -> None:
    """As when the process behind is gone: nobody listens, and what was open ends too unless kept."""
    where = proxy.link(serve(echo))
    with socket.create_connection(where, timeout=5) as connection:
        connection.sendall(b"x")
        assert connection.recv(1) == b"x"
        proxy.poison("refuse", connections=connections)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(where, timeout=5)
        if connections == "reset":
            with pytest.raises(ConnectionResetError):
                connection.recv(1)
        else:
            connection.sendall(b"y")
            assert connection.recv(1) == b"y"
    proxy.client.delete_toxic("link", "t")
    assert exchange(where, b"x") == b"x"


def test_reset_breaks_what_is_open_and_what_comes(proxy: Proxy, serve: Callable[..., int]) -> None:
    """RST, not an orderly end."""
    where = proxy.link(serve(echo))
    with socket.create_connection(where, timeout=5) as connection:
        connection.sendall(b"x")
        assert connection.recv(1) == b"x"
        proxy.poison("reset")
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    with pytest.raises(ConnectionResetError):
        exchange(where, b"x")


def test_a_reset_with_the_request_is_seen_in_the_log(proxy: Proxy, serve: Callable[..., int]) -> None:
    """The connection is accepted, the request is noted without an answer, and then comes the RST."""
    where = proxy.link(serve(echo))
    proxy.poison("reset", on="request")
    with socket.create_connection(where, timeout=5) as connection:
        connection.sendall(b"GET /x HTTP/1.1\r\nhost: h\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    asked = [each for each in proxy.client.arrivals() if each["kind"] == "request"]
    assert [(each["path"], each["status"]) for each in asked] == [("/x", None)]
    assert proxy.client.delete_toxic("link", "t")["dose"]["n"] == 1


def test_throttle_lets_so_many_bytes_a_second_through(proxy: Proxy, serve: Callable[..., int]) -> None:
    """20 kB at 40 kB/s take half a second."""
    where = proxy.link(serve(echo))
    proxy.poison("throttle", bytes_per_s=40_000, direction="downstream")
    began = time.monotonic()
    assert len(exchange(where, b"x" * 20_000)) == 20_000
    assert 0.4 <= time.monotonic() - began < 3.0


def _answer(connection: socket.socket) -> None:
    """Answer each request with its own path."""
    follower = Requests()
    while data := connection.recv(65536):
        for piece in follower.feed(data):
            if piece.head:
                body = piece.head.path.encode()
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))


def test_failing_requests_hit_one_path_only_and_keep_the_order_of_a_pipeline(
    proxy: Proxy, serve: Callable[..., int]
) -> None:
    """Three pipelined requests: the middle one fails in its place, and the upstream never sees it."""
    where = proxy.link(serve(_answer))
    proxy.poison("fail_requests", status=503, path="/bad/*")
    pipeline = b"".join(b"GET %s HTTP/1.1\r\nhost: x\r\n\r\n" % p for p in (b"/one", b"/bad/two", b"/three"))
    told = exchange(where, pipeline)
    assert told.index(b"/one") < told.index(b"HTTP/1.1 503") < told.index(b"/three")
    assert b"/bad/two" not in told


def test_failing_requests_can_be_chosen_by_header(proxy: Proxy, serve: Callable[..., int]) -> None:
    """One key of many fails."""
    where = proxy.link(serve(_answer))
    proxy.poison("fail_requests", status=500, header="x-key", value="7")
    for key, status in ((b"7", b"500"), (b"8", b"200")):
        told = exchange(where, b"GET /x HTTP/1.1\r\nhost: x\r\nX-Key: %s\r\n\r\n" % key)
        assert told.split(b" ")[1] == status


@pytest.mark.parametrize(("toxicity", "hit"), [(0.0, 0), (1.0, 8)])
def test_toxicity_is_the_share_that_is_hit(
    proxy: Proxy, serve: Callable[..., int], toxicity: float, hit: int
) -> None:
    """None of eight, or all of eight."""
    where = proxy.link(serve(_answer))
    proxy.poison("fail_requests", toxicity=toxicity)
    told = exchange(where, b"GET /x HTTP/1.1\r\nhost: x\r\n\r\n" * 8)
    assert told.count(b"HTTP/1.1 503") == hit
    assert told.count(b"HTTP/1.1 200") == 8 - hit


def test_a_toxic_that_nobody_renews_ends_by_itself(
    proxy: Proxy, until: Callable[..., Any], serve: Callable[..., int]
) -> None:
    """The lease is the proxy's own, so no process has to be left."""
    proxy.link(serve(echo))
    proxy.poison("delay", latency_ms=10, lease_s=0.2)
    until(lambda: not proxy.client.get_toxic("link", "t")["found"])


def test_renewing_extends_but_never_beyond_the_hard_end(
    proxy: Proxy, until: Callable[..., Any], serve: Callable[..., int]
) -> None:
    """max_duration_s ends it whatever renews."""
    proxy.link(serve(echo))
    proxy.poison("delay", latency_ms=10, lease_s=0.3, max_duration_s=1.0)
    began = time.monotonic()
    until(lambda: not proxy.client.renew_toxic("link", "t", 30)["found"])
    assert 0.9 <= time.monotonic() - began < 5.0


def test_requests_are_logged_as_they_arrive(
    proxy: Proxy, serve: Callable[..., int], until: Callable[..., Any]
) -> None:
    """With id, path, status and how long they took; in the ring and in the file."""
    where = proxy.link(serve(_answer))
    exchange(where, b"GET /x HTTP/1.1\r\nhost: x\r\nx-request-id: abc\r\n\r\n")
    logged = until(lambda: [a for a in proxy.client.arrivals() if a["kind"] == "request"])
    assert [(a["id"], a["path"], a["status"]) for a in logged] == [("abc", "/x", 200)]
    file = proxy.home / "proxy" / "arrivals.jsonl"
    until(lambda: "abc" in file.read_text())


def test_a_request_without_an_answer_is_logged_as_such(
    proxy: Proxy, serve: Callable[..., int], until: Callable[..., Any]
) -> None:
    """What a dependency never answered is what a breaker counts."""
    where = proxy.link(serve(lambda connection: connection.recv(4096)))
    exchange(where, b"GET /lost HTTP/1.1\r\nhost: x\r\n\r\n")
    logged = until(lambda: [a for a in proxy.client.arrivals() if a["kind"] == "request"])
    assert [(a["path"], a["status"]) for a in logged] == [("/lost", None)]


def test_a_pair_whose_both_sides_said_all_is_let_go(
    proxy: Proxy, serve: Callable[..., int], until: Callable[..., Any]
) -> None:
    """Half-closes of both sides leave no connection behind."""
    where = proxy.link(serve(echo))
    for _ in range(5):
        exchange(where, b"x")
    until(lambda: proxy.client.links()[0]["connections"] == 0)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"kind": "sleep"}, "kind is one of"),
        ({"kind": "delay"}, "latency_ms is a number"),
        ({"kind": "delay", "latency_ms": 1, "colour": "red"}, "no field 'colour'"),
        ({"kind": "partition", "direction": "up"}, "direction is one of"),
        ({"kind": "partition", "held": "back"}, "kept or lost"),
        ({"kind": "refuse", "toxicity": 2}, "toxicity is a number from 0 to 1"),
    ],
)
def test_misuse_is_answered_with_a_sentence(
    proxy: Proxy, serve: Callable[..., int], fields: dict[str, Any], says: str
) -> None:
    """And nothing is put on the link."""
    proxy.link(serve(echo))
    with pytest.raises(UsageError, match=says):
        proxy.client.put_toxic("link", "t", **{"lease_s": 1, "max_duration_s": 1, **fields})
    assert proxy.client.links()[0]["toxics"] == []


def test_nobody_gets_in_without_the_token(proxy: Proxy) -> None:
    """The API can break things."""
    with pytest.raises(UsageError, match="token"):
        ProxyClient(api=proxy.client.api).links()
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"http://{proxy.client.api}/links", timeout=5)


def test_the_state_file_is_the_owners_only_and_goes_with_the_proxy(proxy: Proxy) -> None:
    """It holds the token."""
    state = proxy.home / "proxy.json"
    assert state.stat().st_mode & 0o777 == 0o600
    assert json.loads(state.read_text())["pid"] == proxy.process.pid
    proxy.process.send_signal(signal.SIGTERM)
    assert proxy.process.wait(10) == 0
    assert not state.exists()
    with pytest.raises(ProxyGone):
        proxy.client.links()


def test_what_is_asked_and_not_answered_yet_is_listed(
    proxy: Proxy, serve: Callable[..., int], until: Callable[..., Any]
) -> None:
    """As the arrival log will have it, with no status yet, its age and the toxics on its way."""
    where = proxy.link(serve(lambda connection: list(iter(lambda: connection.recv(4096), b""))))
    proxy.poison("delay", latency_ms=1, direction="upstream")
    with socket.create_connection(where, timeout=10) as connection:
        connection.sendall(b"GET /held HTTP/1.1\r\nhost: x\r\n\r\n")
        (asked,) = until(lambda: proxy.client.open_requests("link"))
        assert (asked["path"], asked["status"], asked["toxics"]) == ("/held", None, ["t"])
        assert 0 <= asked["took_s"] < 60
    until(lambda: not proxy.client.open_requests("link"))
    (logged,) = [each for each in proxy.client.arrivals() if each["kind"] == "request"]
    assert {**asked, "seq": logged["seq"], "took_s": logged["took_s"]} == logged
