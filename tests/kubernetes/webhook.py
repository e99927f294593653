"""An admission webhook on this machine that the API server has to ask, and that may be down."""

from __future__ import annotations

import base64
import json
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

GROUP = "admissionregistration.k8s.io"


class Webhook:
    """Allows everything while it is up; while it is down whoever asks is refused the connection.

    *address* is one of this machine's that the API server reaches.
    """

    def __init__(self, address: str, folder: Path) -> None:
        self._address, self._port = address, 0
        self._cert, self._key = folder / "webhook.crt", folder / "webhook.key"
        words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        words += ["-days", "1", "-subj", "/CN=board", "-addext", f"subjectAltName=IP:{address}"]
        words += ["-keyout", str(self._key), "-out", str(self._cert)]
        subprocess.run(words, check=True, capture_output=True, timeout=30)
        self._server: ThreadingHTTPServer | None = None
        self.asked: list[str] = []
        """What it was asked, as ``OPERATION resource/subresource``."""

    def up(self) -> None:
        """Answer, on the same port as before."""
        if self._server is not None:
            return
        webhook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                """Allow it."""
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                said = json.dumps(webhook.answer(body["request"])).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, *_: Any) -> None:
                """Keep quiet."""

        server = ThreadingHTTPServer((self._address, self._port), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._cert, self._key)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        server.daemon_threads = True
        self._server, self._port = server, server.server_address[1]
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def down(self) -> None:
        """Be gone: no connection is left, as each carries one request."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return the review of *request*."""
        parts = (request["resource"]["resource"], request.get("subResource") or "")
        self.asked.append(f"{request['operation']} {'/'.join(filter(None, parts))}")
        response = {"uid": request["uid"], "allowed": True}
        return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}

    def registered(self, name: str, namespace: str, *, group: str, resource: str, operation: str) -> Any:
        """Return the object by which the API server asks it about *operation* on *resource*."""
        client = {
            "url": f"https://{self._address}:{self._port}/",
            "caBundle": base64.b64encode(self._cert.read_bytes()).decode(),
        }
        rule = {
            "apiGroups": [group],
            "apiVersions": ["*"],
            "operations": [operation],
            "resources": [resource],
        }
        here = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
        hook = {
            "name": "board.gameday.test",
            "clientConfig": client,
            "rules": [rule],
            "namespaceSelector": here,
            "failurePolicy": "Fail",
            "sideEffects": "None",
            "timeoutSeconds": 2,
            "admissionReviewVersions": ["v1"],
        }
        kind = {"apiVersion": f"{GROUP}/v1", "kind": "ValidatingWebhookConfiguration"}
        return {**kind, "metadata": {"name": name}, "webhooks": [hook]}
