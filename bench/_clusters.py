"""A Kubernetes of the test suite's own for the length of a bench."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

UP = Path(__file__).parents[1] / "tests" / "cluster" / "up.py"
AGENT = "localhost/gameday-tests/agent:1"
"""The project's own image, as the work tree is, which the cluster's real nodes have."""


class NoCluster(Exception):
    """This machine cannot start one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Where it is reached, and the program that is kubectl among other things."""

    kubeconfig: str
    program: str

    def kubectl(self, *words: str, stdin: str = "", within_s: float = 60.0) -> str:
        """Return what kubectl prints; it has to succeed."""
        command = [self.program, "kubectl", "--kubeconfig", self.kubeconfig, *words]
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, check=False, timeout=within_s
        )
        assert done.returncode == 0, f"kubectl {' '.join(words)}: {done.stderr}"
        return done.stdout


@contextlib.contextmanager
def cluster(*words: str) -> Iterator[Cluster]:
    """Start one as ``tests/cluster/up.py`` does with *words*, and leave nothing of it.

    Raises:
        NoCluster: None came up.
    """
    command = [sys.executable, str(UP), *words, "--until-stdin-ends", "--json"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if not line:
            raise NoCluster("no cluster came up on this machine; its words are above")
        yield Cluster(**json.loads(line))
    finally:
        process.stdin.close()
        process.wait(120)
