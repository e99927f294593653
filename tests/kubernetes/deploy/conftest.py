"""What the tests of a deployed agent share: manifests rendered both ways, and accounts with chosen rights."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ruamel.yaml import YAML

from agent.clients.kubernetes import connect
from agent.faults.kubernetes_families import rules
from agent.faults.kubernetes_rights import missing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from agent.faults.kubernetes_rights import Right

DEPLOY = Path(__file__).parents[3] / "deploy"
CLUSTER = Path(__file__).parents[2] / "cluster"
GROUP = "rbac.authorization.k8s.io"


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


@dataclass(slots=True)
class Accounts:
    """Service accounts of one namespace, made with chosen rights and nothing else."""

    cluster: Any
    namespace: str
    folder: Path
    _made: list[str] = field(default_factory=list)

    def make(self, wanted: Mapping[str, Iterable[Right]], *, within: str | None = None) -> dict[str, Path]:
        """Make one for each name, and return kubeconfigs that are theirs.

        The rights hold in the namespace *within*, this one by default, or everywhere (``""``).
        """
        where = self.namespace if within is None else within
        kinds = ("Role", "RoleBinding") if where else ("ClusterRole", "ClusterRoleBinding")
        objects: list[dict[str, Any]] = []
        for name, rights in wanted.items():
            unique = f"{self.namespace}-{name}-{len(self._made)}"
            meta = {"name": unique, **({"namespace": where} if where else {})}
            subject = {"kind": "ServiceAccount", "name": name, "namespace": self.namespace}
            reference = {"apiGroup": GROUP, "kind": kinds[0], "name": unique}
            role = {"apiVersion": f"{GROUP}/v1", "kind": kinds[0], "metadata": meta, "rules": rules(rights)}
            binding = {"apiVersion": f"{GROUP}/v1", "kind": kinds[1], "metadata": meta}
            account = {"name": name, "namespace": self.namespace}
            objects += [
                {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account},
                role,
                {**binding, "roleRef": reference, "subjects": [subject]},
            ]
        self.cluster.apply(*objects)
        self._made.append(where)
        return {name: self._kubeconfig(name) for name in wanted}

    def _kubeconfig(self, name: str) -> Path:
        path = self.folder / f"{name}.kubeconfig"
        if not path.exists():
            config = json.loads(self.cluster.kubeconfig.read_text())
            config["users"][0]["user"] = {"token": self._token(name)}
            path.write_text(json.dumps(config))
        return path

    def _token(self, name: str) -> str:
        words = ("create", "token", name, "--namespace", self.namespace)
        token: str = self.cluster.kubectl(*words).strip()
        return token

    def less(self, rights: Sequence[Right], prefix: str = "less") -> dict[str, tuple[Right, ...]]:
        """Return *rights* with each of them left out once, by a name for an account."""
        return {
            f"{prefix}-{index}": tuple(each for each in rights if each != left_out)
            for index, left_out in enumerate(rights)
        }


@pytest.fixture
def accounts(cluster: Any, namespace: str, tmp_path: Path) -> Accounts:
    """Makes accounts in the test's namespace."""
    return Accounts(cluster, namespace, tmp_path)


@pytest.fixture
def lacks(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, Sequence[Right], str | None], list[str]]:
    """Be an account from here on, and return which rights it lacks."""

    def become(kubeconfig: Path, rights: Sequence[Right], where: str | None) -> list[str]:
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
        with connect() as api:
            return missing(api, rights, where)

    return become
