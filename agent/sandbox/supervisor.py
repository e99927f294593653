"""Starts the sandbox's processes, restarts those that die, and ends them all with itself."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agent.clients.processes import HOME, NAME, created_at
from agent.model import GamedayError
from agent.sandbox import state
from agent.sandbox.players import SHARDS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

RESTART_AFTER_S = 1.0
UP_WITHIN_S = 30.0
TICK_S = 0.1
FAVOURITE_PORT = 8910
"""The gateway's port when it is free, so that plain ``chaos run`` finds the sandbox without a word."""


class NotUp(GamedayError):
    """A process of the sandbox did not come up; all of it was taken down again."""


@dataclass(slots=True)
class Part:
    """One supervised process."""

    name: str
    command: list[str]
    answers: Callable[[], bool]
    process: subprocess.Popen[bytes] | None = None
    died_at: float | None = None


def _entry() -> socket.socket:
    """Return the gateway's listening socket, held here so that two sandboxes never want the same port."""
    try:
        return socket.create_server(("127.0.0.1", FAVOURITE_PORT))
    except OSError:
        return socket.create_server(("127.0.0.1", 0))


@dataclass(slots=True)
class Supervisor:
    """The sandbox of one home; :meth:`run` returns when it is told to stop."""

    home: Path
    gateway_timeout_s: float
    lifeline_fd: int | None = None
    parts: list[Part] = field(default_factory=list)
    pipe: tuple[int, int] = field(default_factory=os.pipe)
    stopping: bool = False
    entry: socket.socket = field(default_factory=_entry)

    def run(self) -> None:
        """Bring everything up, keep it up, take it down."""
        for name in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(name, self._stop)
        try:
            self._bring_up()
            sys.stdout.write("ready\n")
            sys.stdout.flush()
            self._keep_up()
        finally:
            self._take_down()

    def _stop(self, *_: object) -> None:
        self.stopping = True

    def _bring_up(self) -> None:
        (self.home / "sandbox").mkdir(parents=True, exist_ok=True, mode=0o700)
        ports = dict(zip(SHARDS, free_ports(len(SHARDS)), strict=True))
        links = dict(zip(SHARDS, free_ports(len(SHARDS)), strict=True))
        gateway = self.entry.getsockname()[1]
        for shard in SHARDS:
            self._add(shard, _shard(self.home, shard, ports[shard]), _answers_on(ports[shard]))
        api = free_ports(1)[0]
        self._add("proxy", _proxy(self.home, api, ports, links), _accepts(api))
        self._add("gateway", _gateway(self.entry, links, self.gateway_timeout_s), _answers_on(gateway))
        for part in self.parts:
            self._start(part)
        self._await_all()
        self._facts = _facts(gateway, api, ports, links)
        self._tell()

    def _add(self, name: str, command: Sequence[str], answers: Callable[[], bool]) -> None:
        lifeline = ["--lifeline-fd", str(self.pipe[0])]
        self.parts.append(Part(name, [sys.executable, "-m", *command, *lifeline], answers))

    def _start(self, part: Part) -> None:
        with (self.home / "sandbox" / f"{part.name}.log").open("ab") as log:
            part.process = subprocess.Popen(
                part.command,
                env={**os.environ, NAME: f"sandbox/{part.name}", HOME: str(self.home)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[self.pipe[0], self.entry.fileno()] if part.name == "gateway" else [self.pipe[0]],
                cwd="/",
            )
        part.died_at = None

    def _await_all(self) -> None:
        deadline = time.monotonic() + UP_WITHIN_S
        for part in self.parts:
            while not part.answers():
                assert part.process is not None
                if part.process.poll() is not None or time.monotonic() > deadline or self.stopping:
                    log = self.home / "sandbox" / f"{part.name}.log"
                    raise NotUp(f"the sandbox's {part.name} did not come up; see {log}")
                time.sleep(0.02)

    def _keep_up(self) -> None:
        with selectors.DefaultSelector() as selector:
            if self.lifeline_fd is not None:
                selector.register(self.lifeline_fd, selectors.EVENT_READ)
            while not self.stopping:
                if self.lifeline_fd is None:
                    time.sleep(TICK_S)
                elif selector.select(TICK_S):
                    return  # nobody writes: readable means that the starter is gone
                for part in self.parts:
                    self._look_after(part)

    def _look_after(self, part: Part) -> None:
        assert part.process is not None
        if part.process.poll() is None:
            return
        if part.died_at is None:
            part.died_at = time.monotonic()
        elif time.monotonic() - part.died_at >= RESTART_AFTER_S:
            self._start(part)
            self._tell()

    def _tell(self) -> None:
        pids = {part.name: part.process.pid for part in self.parts if part.process}
        shards = [{**shard, "pid": pids[shard["name"]]} for shard in self._facts["shards"]]
        me = {"pid": os.getpid(), "created": created_at(os.getpid())}
        state.write(self.home, {**self._facts, "shards": shards, "supervisor": me})

    def _take_down(self) -> None:
        os.close(self.pipe[1])  # every part ends when this pipe does, a stopped one after SIGCONT
        for part in self.parts:
            if part.process is None:
                continue
            with contextlib.suppress(ProcessLookupError):
                part.process.send_signal(signal.SIGCONT)
            try:
                part.process.wait(3.0)
            except subprocess.TimeoutExpired:
                part.process.kill()
                part.process.wait()
        with contextlib.suppress(FileNotFoundError):
            (self.home / state.FILE).unlink()

    _facts: dict[str, Any] = field(default_factory=dict)


def _facts(gateway: int, api: int, ports: dict[str, int], links: dict[str, int]) -> dict[str, Any]:
    return {
        "url": f"http://127.0.0.1:{gateway}",
        "proxy": f"127.0.0.1:{api}",
        "shards": [{"name": name, "port": ports[name], "link": name} for name in SHARDS],
        "links": [
            {"name": name, "listen": f"127.0.0.1:{links[name]}", "upstream": f"127.0.0.1:{ports[name]}"}
            for name in SHARDS
        ],
    }


def _shard(home: Path, name: str, port: int) -> list[str]:
    db = home / "sandbox" / f"{name}.sqlite"
    return ["agent.sandbox.shard", "--name", name, "--listen", f"127.0.0.1:{port}", "--db", str(db)]


def _proxy(home: Path, api: int, ports: dict[str, int], links: dict[str, int]) -> list[str]:
    command = ["agent.proxy", "--home", str(home), "--api", f"127.0.0.1:{api}"]
    for name in SHARDS:
        command += ["--link", f"{name}=127.0.0.1:{links[name]}->127.0.0.1:{ports[name]}"]
    return command


def _gateway(entry: socket.socket, links: dict[str, int], timeout_s: float) -> list[str]:
    shards = json.dumps({name: f"http://127.0.0.1:{links[name]}" for name in SHARDS})
    command = ["agent.sandbox.gateway", "--listen-fd", str(entry.fileno())]
    return [*command, "--shards", shards, "--timeout-s", str(timeout_s)]


def free_ports(count: int) -> list[int]:
    """Return *count* different ports of loopback that nobody listens on now."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in held]
    for each in held:
        each.close()
    return ports


def _answers_on(port: int) -> Callable[[], bool]:
    def answers() -> bool:
        url = f"http://127.0.0.1:{port}/health"
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=1.0) as answer:
            return bool(answer.status == 200)
        return False

    return answers


def _accepts(port: int) -> Callable[[], bool]:
    def accepts() -> bool:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
            return True
        return False

    return accepts
