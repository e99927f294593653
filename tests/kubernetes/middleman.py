"""An HTTP server between the agent and the API server, for what an API server does on bad days."""

from __future__ import annotations

import base64
import json
import socket
import ssl
import threading
from contextlib import closing, suppress
from http.client import HTTPSConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Middleman:
    """An HTTP server on loopback that hands everything on to the API server, except what it is told not to.

    ``meddle`` gets method and path, and returns a status to answer with, ``"hang up"``, ``"lose the answer"``
    or None.  Streams and watches go through as they are, until they are hung up or silenced.
    """

    def __init__(self, kubeconfig: Path) -> None:
        config = json.loads(kubeconfig.read_text())
        self.meddle: Callable[[str, str], int | str | None] = lambda _method, _path: None
        self.rewrite: Callable[[str], str] = lambda path: path
        """What the API server is asked for instead of a path."""
        self.seen: list[tuple[str, str]] = []
        self.silent = threading.Event()
        """Nothing goes through any more, and nobody hangs up."""
        self._over = threading.Event()
        self._streams: list[socket.socket] = []
        cluster = config["clusters"][0]["cluster"]
        self._upstream = urlsplit(cluster["server"])
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self._tls = ssl.create_default_context(cadata=authority)
        middleman = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                middleman.answer(self)

            do_GET = do_POST = do_DELETE = do_PATCH = do_PUT = answer  # noqa: N815  # the names are the library's

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        cluster["server"] = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.config = config
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self) -> Self:
        """Begin to answer."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self._over.set()
        self.hang_up()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        self.seen.append((request.command, request.path))
        if self.silent.is_set():
            self._over.wait()
        verdict = self.meddle(request.command, request.path)
        request.path = self.rewrite(request.path)
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        if verdict == "hang up":
            request.close_connection = True
            request.connection.shutdown(socket.SHUT_RDWR)
            return
        if verdict is None and (request.headers.get("Upgrade") or "watch=true" in request.path):
            self._join(request)
            return
        if isinstance(verdict, int):
            status, said, kind = verdict, b'{"kind": "Status", "message": "meddled with"}', "application/json"
        else:
            status, said, kind = self._hand_on(request, body)
        if verdict == "lose the answer":
            request.close_connection = True
            request.connection.shutdown(socket.SHUT_RDWR)
            return
        request.send_response(status)
        request.send_header("Content-Type", kind)
        request.send_header("Content-Length", str(len(said)))
        request.end_headers()
        request.wfile.write(said)

    def _hand_on(self, request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, bytes, str]:
        kept = {k: v for k, v in request.headers.items() if k.lower() not in ("host", "connection")}
        upstream = HTTPSConnection(
            str(self._upstream.hostname), self._upstream.port, timeout=20, context=self._tls
        )
        with closing(upstream):
            upstream.request(request.command, request.path, body=body or None, headers=kept)
            answer = upstream.getresponse()
            return answer.status, answer.read(), answer.headers.get("Content-Type", "application/json")

    def hang_up(self) -> None:
        """End every stream and watch that is open, as an API server does that is restarted."""
        while self._streams:
            with suppress(OSError):
                self._streams.pop().shutdown(socket.SHUT_RDWR)

    def _join(self, request: BaseHTTPRequestHandler) -> None:
        """Carry *request* and all that follows on its connection to and fro until one side ends it."""
        request.close_connection = True
        where = (str(self._upstream.hostname), self._upstream.port)
        plain = socket.create_connection(where)
        with self._tls.wrap_socket(plain, server_hostname=where[0]) as far:
            head = [f"{request.command} {request.path} HTTP/1.1", *str(request.headers).splitlines(), "", ""]
            far.sendall("\r\n".join(line for line in head[:-2] if line).encode() + b"\r\n\r\n")
            near = request.connection
            self._streams += [near, far]
            back = threading.Thread(target=self._carry, args=(far, near), daemon=True)
            back.start()
            self._carry(near, far)
            back.join()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if self.silent.is_set():
                    self._over.wait()
                sink.sendall(data)
        for each in (source, sink):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
