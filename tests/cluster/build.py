"""Builds the Go programs of the test cluster once, kept by the hash of what they are built from."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from places import CACHE, HERE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

BUILD_WITHIN_S = 40 * 60.0
"""A cold build takes about eight minutes on two cores."""
HELM = "v3.22.0"
KEPT = 3
"""So many builds are kept, the newest ones: a branch and the one it is compared with."""


class Failed(Exception):
    """A step did not succeed; the message says what it was and where its log is."""


class Unable(Failed):
    """This machine cannot; the message says what is missing."""


def say(line: str) -> None:
    """Tell the person who waits; standard output is for results."""
    sys.stderr.write(f"cluster: {line}\n")
    sys.stderr.flush()


def cluster_binary() -> Path:
    """Return the program that holds every part of Kubernetes, built if it has to be.

    Raises:
        Failed: The build failed.
    """
    sources = [HERE / "go.mod", HERE / "go.sum", HERE / "main.go"]
    found = re.search(r"^\tk8s.io/kubernetes v((\d+)\.(\d+)\.\d+)$", sources[0].read_text(), re.MULTILINE)
    assert found is not None, "go.mod names no version of Kubernetes"
    told = zip(("gitVersion", "gitMajor", "gitMinor"), (f"v{found[1]}", found[2], found[3]), strict=True)
    version = " ".join(f"-X k8s.io/component-base/version.{name}={value}" for name, value in told)
    return _built("cluster", sources, ["go", "build", "-ldflags", f"-s -w {version}"], HERE)


def helm() -> Path:
    """Return Helm, built if it has to be.

    Raises:
        Failed: The build failed.
    """
    program = CACHE / "bin" / f"helm-{HELM.replace('.', '-')}"
    with alone(program.with_suffix(".lock")):
        if not program.exists():
            say("building helm (cold: about 2 minutes on 2 cores)")
            draft = program.with_suffix(".draft")
            words = ["env", f"GOBIN={draft}", "GOFLAGS=-ldflags=-s", "go", "install"]
            log = program.with_suffix(".log")
            run([*words, f"helm.sh/helm/v3/cmd/helm@{HELM}"], log=log, within_s=BUILD_WITHIN_S)
            (draft / "helm").rename(program)
            draft.rmdir()
            forget_old(program.parent, "helm-*")
    os.utime(program)
    return program


def _built(name: str, sources: Sequence[Path], words: Sequence[str], folder: Path) -> Path:
    program = CACHE / "bin" / f"{name}-{digest(sources)}"
    with alone(program.with_suffix(".lock")):
        if not program.exists():
            say(f"building {name} (cold: about 8 minutes on 2 cores)")
            draft = program.with_suffix(".draft")
            log = program.with_suffix(".log")
            run([*words[:2], "-o", str(draft), *words[2:]], log=log, cwd=folder, within_s=BUILD_WITHIN_S)
            draft.rename(program)
            forget_old(program.parent, f"{name}-*")
    os.utime(program)
    return program


def digest(sources: Sequence[Path]) -> str:
    """Return a short hash of the contents of *sources*."""
    found = hashlib.sha256()
    for source in sources:
        found.update(source.read_bytes())
    return found.hexdigest()[:16]


def run(words: Sequence[str], *, log: Path, cwd: Path | None = None, within_s: float = 60.0) -> None:
    """Run a command whose output nobody needs unless it fails.

    Raises:
        Failed: It did not succeed, or not in time.
    """
    with log.open("ab") as out:
        try:
            subprocess.run(
                words, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=cwd, check=True, timeout=within_s
            )
        except FileNotFoundError as error:
            raise Unable(f"{words[0]} is not installed; see tests/cluster/packages.sh") from error
        except subprocess.TimeoutExpired as error:
            raise Failed(f"{words[0]} took longer than {within_s:g} s; see {log}") from error
        except subprocess.CalledProcessError as error:
            last = log.read_text(errors="replace").strip().rpartition("\n")[2]
            raise Failed(f"{' '.join(words[:3])} … failed: {last}; see {log}") from error


@contextmanager
def alone(lock: Path) -> Iterator[None]:
    """Hold *lock*, so that two who need the same thing make it once."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def forget_old(folder: Path, pattern: str) -> None:
    """Keep the newest results of *pattern* with what belongs to them, and delete the others."""
    results = [each for each in folder.glob(pattern) if each.suffix in {"", ".tar"}]
    for old in sorted(results, key=lambda each: each.stat().st_mtime, reverse=True)[KEPT:]:
        if old.is_dir():
            shutil.rmtree(old, ignore_errors=True)
        for part in (old, old.with_suffix(".log"), old.with_suffix(".lock")):
            part.unlink(missing_ok=True)
