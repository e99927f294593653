"""The experiments that break something inside a pod hold, under `gameday run` and under plain `chaos run`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import experiments

if TYPE_CHECKING:
    from conftest import Scene

pytestmark = pytest.mark.cluster

FOLDER = Path(experiments.__path__[0]) / "kubernetes"


@pytest.mark.parametrize(
    "name",
    [
        "survives-a-slow-gateway-pod",
        "survives-a-gateway-pod-that-fails-requests",
        "survives-a-partitioned-gateway-pod",
        "survives-a-killed-gateway-container",
        "survives-a-stressed-gateway-pod",
        "survives-a-full-gateway-volume",
    ],
)
def test_the_experiment_holds_and_runs_under_plain_chaos_run(
    scene: Scene, agent_image: str, name: str
) -> None:
    """HELD with the dose that was asked for and everything gone, then the same file by the engine alone."""
    environ = {**scene.environ, "GAMEDAY_IMAGE": agent_image, "GATEWAY_CONTAINER": "web"}
    file = str(FOLDER / f"{name}.yaml")
    process = scene.stage.start("agent", "run", file, "--json", **environ)
    out, errors = process.communicate(timeout=150)
    told = json.loads(out)
    assert (process.returncode, told["verdict"], told["recovered"]) == (0, "HELD", True), (told, errors)
    process = scene.stage.start("chaostoolkit", "--no-version-check", "run", file, **environ)
    assert process.wait(100) == 0
    assert scene.stage.open_injections() == ()
    assert [injection.landed for injection in scene.stage.injections()] == [True, True]
