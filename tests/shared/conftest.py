"""A real PostgreSQL on loopback, from a data folder of its own and as an unprivileged user."""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

PASSWORD = "not-to-be-shown-anywhere"
UP_WITHIN_S = 30.0


@dataclass(slots=True)
class Postgresql:
    """A server that can be stopped, frozen and started again; its data stay."""

    programs: Path
    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None
    frozen: list[psutil.Process] = field(default_factory=list)

    def url(self, database: str) -> str:
        """Return the address of *database*."""
        return f"postgresql+psycopg://gameday:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def database(self) -> str:
        """Make a database and return its address."""
        name = f"test_{secrets.token_hex(6)}"
        self.ask("postgres", f"CREATE DATABASE {name}")
        return self.url(name)

    def ask(self, database: str, statement: str) -> list[tuple[object, ...]]:
        """Return the rows that *statement* gives."""
        import psycopg

        plain = self.url(database).replace("+psycopg", "")
        with psycopg.connect(plain, autocommit=True, connect_timeout=5) as db:
            done = db.execute(statement)  # type: ignore[call-overload]  # not a literal, and ours
            return list(done.fetchall()) if done.description else []

    def prepare(self) -> None:
        """Make the data folder."""
        self.folder.chmod(0o755)
        word = self.folder / "password"
        word.write_text(PASSWORD)
        shutil.chown(word, _user())
        data = self.folder / "data"
        data.mkdir(mode=0o700)
        shutil.chown(data, _user())
        words = [
            "initdb",
            "--no-sync",
            "--encoding=UTF8",
            "--auth=scram-sha-256",
            "--username=gameday",
            f"--pwfile={word}",
        ]
        self._run([*words, "--pgdata", str(data)]).wait(60)

    def start(self) -> None:
        """Start it and return when it answers."""
        import psycopg

        options = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off"}
        flags = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        self.process = self._run(["postgres", "-D", str(self.folder / "data"), "-p", str(self.port), *flags])
        deadline = time.monotonic() + UP_WITHIN_S
        while True:
            try:
                self.ask("postgres", "SELECT 1")
            except psycopg.OperationalError as error:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    pytest.fail(f"PostgreSQL did not come up: {error}; {self.folder / 'log'}")
                time.sleep(0.05)
            else:
                return

    def stop(self) -> None:
        """Stop it at once; open connections break."""
        if self.process is not None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(30)
            self.process = None

    def freeze(self) -> None:
        """Stop every process of it in its tracks: connections stay open, and nobody answers."""
        assert self.process is not None
        parent = psutil.Process(self.process.pid)
        for each in (parent, *parent.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                each.suspend()
                self.frozen.append(each)

    def thaw(self) -> None:
        """Let it go on."""
        for each in self.frozen:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.resume()
        self.frozen.clear()

    def _run(self, words: list[str]) -> subprocess.Popen[bytes]:
        is_root = os.geteuid() == 0
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                [str(self.programs / words[0]), *words[1:]],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
                start_new_session=True,
                user=_user() if is_root else None,
                group=pwd.getpwnam(_user()).pw_gid if is_root else None,
                extra_groups=[] if is_root else None,
            )


def _user() -> str:
    """Return who the server runs as: it refuses to be root."""
    if os.geteuid() != 0:
        return pwd.getpwuid(os.geteuid()).pw_name
    names = {each.pw_name for each in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _programs() -> Path | None:
    newest = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda p: int(p.parts[-3]))
    if newest:
        return newest[-1].parent
    found = shutil.which("postgres")
    return Path(found).parent if found else None


@pytest.fixture(scope="session")
def server() -> Iterator[Postgresql]:
    """A server for the whole session; stopped by the pid it was started with."""
    programs = _programs()
    if programs is None:
        if os.environ.get("CI") == "true":
            pytest.fail("no PostgreSQL; `make test-postgresql` installs it", pytrace=False)
        pytest.skip("no PostgreSQL; `make test-postgresql` installs it")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = Path(tempfile.mkdtemp(prefix="gameday-postgresql-"))
    server = Postgresql(programs, folder, port)
    server.prepare()
    try:
        server.start()
        yield server
    finally:
        server.thaw()
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgresql(server: Postgresql) -> Iterator[Postgresql]:
    """The server, up again after the test whatever the test did to it."""
    yield server
    server.thaw()
    if server.process is None:
        server.start()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a fresh database of either kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'shared.db'}"
    found: str = request.getfixturevalue("postgresql").database()
    return found
