"""Nodes that are only said to be there, for clusters of thousands of pods: KWOK, built once a machine."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from build import BUILD_WITHIN_S, Failed, alone, forget_old, run, say
from places import CACHE

VERSION = "v0.8.0"
MODULE = "sigs.k8s.io/kwok"
STAGES = (
    "node/fast/node-initialize.yaml",
    "node/heartbeat-with-lease/node-heartbeat-with-lease.yaml",
    "pod/fast/pod-ready.yaml",
    "pod/fast/pod-complete.yaml",
    "pod/fast/pod-delete.yaml",
)
"""What happens to a node and to a pod; without them KWOK ends at once with "no stages found"."""
FAKE = "kwok.x-k8s.io/node"
LEASE_S = 20
"""Renewed four times as often, so within the controllers' grace period."""


def kwok() -> Path:
    """Return a folder with the program ``kwok`` and its ``stages.yaml``, built if it has to be.

    Raises:
        Failed: The build failed.
    """
    folder = CACHE / "bin" / f"kwok-{VERSION.replace('.', '-')}"
    with alone(folder.with_suffix(".lock")):
        if not folder.exists():
            say("building kwok (cold: about 2 minutes on 2 cores)")
            draft = folder.with_suffix(".draft")
            draft.mkdir(parents=True, exist_ok=True)
            _install(draft, log=folder.with_suffix(".log"))
            (draft / "stages.yaml").write_text("\n---\n".join(_stages()))
            draft.rename(folder)
            forget_old(folder.parent, "kwok-*")
    os.utime(folder)
    return folder


def _install(folder: Path, *, log: Path) -> None:
    words = ["env", f"GOBIN={folder}", "GOFLAGS=-ldflags=-s", "go", "install"]
    run([*words, f"{MODULE}/cmd/kwok@{VERSION}"], log=log, within_s=BUILD_WITHIN_S)


def _stages() -> list[str]:
    """Return the stages that come with that version of the module."""
    words = ["go", "mod", "download", "-json", f"{MODULE}@{VERSION}"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=BUILD_WITHIN_S)
    if done.returncode != 0:
        raise Failed(f"{' '.join(words)} failed: {done.stderr.strip()}")
    where = Path(json.loads(done.stdout)["Dir"]) / "kustomize" / "stage"
    return [(where / name).read_text() for name in STAGES]


def words(folder: Path, kubeconfig: Path) -> list[str]:
    """Return the command that plays every node that carries the annotation of :func:`node`."""
    flags = {
        "config": folder / "stages.yaml",
        "kubeconfig": kubeconfig,
        "manage-nodes-with-annotation-selector": f"{FAKE}=fake",
        "node-lease-duration-seconds": LEASE_S,
        "cidr": "10.248.0.0/14",
    }
    return [str(folder / "kwok"), *(f"--{name}={value}" for name, value in flags.items())]


def node(name: str) -> dict[str, Any]:
    """Return a node that nobody runs; it takes as many pods as it is given."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {FAKE: "fake"},
            "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "type": "kwok"},
        },
    }
