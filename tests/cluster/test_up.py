"""What is left of a cluster after it: nothing, however it ended."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.cluster
UP = Path(__file__).with_name("up.py")


@dataclass(frozen=True, slots=True)
class Started:
    """One node and its control plane, held by *process*."""

    process: subprocess.Popen[str]
    folder: Path

    def processes(self) -> list[psutil.Process]:
        """Return everything that runs because of it."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def traces(self) -> list[str]:
        """Return what one could find of it on this machine, but for processes."""
        found = [str(self.folder)] if self.folder.exists() else []
        found += [str(each) for each in Path("/sys/fs/cgroup").glob(f"**/{self.folder.name}")]
        aliases = Path("/sys/class/net").glob("*/ifalias")
        return found + [str(each) for each in aliases if each.read_text().strip() == self.folder.name]


@contextmanager
def started() -> Iterator[Started]:
    """Start one; it ends with the block, if it has not before."""
    words = [sys.executable, str(UP), "--nodes", "1", "--no-agent", "--until-stdin-ends", "--json"]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if not line and process.wait() == 3:
            pytest.skip("no cluster on this machine; `make test-cluster` installs what can be installed")
        yield Started(process, Path(json.loads(line)["kubeconfig"]).parent)
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait(60)


@pytest.mark.parametrize("name", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_when_the_starter_dies(name: signal.Signals, until: Callable[..., Any]) -> None:
    """Processes, cgroups, folder and wire go, whatever signal ends whoever started the cluster."""
    with started() as one:
        inside, mounts = one.processes(), Path("/proc/self/mounts").read_text()
        assert len(inside) > 8
        assert one.traces()
        one.process.send_signal(name)
        one.process.wait(60)
        until(lambda: not one.traces())
        until(lambda: not [each for each in inside if each.is_running()])
        assert one.folder.name not in mounts, "no mount of it was ever seen outside"


def test_the_next_start_removes_what_a_killed_first_process_left(until: Callable[..., Any]) -> None:
    """The first process takes all others with it; only folder and empty cgroups can stay, until the next."""
    with started() as one:
        inside = one.processes()
        first = next(each for each in inside if "control_plane.py" in " ".join(each.cmdline()[:2]))
        first.kill()
        until(lambda: not [each for each in inside if each.is_running()])
        with started() as other:
            assert not one.traces()
            assert other.traces()
