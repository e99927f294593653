"""Two network namespaces joined by a wire, real servers in them, and processes that inject."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import psutil
import pytest

from agent.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from agent.model import Injection

PORT = 9000
LEASE_S = 1.0
HERE = Path(__file__).parent
_numbers = itertools.count()


def require(*programs: str, root: bool = True) -> None:
    """Skip the test by name where something is missing; with ``CI=true`` that is a failure."""
    missing = [f"no {program}" for program in programs if shutil.which(program) is None]
    if sys.platform != "linux":
        missing = ["not Linux"]
    elif root and os.geteuid() != 0:
        missing.append("not root")
    if missing:
        give_up(", ".join(missing) + "; `make test-root` installs what can be installed")


def give_up(reason: str) -> None:
    """Skip with *reason*, or fail with it under ``CI=true``."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI has to have everything: {reason}", pytrace=False)
    pytest.skip(reason)


def until(holds: Callable[[], Any], *, within_s: float = 15.0) -> Any:
    """Return what *holds* returns as soon as it is true; fail when it is not in time."""
    deadline = time.monotonic() + within_s
    while not (found := holds()):
        if time.monotonic() > deadline:
            pytest.fail(f"still not so after {within_s:g} s")
        time.sleep(0.02)
    return found


@pytest.fixture(name="require", scope="session")
def _require() -> Callable[..., None]:
    """Return :func:`require`."""
    return require


@pytest.fixture(name="until", scope="session")
def _until() -> Callable[..., Any]:
    """Return :func:`until`."""
    return until


def inside[T](netns: str, work: Callable[[], T]) -> T:
    """Return what *work* returns inside the namespace called *netns*."""
    results: list[T] = []
    errors: list[Exception] = []

    def body() -> None:
        try:
            with Path("/run/netns", netns).open("rb") as file:
                os.setns(file.fileno(), os.CLONE_NEWNET)
            results.append(work())
        except Exception as error:  # noqa: BLE001  # raised again in the thread that asked
            errors.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def command(*words: str, stdin: str = "") -> str:
    """Return what a command prints; it has to succeed."""
    return subprocess.run(words, input=stdin, capture_output=True, text=True, check=True, timeout=20).stdout


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """Namespace *near*, where faults are put, and *far* with two peers, each an echo server."""

    near: str
    far: str
    peers: tuple[str, str]
    peers_v6: tuple[str, str]
    server: int
    """The process in *far* that serves."""

    def inside[T](self, netns: str, work: Callable[[], T]) -> T:
        """Return what *work* returns inside *netns*, one of the two."""
        return inside(netns, work)

    def connect(self, peer: str, *, port: int = PORT, timeout_s: float = 5.0) -> socket.socket:
        """Return a connection from *near* to *peer*."""
        return inside(self.near, lambda: socket.create_connection((peer, port), timeout=timeout_s))

    def datagrams(self) -> tuple[socket.socket, socket.socket]:
        """Return an unbound UDP socket in *near* and one in *far*."""
        near, far = (inside(n, lambda: socket.socket(type=socket.SOCK_DGRAM)) for n in (self.near, self.far))
        return near, far

    def reaches(self, peer: str, *, port: int = PORT) -> bool:
        """Whether a connection from *near* to *peer* comes up soon; only silence counts as no."""
        try:
            self.connect(peer, port=port, timeout_s=0.4).close()
        except TimeoutError:
            return False
        return True

    def tables(self) -> list[str]:
        """Return the names of the nftables tables in *near*."""
        listed = json.loads(inside(self.near, lambda: command("nft", "-j", "list", "tables")))
        return [entry["table"]["name"] for entry in listed["nftables"] if "table" in entry]


@pytest.fixture
def wire() -> Iterator[Wire]:
    """Two namespaces of this test's own, gone after it whatever happens."""
    require("ip", "nft")
    stem = f"gd{os.getpid():x}{next(_numbers):x}"
    near, far = f"{stem}a", f"{stem}b"
    with ExitStack() as stack:
        for name in (near, far):
            command("ip", "netns", "add", name)
            stack.callback(command, "ip", "netns", "del", name)
            command("ip", "-n", name, "link", "set", "lo", "up")
        command("ip", "-n", near, "link", "add", "w0", "type", "veth", "peer", "name", "w0", "netns", far)
        addresses = {near: ("10.77.0.1/24", "fd77::1/64")}
        addresses[far] = ("10.77.0.2/24", "10.77.0.3/24", "fd77::2/64", "fd77::3/64")
        for name, each in addresses.items():
            for address in each:
                flags = ["nodad"] if ":" in address else []
                command("ip", "-n", name, "addr", "add", address, "dev", "w0", *flags)
            command("ip", "-n", name, "link", "set", "w0", "up")
        server = stack.enter_context(_served(far))
        yield Wire(
            near=near,
            far=far,
            peers=("10.77.0.2", "10.77.0.3"),
            peers_v6=("fd77::2", "fd77::3"),
            server=server,
        )


@contextmanager
def _served(netns: str) -> Iterator[int]:
    words = ["ip", "netns", "exec", netns, sys.executable, str(HERE / "echo.py"), str(PORT), str(PORT + 1)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process.pid
    finally:
        process.kill()
        process.communicate()


@dataclass(slots=True, kw_only=True)
class Player:
    """A process that injects, as an engine would: one run, one lifeline, one reaper."""

    process: subprocess.Popen[str]
    home: Path
    log: Path

    def call(self, func: str, /, **arguments: Any) -> Any:
        """Return what ``module:function`` returns in that process; fail if it raises."""
        self.send(func, **arguments)
        return self.result()

    def send(self, func: str, /, **arguments: Any) -> None:
        """Begin a call without waiting for it."""
        _put(self.process.stdin, {"func": func, "arguments": arguments})

    def result(self) -> Any:
        """Return what the oldest call that was begun returns; fail if it raises."""
        answer = self._answer()
        assert "error" not in answer, answer
        return answer["result"]

    def refusal(self, func: str, /, **arguments: Any) -> tuple[str, str]:
        """Return the exception's name and message; fail if ``module:function`` does not raise."""
        self.send(func, **arguments)
        answer = self._answer()
        assert "error" in answer, answer
        return answer["error"], answer["says"]

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the player died: {self.log.read_text()[-2000:]}"
        return json.loads(line)

    def injections(self) -> tuple[Injection, ...]:
        """Return the ledger of its run."""
        with closing(Store(self.home)) as store:
            return store.injections(self.call("agent.safety.context:current_run")["id"])

    def die_with_everything(self) -> None:
        """SIGKILL to the process and to all that it started, so that nobody is left to heal."""
        self.process.send_signal(signal.SIGSTOP)
        for child in psutil.Process(self.process.pid).children(recursive=True):
            child.kill()
        self.process.kill()
        self.process.wait()


def _put(stream: IO[str] | None, message: dict[str, Any]) -> None:
    assert stream is not None
    stream.write(json.dumps(message) + "\n")
    stream.flush()


@pytest.fixture
def player(tmp_path: Path) -> Iterator[Callable[..., Player]]:
    """Return a function that starts a player, each with a state folder of its own."""
    with ExitStack() as stack:
        yield lambda **environment: stack.enter_context(_playing(tmp_path, environment))


@contextmanager
def _playing(tmp_path: Path, environment: dict[str, str]) -> Iterator[Player]:
    home = tmp_path / f"home-{next(_numbers)}"
    env = {k: v for k, v in os.environ.items() if not k.startswith("GAMEDAY_")}
    env |= {"GAMEDAY_HOME": str(home), "GAMEDAY_LEASE_S": str(LEASE_S), "GAMEDAY_RADIUS_COUNT": "5"}
    words = [sys.executable, str(HERE / "play.py")]
    log_path = tmp_path / f"{home.name}.log"
    with log_path.open("w") as log:
        process = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={**env, **environment},
            cwd=HERE.parents[1],
        )
    try:
        yield Player(process=process, home=home, log=log_path)
    finally:
        # Its end is what the reaper waits for: whatever is still in is healed by that.
        process.kill()
        process.communicate()


@dataclass(slots=True)
class Stream:
    """The injector's process and both ends of its stream."""

    process: subprocess.Popen[str]

    def say(self, message: dict[str, Any]) -> None:
        """Send one line."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()

    def end(self) -> None:
        """Close it from our side, as the death of whoever holds it does."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.stdin = None

    def hear(self) -> dict[str, Any]:
        """Return the next line."""
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())


@contextmanager
def _injector(netns: str) -> Iterator[Stream]:
    """Start the injector in *netns*."""
    words = ["ip", "netns", "exec", netns, sys.executable, "-m", "agent.injector"]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield Stream(process)
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def injector() -> Callable[[str], AbstractContextManager[Stream]]:
    """Return what starts an injector in the network namespace of a name."""
    return _injector
