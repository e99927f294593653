"""Probes of HTTP and TCP against a real server on loopback."""

from __future__ import annotations

import http.server
import json
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest

from agent.model import NoEvidence
from probes import http as http_probes
from probes import tcp

if TYPE_CHECKING:
    from collections.abc import Iterator

BODIES = {
    "/fine": (200, json.dumps({"shards": [{"name": "a"}, {"name": "b"}], "rank": None}).encode()),
    "/broken": (500, b"no"),
    "/missing": (404, b"not here"),
    "/text": (200, b"hello"),
    "/large": (200, b"x" * (http_probes.BODY_MAX_BYTES + 1)),
}


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers from BODIES; /loop redirects to itself, /silent never answers, /who tells a header."""

    def do_GET(self) -> None:
        """Answer."""
        if self.path == "/silent":
            self.server.never.wait(10)  # type: ignore[attr-defined]
            return
        status, body = (302, b"") if self.path == "/loop" else BODIES.get(self.path, (200, b""))
        if self.path == "/who":
            body = json.dumps({"who": self.headers["x-who"]}).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        if status == 302:
            self.send_header("location", self.path)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The address of the server."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.never = threading.Event()  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.never.set()  # type: ignore[attr-defined]
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("path", "answers"),
    [("/fine", True), ("/missing", True), ("/large", True), ("/broken", False), ("/silent", False)],
)
def test_a_server_responds_when_it_answers_below_500_in_time(url: str, path: str, answers: bool) -> None:
    """However long the body is; silence is no answer."""
    assert http_probes.responds(url=url + path, timeout_s=0.5) is answers


def test_the_status_is_told_and_no_answer_is_no_status(url: str) -> None:
    """A status that was not seen must not pass for one that was."""
    assert http_probes.status(url=url + "/missing") == 404
    for wrong in ("http://127.0.0.1:1/", "http://[", url + "/loop", "ftp://127.0.0.1/"):
        with pytest.raises(NoEvidence, match="did not answer"):
            http_probes.status(url=wrong)


def test_a_value_is_found_by_its_path(url: str) -> None:
    """Through objects and lists, null included; headers reach the server."""
    assert http_probes.json_value(url=url + "/fine", path="shards.1.name") == "b"
    assert http_probes.json_value(url=url + "/fine", path="rank") is None
    assert http_probes.json_value(url=url + "/who", path="who", headers={"x-who": "me"}) == "me"


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("/fine", "shards.2.name", "no '2' on the way"),
        ("/fine", "shards.name", "no 'name' on the way"),
        ("/fine", "rank.of", "no 'of' on the way"),
        ("/text", "x", "no JSON"),
        ("/large", "x", "more than"),
    ],
)
def test_what_is_not_there_is_an_error_that_says_where(url: str, path: str, value: str, says: str) -> None:
    """Never a None that looks like an answer."""
    with pytest.raises(NoEvidence, match=says):
        http_probes.json_value(url=url + path, path=value)


def test_a_port_accepts_or_not() -> None:
    """A listener does, a port that nobody listens on does not."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert tcp.accepts(host="127.0.0.1", port=port) is True
    assert tcp.accepts(host="127.0.0.1", port=port) is False
