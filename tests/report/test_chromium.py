"""The page in a real browser: what it asks the network for, and whether it fits."""

from __future__ import annotations

import contextlib
import html as markup
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
  for (const each of document.querySelectorAll("details")) each.open = true;
  const named = ".mark-name, .fault-name, .state-name, .row-title, .row-note, .tick, .gauge-note";
  const names = [...document.querySelectorAll(named)].map(e => [e, box(e)]).filter(([, b]) => b.width);
  const over = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
    && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 4;
  const pairs = names.flatMap(([e, a], n) => names.slice(n + 1, n + 60).filter(([, b]) => over(a, b))
    .map(([f]) => e.textContent + "/" + f.textContent));
  const wide = root.scrollWidth - root.clientWidth;
  const outside = names.filter(([, b]) => b.right > root.clientWidth + 1 || b.left < -1).length;
  const told = {wide, covered: pairs.length, outside, names: names.length};
  top.document.title = Object.entries(told).map(([k, v]) => `${k}=${v}`).join(" ") + ` ${pairs[0] || ""}`;
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


def measured(text: str, folder: Path, width: int) -> str:
    """Return what a page measures of itself in a frame of *width*; no window is as narrow as a phone."""
    inside = re.sub(r"<meta http-equiv=.*?>", MEASURE, text, count=1)
    page = folder / "page.html"
    frame = (
        f'<iframe width="{width}" height="1600" style="border: 0" srcdoc="{markup.escape(inside)}"></iframe>'
    )
    page.write_text(f'<!doctype html><meta charset="utf-8"><body style="margin: 0">{frame}', "utf-8")
    title = re.search(r"<title>(.*?)</title>", look(page, "--window-size=1300,1600"))
    assert title is not None
    return title[1]


@pytest.mark.parametrize("width", [1200, 390])
@pytest.mark.parametrize(
    "name", ["held", "deviated", "not_recovered", "aborted", "long", "refused", "breaker"]
)
def test_the_page_fits_its_window(
    stories: dict[str, RunRecord], tmp_path: Path, name: str, width: int
) -> None:
    """Nothing is wider than the window, and no label covers another in the font the browser chose."""
    told = measured(html(stories[name]), tmp_path, width)
    assert told.startswith("wide=0 covered=0 outside=0 names="), told
    assert name == "refused" or "names=0" not in told


@pytest.mark.parametrize("width", [1200, 390])
def test_an_answer_about_a_breaker_fits_however_extreme_it_is(
    extreme: RunRecord, tmp_path: Path, width: int
) -> None:
    """No traffic, one call, a million, forty findings, twelve keys, names that cannot be broken."""
    told = measured(html(extreme), tmp_path, width)
    assert told.startswith("wide=0 covered=0 outside=0 names="), told
