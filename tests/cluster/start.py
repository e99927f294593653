"""Starts a cluster in namespaces of its own and cleans up after one that died."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import select
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import cgroups
from build import Failed, Unable, say
from images import PAUSE
from places import CLUSTERS, HERE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

UP_WITHIN_S = 180.0
DOWN_WITHIN_S = 30.0
NEEDED = ("ip", "nsenter", "unshare", "openssl", "mount")
NEEDED_BY_NODES = ("containerd", "ctr", "runc", "nft")


@dataclass(frozen=True, slots=True, kw_only=True)
class Nodes:
    """Which nodes a cluster has: *real* ones begin with the *images* of that folder."""

    real: int = 0
    images: Path | None = None
    fake: int = 0
    kwok: Path | None = None
    """Where the program is that plays the fake ones."""


@dataclass(slots=True)
class Cluster:
    """A cluster that is up as long as this process holds it."""

    process: subprocess.Popen[bytes]
    folder: Path
    kubeconfig: Path

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def end(self) -> None:
        """Take it down; returns when nothing of it is left.

        Raises:
            Failed: Something of it is left; the message says where.
        """
        _close(self.process)
        left = clean(self.folder)
        if left:
            raise Failed(f"the cluster did not go away whole: {', '.join(left)}")

    def wait(self) -> str:
        """Return when the cluster ends by itself, with the reason."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        return str(json.loads(line).get("down", line)) if line else "its first process was killed"


def start(*, program: Path, nodes: Nodes) -> Cluster:
    """Start a cluster and return it when its nodes are ready.

    Raises:
        Unable: Not root, not Linux, or a program is missing.
        Failed: It did not come up; nothing of it is left but the logs that the message names.
    """
    _require([*NEEDED, *(NEEDED_BY_NODES if nodes.real else ())])
    clean_leftovers()
    folder = CLUSTERS / f"gameday-{os.getpid():x}-{secrets.token_hex(2)}"
    (folder / "logs").mkdir(parents=True, mode=0o700)
    outside = os.open("/proc/self/ns/net", os.O_RDONLY)
    order = {
        "folder": str(folder),
        "program": str(program),
        "nodes": nodes.real,
        "images": str(nodes.images),
        "pause": PAUSE,
        "fake": nodes.fake,
        "kwok": str(nodes.kwok),
        "outside_fd": outside,
    }
    process = _spawn(order, folder, outside)
    os.close(outside)
    answer = _answer(process, folder)
    if "up" in answer:
        return Cluster(process=process, folder=folder, kubeconfig=Path(answer["up"]))
    _close(process)
    clean(folder)
    raise Failed(answer["failed"])


def _require(needed: Sequence[str]) -> None:
    if sys.platform != "linux" or os.geteuid() != 0:
        raise Unable("a cluster of real nodes needs Linux and root; --cluster=existing uses any other one")
    missing = [name for name in needed if shutil.which(name) is None]
    if missing:
        raise Failed(
            f"not installed: {', '.join(missing)}; tests/cluster/packages.sh installs them on Debian"
        )


def _spawn(order: dict[str, Any], folder: Path, outside: int) -> subprocess.Popen[bytes]:
    words = ["unshare", "--mount", "--net", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc"]
    with (folder / "logs" / "control-plane.log").open("ab") as log:
        return subprocess.Popen(
            [*words, sys.executable, str(HERE / "control_plane.py"), json.dumps(order)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            pass_fds=[outside],
            cwd="/",
            start_new_session=True,  # Ctrl-C is for whoever started it, who then takes it down
        )


def _answer(process: subprocess.Popen[bytes], folder: Path) -> dict[str, Any]:
    assert process.stdout is not None
    if not select.select([process.stdout], [], [], UP_WITHIN_S)[0]:
        return {"failed": f"not up after {UP_WITHIN_S:g} s"}
    line = process.stdout.readline()
    if line:
        answer: dict[str, Any] = json.loads(line)
        return answer
    process.wait(DOWN_WITHIN_S)
    log = folder / "logs" / "control-plane.log"
    return {"failed": f"its first process ended: {log.read_text(errors='replace').strip()[-2000:]}"}


def _close(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    try:
        process.wait(DOWN_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()


def clean_leftovers() -> None:
    """Remove what is left of clusters whose first process was killed: folders, wires, empty cgroups."""
    CLUSTERS.mkdir(parents=True, exist_ok=True, mode=0o700)
    for folder in CLUSTERS.iterdir():
        if not _is_alive(folder):
            say(f"removing what an earlier cluster left: {folder.name}")
            clean(folder)


def _is_alive(folder: Path) -> bool:
    try:
        with (folder / "alive").open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:  # it is being born, unless it is old
        return folder.exists() and time.time() - folder.stat().st_mtime < 30.0
    return False


def clean(folder: Path) -> list[str]:
    """Remove wire, cgroups and folder of a cluster that is down; return what could not be removed."""
    left = [] if cgroups.remove(folder.name) else [f"cgroups called {folder.name}"]
    for wire in wires(folder.name):
        subprocess.run(["ip", "link", "delete", wire], check=False, capture_output=True, timeout=10.0)
    left += wires(folder.name)
    shutil.rmtree(folder, ignore_errors=True)
    return [*left, str(folder)] if folder.exists() else left


def wires(name: str) -> list[str]:
    """Return the network devices out here that lead to cluster *name*."""
    aliases = Path("/sys/class/net").glob("gdc*/ifalias")
    return [alias.parent.name for alias in aliases if alias.read_text().strip() == name]
