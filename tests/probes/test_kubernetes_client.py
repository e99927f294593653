"""The client of the API server against a real HTTP server on loopback: limits, repeats and redirects."""

from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from agent.clients import kubernetes
from agent.model import Unsupported

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

type Answer = tuple[int, dict[str, str], bytes]


@contextmanager
def _server(answer: Callable[[str], Answer], folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """Serve *answer* and yield a kubeconfig that names the server, and the requests so far."""
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.path)
            status, headers, body = answer(self.path)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield _kubeconfig(folder, f"http://127.0.0.1:{server.server_address[1]}"), seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _kubeconfig(folder: Path, server: str, context: str = "here") -> Path:
    path = folder / "kubeconfig"
    both = [{"name": name, "context": {"cluster": "c", "user": "u"}} for name in ("here", "there")]
    whole = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": {"token": "secret-token"}}],
        "contexts": both,
        "current-context": context,
    }
    path.write_text(json.dumps(whole))
    return path


def test_lists_are_read_page_by_page_with_the_filters_on_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three pages of two; selectors and size go along with every one."""

    def answer(path: str) -> Answer:
        page = 2 if "continue=2" in path else 1 if "continue=1" in path else 0
        meta = {"continue": str(page + 1)} if page < 2 else {}
        items = [{"n": 2 * page}, {"n": 2 * page + 1}]
        return 200, {}, json.dumps({"metadata": meta, "items": items}).encode()

    with _server(answer, tmp_path) as (kubeconfig, seen):
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
        with kubernetes.connect() as api:
            found = [each["n"] for each in api.items("/x", selector="app=a", fields="f=g", page=2)]
    assert found == list(range(6))
    assert all("labelSelector=app%3Da" in path and "fieldSelector=f%3Dg" in path for path in seen)
    assert all("limit=2" in path for path in seen)


def test_a_read_is_tried_three_times_and_never_sleeps_as_long_as_it_is_told_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Retry-After says ten minutes; the error comes after a second or so, with its status."""
    body = b'{"kind": "Status", "message": "slow down"}'
    with _server(lambda _: (429, {"Retry-After": "600"}, body), tmp_path) as (kubeconfig, seen):
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
        began = time.monotonic()
        with (
            kubernetes.connect() as api,
            pytest.raises(kubernetes.KubernetesError, match="slow down") as told,
        ):
            api.get("/x")
    assert (told.value.status, told.value.passing, len(seen)) == (429, True, 3)
    assert time.monotonic() - began < 60


def test_a_redirect_is_an_answer_and_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our token goes nowhere else."""
    moved = (302, {"Location": "http://127.0.0.1:9/elsewhere"}, b"moved")
    with _server(lambda _: moved, tmp_path) as (kubeconfig, seen):
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
        with kubernetes.connect() as api:
            assert api.raw("/x") == b"moved"
    assert seen == ["/x"]


def test_the_ledger_gets_a_place_without_secrets_that_names_its_context(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Later another context may be the current one, or the file may name another server."""
    monkeypatch.setenv("KUBECONFIG", str(_kubeconfig(tmp_path, "http://127.0.0.1:1")))
    with kubernetes.connect() as api:
        place = api.place.to_json()
    assert (place["context"], "secret-token" in json.dumps(place)) == ("here", False)
    _kubeconfig(tmp_path, "http://127.0.0.1:1", context="there")
    with kubernetes.connect(place) as api:
        assert api.place.context == "here"
    _kubeconfig(tmp_path, "http://127.0.0.1:2")
    with pytest.raises(kubernetes.KubernetesError, match="this was done at"), kubernetes.connect(place):
        pass


def test_without_a_cluster_the_error_says_what_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No file, not inside a cluster; and a context that is not in the file."""
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(Unsupported, match="set KUBECONFIG"), kubernetes.connect():
        pass
    monkeypatch.setenv("KUBECONFIG", str(_kubeconfig(tmp_path, "http://127.0.0.1:1")))
    monkeypatch.setenv("GAMEDAY_KUBECONTEXT", "nowhere")
    with pytest.raises(Unsupported, match="nowhere"), kubernetes.connect():
        pass
