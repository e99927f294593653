"""Real things with breakers, driven by hand: installed once a machine, started and ended by these tests."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import httpx
import pytest

from agent.proxy.client import ProxyClient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Stage

TARGETS = Path(__file__).parent / "targets"
STARTER = Path(__file__).parents[1] / "breakers" / "targets" / "starter.py"
READY_S = 90.0
INSTALL_S = 500.0
MAVEN = ["mvn", "-q", "-B", "package"]
INSTALLS = {
    "resilience4j": MAVEN,
    "hystrix": MAVEN,
    "opossum": ["npm", "ci", "--no-audit", "--no-fund"],
    "gobreaker": ["go", "build", "-o", "target", "."],
    "python": [
        *("uv", "pip", "install", "--quiet", "--require-hashes", "--target", "libs"),
        *("--python", sys.executable, "-r", "requirements.lock"),
    ],
}
"""Folder of a target -> what builds it, in a copy of that folder."""


def _starter() -> Any:
    """Import what starts the targets of tests/breakers: where caches are, and which tools are there."""
    spec = importlib.util.spec_from_file_location("whitebox_starter", STARTER)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


starter = _starter()


def tool(name: str) -> str:
    """Return the path of a program; skip the test without it, which in CI is a failure."""
    found: str | None = starter.find(name) or shutil.which(name, path="/usr/local/go/bin")
    if found is None:
        _missing(f"{name} is not here")
    assert found is not None
    return found


def _missing(why: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI has to have everything: {why}", pytrace=False)
    pytest.skip(f"{why}; `make test-whitebox` installs what can be installed")


def built(name: str) -> Path:
    """Return the folder in which the target *name* is built, after building it on first use."""
    source, command = TARGETS / name, INSTALLS[name]
    program = tool(command[0])
    mark = hashlib.sha256(" ".join(command).encode())
    for path in sorted(each for each in source.rglob("*") if each.is_file()):
        mark.update(path.read_bytes())
    folder: Path = starter.CACHE / f"whitebox-{name}-{mark.hexdigest()[:12]}"
    if folder.exists():
        return folder
    starter.CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=starter.CACHE) as parent:
        fresh = Path(parent) / name
        shutil.copytree(source, fresh)
        done = subprocess.run(
            [program, *command[1:]], cwd=fresh, capture_output=True, text=True, timeout=INSTALL_S, check=False
        )
        if done.returncode:
            _missing(f"{' '.join(command)} failed: {(done.stdout + done.stderr)[-800:]}")
        with suppress(OSError):  # somebody else was faster
            fresh.rename(folder)
    return folder


@dataclass
class Backend:
    """A dependency in this process: fails when told, and counts who arrives."""

    good: bool = True
    hold_s: float = 0.0
    seen: int = 0
    server: ThreadingHTTPServer = field(init=False)

    def __enter__(self) -> Self:
        backend = self

        class Answers(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                """Say 200 or 500; a health check is always well."""
                healthy = self.path == "/health"
                backend.seen += not healthy
                time.sleep(0 if healthy else backend.hold_s)
                self.send_response(200 if backend.good or healthy else 500)
                self.send_header("content-length", "0")
                self.end_headers()

            do_OPTIONS = do_GET  # noqa: N815  # as http.server wants it

            def log_message(self, *_: Any) -> None:
                """Keep quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    @property
    def address(self) -> str:
        """HOST:PORT."""
        return f"127.0.0.1:{self.server.server_port}"


@dataclass(frozen=True, slots=True)
class Target:
    """A target that runs.  ``drive`` makes one call that fails or succeeds: ok, failed or kept back."""

    url: str
    drive: Callable[..., str]
    folder: Path
    name: str = "orders"


class Bench:
    """Starts processes and ends them by their ids, the last one first."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.others: list[Any] = []
        self._processes: list[subprocess.Popen[bytes]] = []
        self._web = httpx.Client(timeout=20.0)

    def write(self, name: str, **values: object) -> None:
        """Write the configuration *name* of ``targets/proxies``, with its ``@name@`` filled in."""
        text = (TARGETS / "proxies" / name).read_text(encoding="utf-8")
        for key, value in {"folder": self.folder, **values}.items():
            text = text.replace(f"@{key}@", str(value))
        (self.folder / name).write_text(text, encoding="utf-8")

    def run(self, command: list[str], *, port: int, cwd: Path | None = None, **environ: str) -> None:
        """Start *command*, and return when it accepts connections at *port*."""
        log = (self.folder / f"{port}.log").open("wb")
        with log:
            process = subprocess.Popen(
                command,
                cwd=cwd or self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **environ},
            )
        self._processes.append(process)
        deadline = time.monotonic() + READY_S
        while not _accepts(port):
            said = (self.folder / f"{port}.log").read_text(errors="replace")[-1500:]
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"{command[0]} does not come up: {said}")
            time.sleep(0.05)

    def driven(self, url: str, name: str = "orders") -> Target:
        """Return a target that is told what to do by its own ``/drive``."""

        def drive(*, good: bool, hold_s: float = 0.0) -> str:
            asked = {"name": name, "good": str(good).lower(), "holdMs": str(int(hold_s * 1000))}
            return _said(self._web.get(f"{url}/drive", params=asked).status_code)

        return Target(url, drive, self.folder, name)

    def fronted(self, url: str, backend: Backend) -> Target:
        """Return a proxy before *backend*; a call that does not arrive there was kept back."""

        def drive(*, good: bool, hold_s: float = 0.0) -> str:
            backend.good, backend.hold_s, before = good, hold_s, backend.seen
            status = self._web.get(url).status_code
            if status == httpx.codes.OK:
                return "ok"
            return "failed" if backend.seen > before else "kept back"

        return Target(url, drive, self.folder)

    def get(self, url: str) -> httpx.Response:
        """Read a page."""
        return self._web.get(url)

    def end(self) -> None:
        """End everything, by force what takes long."""
        self._web.close()
        for other in self.others:
            other.end()
        for process in reversed(self._processes):
            process.terminate()
            try:
                process.wait(5.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(5.0)


def _said(status: int) -> str:
    return {200: "ok", 502: "failed", 503: "kept back"}[status]


def _accepts(port: int) -> bool:
    with suppress(OSError), starter.socket.create_connection(("127.0.0.1", port), timeout=1.0):
        return True
    return False


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A bench whose processes end with the test."""
    found = Bench(tmp_path)
    yield found
    found.end()


@pytest.fixture
def backend() -> Iterator[Backend]:
    """A dependency that is well until told otherwise."""
    with Backend() as found:
        yield found


@pytest.fixture
def redis(bench: Bench) -> str:
    """HOST:PORT of a Redis of the test's own."""
    port = starter.free_port()
    quiet = ["--save", "", "--appendonly", "no", "--bind", "127.0.0.1", "--dir", str(bench.folder)]
    bench.run([tool("redis-server"), "--port", str(port), *quiet], port=port)
    return f"127.0.0.1:{port}"


SMALL = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx256m", "-Dserver.tomcat.threads.max=50"]


@pytest.fixture(scope="module")
def spring(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A bench with resilience4j's service, which takes ten seconds to start; its port is in ``port``."""
    found, port = Bench(tmp_path_factory.mktemp("spring")), starter.free_port()
    try:
        command = [tool("java"), *SMALL, "-jar", "target.jar", f"--server.port={port}"]
        found.run(command, port=port, cwd=built("resilience4j") / "target")
        (found.folder / "port").write_text(str(port))
        yield found
    finally:
        found.end()


@pytest.fixture
def resilience4j(spring: Bench, request: pytest.FixtureRequest) -> Target:
    """A breaker of the test's own, called as the test is."""
    return spring.driven(f"http://127.0.0.1:{(spring.folder / 'port').read_text()}", request.node.name)


@pytest.fixture
def hystrix(bench: Bench) -> Target:
    """Start Hystrix's command and its stream."""
    folder, port = built("hystrix") / "target", starter.free_port()
    command = [tool("java"), *SMALL, "-cp", "target.jar:libs/*", "target.Target", str(port)]
    bench.run(command, port=port, cwd=folder)
    return bench.driven(f"http://127.0.0.1:{port}")


@pytest.fixture
def library(bench: Bench, redis: str) -> Callable[..., Target]:
    """Start a breaker of a library that keeps its state in Redis."""

    def start(name: str, *dependency: str) -> Target:
        port = starter.free_port()
        listen = f"127.0.0.1:{port}"
        if name == "gobreaker":
            bench.run([str(built(name) / "target"), listen, redis], port=port)
        else:
            folder = built("python")
            command = [sys.executable, "service.py", name, listen, redis, *dependency]
            bench.run(command, port=port, cwd=folder, PYTHONPATH=str(folder / "libs"))
        return bench.driven(f"http://{listen}")

    return start


@pytest.fixture
def opossum(bench: Bench) -> Callable[..., Target]:
    """Start opossum with opossum-prometheus."""

    def start(*arguments: str) -> Target:
        port = starter.free_port()
        command = [tool("node"), "service.js", f"127.0.0.1:{port}", *arguments]
        bench.run(command, port=port, cwd=built("opossum"))
        return bench.driven(f"http://127.0.0.1:{port}")

    return start


@pytest.fixture
def haproxy(bench: Bench, backend: Backend) -> Target:
    """Start HAProxy: five errors mark the server down, two good checks bring it back."""
    port, metrics = starter.free_port(), starter.free_port()
    bench.write("haproxy.cfg", port=port, metrics=metrics, backend=backend.address)
    bench.run([tool("haproxy"), "-db", "-f", "haproxy.cfg"], port=port)
    (bench.folder / "metrics").write_text(f"http://127.0.0.1:{metrics}/metrics")
    return bench.fronted(f"http://127.0.0.1:{port}/", backend)


@pytest.fixture
def nginx(bench: Bench, backend: Backend) -> Target:
    """Start NGINX before two peers, which are the same backend in two notations."""
    port, other = starter.free_port(), backend.address.replace("127.0.0.1", "[::ffff:127.0.0.1]")
    bench.write("nginx.conf", port=port, backend=backend.address, other=other)
    bench.run([tool("nginx"), "-c", str(bench.folder / "nginx.conf"), "-e", "stderr"], port=port)
    return bench.fronted(f"http://127.0.0.1:{port}/", backend)


@pytest.fixture
def caddy(bench: Bench, backend: Backend) -> Target:
    """Start Caddy, which forgets each failure after two seconds."""
    port, admin = starter.free_port(), starter.free_port()
    bench.write("caddy.json", port=port, admin=admin, backend=backend.address)
    bench.run([tool("caddy"), "run", "--config", "caddy.json"], port=port, XDG_DATA_HOME=str(bench.folder))
    (bench.folder / "admin").write_text(f"http://127.0.0.1:{admin}")
    return bench.fronted(f"http://127.0.0.1:{port}/", backend)


@pytest.fixture
def envoy(bench: Bench, backend: Backend) -> Callable[..., Target]:
    """Start Envoy: five errors eject the host for a second."""

    def start(*, panic_percent: int = 0) -> Target:
        if reason := starter.skip_reason("envoy"):
            _missing(reason)
        port, admin = starter.free_port(), starter.free_port()
        ports = {"port": port, "admin": admin, "backend": backend.server.server_port}
        bench.write("envoy.json", **ports, panic_percent=panic_percent)
        program = str(starter.installed("envoy") / "envoy" / "_bin" / "envoy")
        quiet = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]
        bench.run([program, "-c", "envoy.json", *quiet], port=port)
        (bench.folder / "admin").write_text(f"http://127.0.0.1:{admin}")
        return bench.fronted(f"http://127.0.0.1:{port}/", backend)

    return start


@pytest.fixture
def link(stage: Stage, bench: Bench, until: Callable[..., Any]) -> str:
    """HOST:PORT of a link of the fault proxy, with a dependency behind it."""
    dependency = starter.start("dependency", folder=bench.folder / "dependency")
    bench.others.append(dependency)
    stage.start(
        "agent.proxy", "--home", str(stage.home), "--link", f"dependency=127.0.0.1:0->{dependency.address}"
    )
    state = until(lambda: (stage.home / "proxy.json").exists() and _state(stage))
    return str(ProxyClient(api=state["api"], token=state["token"]).links()[0]["listen"])


def _state(stage: Stage) -> dict[str, Any]:
    state: dict[str, Any] = json.loads((stage.home / "proxy.json").read_text())
    return state


@pytest.fixture
def exercised(bench: Bench, link: str) -> Callable[[str], Target]:
    """Start the service that shows one of its breakers."""

    def start(mode: str) -> Target:
        port = starter.free_port()
        program = [sys.executable, str(TARGETS / "exercised.py"), mode]
        ends = ["--listen", f"127.0.0.1:{port}", "--dependency", link]
        bench.run([*program, *ends], port=port, PYTHONPATH=str(STARTER.parent))
        return bench.driven(f"http://127.0.0.1:{port}")

    return start
