"""The chart in a live cluster: installed, ready, a run from the ConfigMap, and gone again."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.cluster
DEPLOY = Path(__file__).parents[3] / "deploy"
SHIPPED = DEPLOY / "try" / "experiments" / "survives-a-killed-gateway-pod.yaml"
RELEASE = "gameday-by-helm"
READY_WITHIN_S = 180


@pytest.fixture
def shop(cluster: Any, namespace: str, web: Callable[..., Any]) -> str:
    """A namespace with three pods of a gateway, and its Service."""
    spec = {"selector": {"app": "gateway"}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]}
    meta = {"name": "gateway", "namespace": namespace}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec}
    cluster.apply(web("gateway", namespace), service)
    words = ("rollout", "status", "deployment/gateway", "--timeout=90s", "--namespace", namespace)
    cluster.kubectl(*words, within_s=95)
    return namespace


@pytest.fixture
def own(cluster: Any, namespace: str, volume: Callable[[str, str], None]) -> Iterator[str]:
    """A namespace for the release, with a volume for its claim."""
    name = f"{namespace}-helm"
    cluster.kubectl("create", "namespace", name)
    volume(name, RELEASE)
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")


def test_the_chart_is_installed_runs_an_experiment_and_leaves_its_claim_alone(
    cluster: Any, helm: Path, shop: str, own: str, agent_image: str, tmp_path: Path, until: Callable[..., Any]
) -> None:
    """The agent is ready, may do what it is for, and takes everything else along."""
    repository, _, tag = agent_image.rpartition(":")
    experiment = SHIPPED.read_text().replace("namespace: leaderboard", f"namespace: {shop}")
    values = {
        "image": {"repository": repository, "tag": tag},
        "targets": [shop],
        "rights": ["probes", "after-a-deploy", "pods-kill"],
        "experiments": {"killed.yaml": experiment.replace("path: /health", "path: /")},
    }
    (tmp_path / "values.json").write_text(json.dumps(values))

    def run(*words: str) -> str:
        command = [str(helm), *words, "--namespace", own, "--kubeconfig", str(cluster.kubeconfig)]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=READY_WITHIN_S + 20
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    wait = ("--wait", "--timeout", f"{READY_WITHIN_S}s")
    run("install", RELEASE, str(DEPLOY / "chart"), "--values", str(tmp_path / "values.json"), *wait)
    made = run("get", "manifest", RELEASE)
    words = ("gameday", "run", "/etc/gameday/experiments/killed.yaml", "--json")
    said = cluster.kubectl(
        "exec", f"deployment/{RELEASE}", "--namespace", own, "--", *words, within_s=READY_WITHIN_S
    )
    told = json.loads(said)
    assert (told["verdict"], told["recovered"]) == ("HELD", True), told["reason"]
    run("uninstall", RELEASE, *wait)
    left = cluster.kubectl("get", "-f", "-", "--ignore-not-found", "--output=name", stdin=made)
    assert left.split() == [f"persistentvolumeclaim/{RELEASE}"], "the claim holds the ledger"
    until(lambda: cluster.read("pods", "--namespace", own)["items"] == [], within_s=60)
