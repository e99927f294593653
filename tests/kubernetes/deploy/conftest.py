"""What the tests of a deployed agent share: manifests rendered both ways."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ruamel.yaml import YAML

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DEPLOY = Path(__file__).parents[3] / "deploy"
CLUSTER = Path(__file__).parents[2] / "cluster"


@pytest.fixture(scope="session")
def helm() -> Path:
    """Helm, built once a machine."""
    build = "import build; print(build.helm())"
    words = [sys.executable, "-c", build]
    done = subprocess.run(words, cwd=CLUSTER, capture_output=True, text=True, check=False, timeout=2400)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


@pytest.fixture
def kustomized(cluster: Any) -> Callable[[Path], list[dict[str, Any]]]:
    """Return the objects that a folder is rendered to."""
    return lambda folder: _parsed(cluster.kubectl("kustomize", str(folder)))


@pytest.fixture
def templated(helm: Path) -> Callable[..., list[dict[str, Any]]]:
    """Return the objects that the chart is rendered to; *words* go to ``helm template``."""

    def render(*words: str, release: str = "gameday", namespace: str = "gameday") -> list[dict[str, Any]]:
        command = [str(helm), "template", release, str(DEPLOY / "chart"), "--namespace", namespace]
        done = subprocess.run(
            [*command, "--kube-version", "1.34.0", *words],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return _parsed(done.stdout)

    return render


def _parsed(text: str) -> list[dict[str, Any]]:
    return [each for each in YAML(typ="safe", pure=True).load_all(text) if each]


@pytest.fixture(scope="session")
def volume(cluster: Any) -> Iterator[Callable[[str, str], None]]:
    """Return a function that makes a volume on a node's disk for a claim (namespace, name).

    Where the cluster makes volumes by itself it does nothing.
    """
    made: list[dict[str, Any]] = []
    by_itself = bool(cluster.read("storageclasses")["items"])

    def make(namespace: str, claim: str) -> None:
        if not by_itself:
            made.extend(_volume(cluster, namespace, claim))
            cluster.apply(*made[-2:])

    yield make
    for each in made:
        where = ("--namespace", each["metadata"].get("namespace", "default"))
        words = ("delete", each["kind"], each["metadata"]["name"], *where, "--wait=false")
        cluster.kubectl(*words, "--ignore-not-found")


def _volume(cluster: Any, namespace: str, claim: str) -> list[dict[str, Any]]:
    """Return the volume, and a pod that makes its folder."""
    node = cluster.read("nodes")["items"][0]["metadata"]["name"]
    here = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
    folder = f"{namespace}-{claim}"
    mount = {"name": "host", "mountPath": "/host"}
    make = {"name": "make", "image": cluster.image("busybox"), "args": [f"mkdir -p -m 777 /host/{folder}"]}
    pod = {"nodeName": node, "restartPolicy": "Never", "containers": [{**make, "volumeMounts": [mount]}]}
    pod["volumes"] = [{"name": "host", "hostPath": {"path": "/var/lib"}}]
    spec = {
        "capacity": {"storage": "1Gi"},
        "accessModes": ["ReadWriteOnce"],
        "persistentVolumeReclaimPolicy": "Retain",
        "claimRef": {"namespace": namespace, "name": claim},
        "local": {"path": f"/var/lib/{folder}"},
        "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
    }
    meta = {"name": folder, "namespace": "default"}
    return [
        {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": folder}, "spec": spec},
        {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": pod},
    ]
