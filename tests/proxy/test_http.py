"""The follower of requests: what it finds in a stream, however the stream is cut."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from agent.proxy.http import HEAD_MAX_BYTES, Requests

paths = st.text("abc/?=%7", min_size=1, max_size=20).map("/{}".format)
ids = st.text("0123456789abcdef", max_size=32)
bodies = st.binary(max_size=60)


@st.composite
def requests(draw: st.DrawFn) -> tuple[bytes, tuple[str, str, str]]:
    """Return a request and its parts; with no body, one of a given length, or a chunked one."""
    path, request_id = draw(paths), draw(ids)
    lines = ["host: x", *([f"X-Request-Id: {request_id}"] if request_id else [])]
    framing = draw(st.sampled_from(["none", "length", "chunked"]))
    method, body = ("GET" if framing == "none" else "POST"), b""
    if framing == "length":
        body = draw(bodies)
        lines.append(f"Content-Length: {len(body)}")
    elif framing == "chunked":
        lines.append("transfer-encoding: chunked")
        chunks = draw(st.lists(bodies.filter(bool), max_size=4))
        body = b"".join(b"%x;a=b\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
        body += b"0\r\n" + draw(st.sampled_from([b"", b"trailer: 1\r\n"])) + b"\r\n"
    head = "\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", ""]).encode()
    return head + body, (method, path, request_id)


@given(st.lists(requests(), max_size=5), st.lists(st.integers(0, 400), max_size=8))
def test_every_request_is_found_with_its_parts_however_the_stream_is_cut(
    stream: list[tuple[bytes, tuple[str, str, str]]], cuts: list[int]
) -> None:
    """Pipelined or torn, with bodies of both framings; and no byte is lost."""
    data = b"".join(raw for raw, _ in stream)
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    follower = Requests()
    pieces = [p for a, b in pairwise(edges) for p in follower.feed(data[a:b])]
    assert b"".join(piece.data for piece in pieces) + follower.rest() == data
    assert [piece.head.parts() for piece in pieces if piece.head] == [parts for _, parts in stream]
    assert not follower.opaque


def test_a_chunked_body_that_is_none_is_carried_unseen() -> None:
    """Following it on would take its bytes for requests."""
    follower = Requests()
    head = b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n"
    for wrong in (b"zz\r\n", b"-1\r\n", b"1_0\r\n", b"5\n", b"1" * (HEAD_MAX_BYTES + 1)):
        follower = Requests()
        pieces = follower.feed(head + wrong)
        assert b"".join(piece.data for piece in pieces) == head + wrong
        assert follower.opaque


def test_a_head_without_end_is_given_up_on() -> None:
    """Memory stays bounded."""
    follower = Requests()
    data = b"GET / HTTP/1.1\r\nx: " + b"y" * (2 * HEAD_MAX_BYTES)
    assert b"".join(piece.data for piece in follower.feed(data)) == data
    assert follower.opaque
