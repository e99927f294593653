"""The page in a real browser: what it asks the network for, and whether it fits."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from agent.report import html

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from agent.model import RunRecord

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--virtual-time-budget=2000",
)

MEASURE = """<script>addEventListener("load", () => {
  const box = e => e.getBoundingClientRect(), root = document.documentElement;
  const names = [...document.querySelectorAll(".mark-name, .fault-name")].map(box).filter(b => b.width);
  const over = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
    && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 4;
  const pairs = names.flatMap((a, n) => names.slice(n + 1).filter(b => over(a, b)));
  const wide = root.scrollWidth - root.clientWidth;
  document.title = `wide=${wide} covered=${pairs.length} names=${names.length}`;
});</script>"""

pytestmark = [
    pytest.mark.chromium,
    pytest.mark.skipif(BROWSER is None and not os.environ.get("CI"), reason="no Chromium on this machine"),
]


def look(page: Path, *flags: str) -> str:
    """Open *page* in a fresh profile and return the document as it stands after loading."""
    assert BROWSER is not None, "CI needs a Chromium"
    profile = page.with_suffix(".profile")
    command = [BROWSER, *FLAGS, f"--user-data-dir={profile}", *flags, "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, timeout=60, check=True)
    return done.stdout.decode()


@contextlib.contextmanager
def proxy() -> Iterator[tuple[int, list[str]]]:
    """Serve as an HTTP proxy that answers nothing and writes down what it was asked for."""
    asked: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    connection.settimeout(5)
                    with connection, contextlib.suppress(OSError):
                        asked.append(connection.recv(4096).decode("latin-1").split("\r\n")[0])

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1], asked
        server.shutdown(socket.SHUT_RDWR)
    thread.join(10)


def requests(page: Path) -> list[str]:
    """Return what opening *page* asked of ``evil.example``, through a proxy that everything must take."""
    with proxy() as (port, asked):
        look(page, f"--proxy-server=http://127.0.0.1:{port}", "--proxy-bypass-list=<-loopback>")
    return [line for line in asked if "evil.example" in line]


def test_no_request_leaves_a_hostile_page(stories: dict[str, RunRecord], tmp_path: Path) -> None:
    """A page full of foreign markup asks the network for nothing."""
    page = tmp_path / "page.html"
    page.write_text(html(stories["hostile"]), "utf-8")
    assert requests(page) == []


def test_the_proxy_notices_a_request(tmp_path: Path) -> None:
    """A page that does load something is noticed, so the test above can fail."""
    page = tmp_path / "page.html"
    page.write_text('<img src="http://evil.example/x.png">', "utf-8")
    assert requests(page) == ["GET http://evil.example/x.png HTTP/1.1"]


def test_the_policy_stops_what_would_slip_through(stories: dict[str, RunRecord], tmp_path: Path) -> None:
    """Were a tag ever to get onto the page unescaped, the page's own policy would still load nothing."""
    page = tmp_path / "page.html"
    slipped = '<body><img src="http://evil.example/x.png"><script src="http://evil.example/x.js"></script>'
    page.write_text(html(stories["held"]).replace("<body>", slipped), "utf-8")
    assert requests(page) == []


@pytest.mark.parametrize("width", [1200, 500])
@pytest.mark.parametrize("name", ["held", "deviated", "not_recovered", "aborted", "long", "refused"])
def test_the_page_fits_its_window(
    stories: dict[str, RunRecord], tmp_path: Path, name: str, width: int
) -> None:
    """Nothing is wider than the window, and no label covers another in the font the browser chose."""
    page = tmp_path / "page.html"
    text = re.sub(r"<meta http-equiv=.*?>", MEASURE, html(stories[name]), count=1)
    page.write_text(text, "utf-8")
    title = re.search(r"<title>(.*?)</title>", look(page, f"--window-size={width},1600"))
    assert title is not None
    assert title[1].startswith("wide=0 covered=0 names="), title[1]
    assert name == "refused" or not title[1].endswith("names=0")
