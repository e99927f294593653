"""What every test may use: a state folder, waiting on a condition, and a stage to play experiments on."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from hypothesis import settings

from agent.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")  # how long an example takes says nothing on a machine with other work

STAGED = Path(__file__).parent / "staged"
"""Modules that the processes under test import."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the tests of Kubernetes run against any cluster."""
    kinds = ["real", "kwok", "existing"]
    parser.addoption("--cluster", choices=kinds, default="real", help="a Kubernetes of ours, or yours")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A state folder of the test's own; no GAMEDAY_ variable of the outside reaches it."""
    for variable in [name for name in os.environ if name.startswith("GAMEDAY_")]:
        monkeypatch.delenv(variable)
    folder = tmp_path / "home"
    monkeypatch.setenv("GAMEDAY_HOME", str(folder))
    yield folder
    os.environ.pop("GAMEDAY_RUN", None)  # set by a run that a test began in this process


@pytest.fixture
def until() -> Callable[..., Any]:
    """Wait for a condition and return what it returned; fail when it does not come true in time."""

    def wait(holds: Callable[[], Any], *, within_s: float = 20.0) -> Any:
        deadline = time.monotonic() + within_s
        while not (found := holds()):
            if time.monotonic() > deadline:
                pytest.fail(f"still not so after {within_s:g} s")
            time.sleep(0.02)
        return found

    return wait


class _Well(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer everything with an empty 200."""
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""


@pytest.fixture
def upstream() -> Iterator[str]:
    """A dependency that is always well; its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Well)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


_CLOCKED = """
import sys, time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

class Answers(BaseHTTPRequestHandler):
    def do_OPTIONS(self):
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def date_time_string(self, timestamp=None):
        return super().date_time_string(time.time() + float(Path(sys.argv[1]).read_text() or 0))

    def log_message(self, *_):
        pass

server = HTTPServer(("127.0.0.1", 0), Answers)
print(server.server_port, flush=True)
server.serve_forever()
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clocked:
    """A service whose wall clock follows a file, and the commands that set and read it."""

    url: str
    file: Path

    @property
    def offset(self) -> str:
        """How far ahead of true time its clock is."""
        return self.file.read_text().strip()

    @property
    def command(self) -> list[str]:
        """Sets the clock."""
        return ["sh", "-c", 'echo "$1" > "$0.new" && mv "$0.new" "$0"', str(self.file), "{offset_s}"]

    @property
    def reading(self) -> list[str]:
        """Prints the clock."""
        return [
            sys.executable,
            "-c",
            "import sys, time; print(time.time() + float(open(sys.argv[1]).read()))",
            str(self.file),
        ]


@pytest.fixture
def clocked(tmp_path: Path) -> Iterator[Clocked]:
    """A service with a wall clock of its own."""
    file = tmp_path / "clock"
    file.write_text("+0")
    command = [sys.executable, "-c", _CLOCKED, str(file)]
    environ = {name: value for name, value in os.environ.items() if name != "GAMEDAY_HOME"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ) as process:
        assert process.stdout
        yield Clocked(url=f"http://127.0.0.1:{int(process.stdout.readline())}/", file=file)
        process.kill()


@dataclass(slots=True)
class Stage:
    """A folder with a home, an experiment file and the file that the fault makes."""

    home: Path
    folder: Path
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def broken(self) -> Path:
        """The file that exists while the fault is in."""
        return self.folder / "broken"

    @property
    def environ(self) -> dict[str, str]:
        """The environment of everything under test."""
        return {**os.environ, "PYTHONPATH": str(STAGED), "GAMEDAY_HOME": str(self.home)}

    def experiment(self, **changes: Any) -> Path:
        """Write an experiment.

        *changes* are ``die_at``, ``hold_s``, ``max_duration_s``, ``probe``, ``method``, ``gameday``.
        """
        fault = {"path": str(self.broken), "die_at": changes.get("die_at", "")}
        fault |= {"max_duration_s": changes.get("max_duration_s", 60.0)}
        act = {"type": "python", "module": "breaking", "func": "break_file", "arguments": fault}
        method = [{"name": "break", "type": "action", "provider": act}]
        if hold_s := changes.get("hold_s"):
            method[0]["pauses"] = {"after": hold_s}
        probe = changes.get("probe") or {"func": "is_fine"}
        heal = {"type": "python", "module": "agent.faults", "func": "heal"}
        definition = {
            "version": "1.0.0",
            "title": "The file is not there",
            "description": "A fault makes a file.",
            "extensions": [{"name": "gameday", "timeout_s": 30, **changes.get("gameday", {})}],
            "runtime": {"rollbacks": {"strategy": "always"}},
            "steady-state-hypothesis": {
                "title": "All is well",
                "probes": [
                    {
                        "name": "well",
                        "type": "probe",
                        "tolerance": True,
                        "provider": {"type": "python", "module": "breaking", **probe},
                    }
                ],
            },
            "method": changes.get("method", method),
            "rollbacks": [{"name": "heal", "type": "action", "provider": heal}],
        }
        path = self.folder / "experiment.json"
        path.write_text(json.dumps(definition))
        return path

    def start(self, *command: str, **environ: str) -> subprocess.Popen[str]:
        """Start ``python -m`` *command* in a process group of its own."""
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            env=self.environ | environ,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def gameday(self, *arguments: str, timeout_s: float = 60.0) -> tuple[int, Any, str]:
        """Run ``gameday`` and return exit code, parsed stdout and stderr."""
        process = self.start("agent", *arguments)
        out, err = process.communicate(timeout=timeout_s)
        return process.returncode, json.loads(out) if out.strip() else None, err

    def open_injections(self) -> tuple[Any, ...]:
        """Return what the ledger holds open."""
        return self.injections(open_only=True)

    def injections(self, *, open_only: bool = False) -> tuple[Any, ...]:
        """Return what the ledger holds."""
        store = Store(self.home)
        try:
            return store.injections(open_only=open_only)
        finally:
            store.close()

    def processes(self) -> list[psutil.Process]:
        """Return every live process of this home, however it was started."""
        found = []
        for process in psutil.process_iter():
            try:
                ours = process.environ().get("GAMEDAY_HOME") == str(self.home)
                if ours and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def kill_all(self, *, but: Collection[int] = ()) -> None:
        """SIGKILL every process of this home, all frozen first so that none sees another one die."""
        frozen: list[psutil.Process] = []
        while fresh := [p for p in self.processes() if p.pid not in but and p not in frozen]:
            frozen += fresh
            for process in fresh:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.suspend()
        for process in frozen:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


@pytest.fixture
def stage(home: Path, tmp_path: Path) -> Iterator[Stage]:
    """A stage; whatever is left on it is ended by its pid."""
    stage = Stage(home=home, folder=tmp_path)
    yield stage
    stage.kill_all()
    for started in stage.started:
        started.kill()
        started.communicate()
