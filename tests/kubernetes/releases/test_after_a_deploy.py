"""Runs after rollouts on a real cluster: once each, by one agent, undone where the experiment says so."""

from __future__ import annotations

import json
import re
import signal
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from agent.schedule.rollouts import Workload, read_rollout

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Stage
    from middleman import Middleman

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

LOSES = {"func": "is_whole"}


class Agent:
    """A ``gameday serve`` with a home of its own, and what it logged."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.events: list[dict[str, Any]] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if line.startswith("{"):
                self.events.append(json.loads(line))

    def count(self, event: str) -> int:
        """How often *event* was logged."""
        return sum(each["event"] == event for each in self.events)

    def end(self) -> None:
        """End it as an operator does."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(30) == 0
        self._thread.join(20)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """A namespace with a Deployment called gateway, and agents that may watch it."""

    cluster: Any
    namespace: str
    stage: Stage
    folder: Path

    def kubectl(self, *words: str) -> str:
        """Run kubectl in the namespace."""
        said: str = self.cluster.kubectl("--namespace", self.namespace, *words, within_s=90)
        return said

    def deploy(self, version: str) -> None:
        """Roll out another *version*, and wait until that is done."""
        self.kubectl("set", "env", "deployment/gateway", f"VERSION={version}")
        self.kubectl("rollout", "status", "deployment/gateway", "--timeout=60s")

    @property
    def version(self) -> str:
        """The version that the Deployment asks for."""
        return self.kubectl(
            "get", "deployment/gateway", "-o", "jsonpath={.spec.template.spec.containers[0].env[0].value}"
        )

    @property
    def memories(self) -> list[dict[str, Any]]:
        """What agents wrote down about rollouts."""
        found: list[dict[str, Any]] = self.cluster.read("leases", "--namespace", self.namespace)["items"]
        return found

    def experiment(self, *, loses: bool = False, **after: Any) -> Path:
        """Put an experiment into the folder that runs after the gateway's rollouts."""
        keys = {
            "workloads": ["deployment/gateway"],
            "namespace": self.namespace,
            "settle_s": 1,
            "debounce_s": 0,
        }
        changes: dict[str, Any] = {
            "gameday": {"after": {**keys, **after}, "recover_within_s": 5},
            "hold_s": 2,
        }
        if loses:
            arguments = {"path": str(self.stage.broken)}
            changes |= {"probe": {**LOSES, "arguments": arguments}}
        return self.stage.experiment(**changes).replace(self.folder / "after.json")

    def serve(self, home: str = "home", **more: str) -> Agent:
        """Start an agent, with *more* in its environment."""
        environ = {"GAMEDAY_LOG_LEVEL": "info", "GAMEDAY_HOME": str(self.stage.folder / home)}
        environ |= {"KUBECONFIG": str(self.cluster.kubeconfig), "GAMEDAY_NAMESPACES": self.namespace}
        return Agent(
            self.stage.start("agent", "serve", "--experiments", str(self.folder), **{**environ, **more})
        )


@pytest.fixture
def shop(cluster: Any, namespace: str, web: Any, stage: Stage, tmp_path: Path) -> Iterator[Shop]:
    """A gateway of two, rolled out."""
    folder = tmp_path / "experiments"
    folder.mkdir()
    cluster.apply(web("gateway", namespace, replicas=2))
    shop = Shop(cluster=cluster, namespace=namespace, stage=stage, folder=folder)
    shop.deploy("1")
    yield shop
    for started in stage.started:
        started.kill()


def test_a_rollout_is_followed_by_one_run_and_scaling_by_none(shop: Shop, until: Callable[..., Any]) -> None:
    """What was there before is no news; a rollout while the agent is away is news when it returns."""
    shop.experiment()
    agent = shop.serve()
    until(lambda: shop.memories)
    shop.kubectl("scale", "deployment/gateway", "--replicas=3")
    shop.kubectl("rollout", "status", "deployment/gateway", "--timeout=60s")
    shop.deploy("2")
    until(lambda: agent.count("run_ended"), within_s=60)
    agent.end()
    assert agent.count("run_ended") == 1
    shop.deploy("3")
    agent = shop.serve()
    until(lambda: agent.count("run_ended"), within_s=60)
    agent.end()
    assert agent.count("run_ended") == 1
    assert shop.memories[0]["metadata"]["ownerReferences"][0]["name"] == "gateway"


def test_of_two_agents_one_runs_it(
    shop: Shop,
    middleman: Middleman,
    skewed: Callable[[int], dict[str, str]],
    until: Callable[..., Any],
    tmp_path: Path,
) -> None:
    """Both see the rollout, two minutes of clock apart; a watch that is closed on them is begun anew."""
    shop.experiment()
    through = tmp_path / "through.kubeconfig"
    through.write_text(json.dumps(middleman.config))
    ahead = shop.serve("one", **skewed(60))
    behind = shop.serve("two", **skewed(-60), KUBECONFIG=str(through))
    agents = (ahead, behind)
    for agent in agents:
        until(lambda agent=agent: agent.count("serving"))
    until(lambda: shop.memories)
    until(lambda: any("watch=true" in path for _, path in middleman.seen))
    shop.deploy("2")
    until(lambda: sum(agent.count("run_ended") for agent in agents), within_s=60)
    ahead.end()
    middleman.hang_up()
    until(lambda: behind.count("rollouts_unseen"))
    shop.deploy("3")
    until(lambda: sum(agent.count("run_ended") for agent in agents) == 2, within_s=60)
    behind.end()
    assert sum(agent.count("run_ended") for agent in agents) == 2


def test_a_watch_whose_past_is_no_longer_kept_is_begun_anew_and_misses_nothing(
    shop: Shop, middleman: Middleman, until: Callable[..., Any], tmp_path: Path
) -> None:
    """410, again and again while a rollout goes on, by an API server that began anew: one run, no second."""
    shop.experiment()
    through = tmp_path / "through.kubeconfig"
    through.write_text(json.dumps(middleman.config))
    agent = shop.serve(KUBECONFIG=str(through))
    until(lambda: shop.memories)
    path = f"/apis/apps/v1/namespaces/{shop.namespace}/deployments"
    before = json.loads(shop.kubectl("get", "--raw", path))["metadata"]["resourceVersion"]
    shop.kubectl("annotate", "deployment/gateway", "since=then")
    middleman.rewrite = _held_up(before)
    shop.cluster.restart_api_server()
    until(lambda: agent.count("watch_expired") >= 2, within_s=60)
    shop.deploy("2")
    until(lambda: agent.count("run_ended"), within_s=60)
    middleman.rewrite = lambda path: path
    expired = agent.count("watch_expired")
    shop.deploy("3")
    until(lambda: agent.count("run_ended") == 2, within_s=60)
    agent.end()
    assert agent.count("run_ended") == 2
    assert agent.count("watch_expired") - expired <= 1
    assert any("too old resource version" in each.get("why", "") for each in agent.events)


def _held_up(since: str) -> Callable[[str], str]:
    """Return what makes a watch one that was asked for when *since* was the newest version."""
    asked = re.compile(r"resourceVersion=[0-9]+")
    return lambda path: asked.sub(f"resourceVersion={since}", path) if "watch=true" in path else path


def test_a_rollout_that_deviates_is_undone_where_the_experiment_says_so(
    shop: Shop, until: Callable[..., Any]
) -> None:
    """Back to the version before, with the run's name on it; the undoing is no rollout to run after."""
    shop.experiment(loses=True, on_deviated="rollback")
    agent = shop.serve()
    until(lambda: shop.memories)
    shop.deploy("2")
    until(lambda: agent.count("rollout_undone"), within_s=60)
    shop.kubectl("rollout", "status", "deployment/gateway", "--timeout=60s")
    assert shop.version == "1"
    (run,) = [each["run"] for each in agent.events if each["event"] == "run_ended"]
    cause = json.loads(shop.kubectl("get", "deployment/gateway", "-o", "json"))["metadata"]["annotations"]
    assert run in cause["kubernetes.io/change-cause"]
    told = json.loads((shop.stage.home / "runs" / run / "rollback.json").read_text())
    assert told["undone"] is True
    undoing = cause["deployment.kubernetes.io/revision"]
    until(lambda: shop.memories[0]["metadata"]["annotations"]["gameday/rollout"].endswith(f"/{undoing}"))
    agent.end()
    assert agent.count("run_ended") == 1


@pytest.mark.parametrize("kind", ["StatefulSet", "DaemonSet"])
def test_every_kind_of_workload_is_waited_for_and_undone(
    shop: Shop, web: Any, tmp_path: Path, kind: str
) -> None:
    """Their revisions are kept in another way, and come back all the same."""
    made = web("store", shop.namespace, replicas=2) | {"kind": kind}
    made["spec"] |= {"serviceName": "store"} if kind == "StatefulSet" else {}
    if kind == "DaemonSet":
        del made["spec"]["replicas"]
    shop.cluster.apply(made)
    workload = f"{kind.lower()}/store"
    for version in ("1", "2"):
        shop.kubectl("set", "env", workload, f"VERSION={version}")
        shop.kubectl("rollout", "status", workload, "--timeout=60s")
    shop.experiment(loses=True, on_deviated="rollback", workloads=[workload])
    code, told, errors = check(shop, tmp_path / "deviated.xml", workload=workload)
    assert (code, [each["verdict"] for each in told["runs"]]) == (1, ["DEVIATED"]), told
    assert "was undone, back to" in errors
    shop.kubectl("rollout", "status", workload, "--timeout=60s")
    found = json.loads(shop.kubectl("get", workload, "-o", "json"))
    assert found["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"] == "1"
    place = Workload(kind=kind.lower(), namespace=shop.namespace, name="store")
    assert read_rollout(place, found).undoing


def test_the_step_of_a_pipeline_waits_runs_and_exits_with_the_verdict(shop: Shop, tmp_path: Path) -> None:
    """``gameday check --after``: HELD is 0, and JUnit names the experiment."""
    shop.experiment()
    shop.kubectl("set", "env", "deployment/gateway", "VERSION=2")
    code, told, errors = check(shop, tmp_path / "held.xml")
    assert (code, [each["verdict"] for each in told["runs"]]) == (0, ["HELD"]), told
    assert "The file is not there" in (tmp_path / "held.xml").read_text()
    code, told, errors = check(shop, tmp_path / "none.xml", workload="deployment/nobody")
    assert code == 2
    assert "after: deployment/nobody" in errors


def test_a_deviation_in_a_pipeline_undoes_the_rollout_and_fails_the_step(shop: Shop, tmp_path: Path) -> None:
    """DEVIATED is 1, and the version before is back."""
    shop.experiment(loses=True, on_deviated="rollback")
    shop.deploy("2")
    code, told, errors = check(shop, tmp_path / "deviated.xml")
    assert (code, [each["verdict"] for each in told["runs"]]) == (1, ["DEVIATED"]), told
    assert "was undone, back to" in errors
    assert shop.version == "1"


def test_nothing_is_undone_in_a_namespace_that_may_not_be_touched(shop: Shop, tmp_path: Path) -> None:
    """The verdict stands, the rollout too, and the reason names the setting."""
    shop.experiment(loses=True, on_deviated="rollback")
    shop.deploy("2")
    code, _, errors = check(shop, tmp_path / "deviated.xml", namespaces="others")
    assert code == 1
    assert "was NOT undone" in errors
    assert "GAMEDAY_NAMESPACES" in errors
    assert shop.version == "2"


def test_a_rollout_that_fails_is_told_and_nothing_is_run(shop: Shop, tmp_path: Path) -> None:
    """An image that cannot be pulled: the progress deadline passes, and the step is INCONCLUSIVE."""
    shop.experiment()
    short = '{"spec":{"progressDeadlineSeconds":3}}'
    shop.kubectl("patch", "deployment/gateway", "--type=merge", "-p", short)
    shop.kubectl("set", "image", "deployment/gateway", "web=localhost/gameday-tests/nobody:1")
    code, _, errors = check(shop, tmp_path / "failed.xml")
    assert code == 3
    assert "failed" in errors
    assert "nothing was run" in errors
    assert not (tmp_path / "failed.xml").exists()


def check(
    shop: Shop, junit: Path, workload: str = "deployment/gateway", namespaces: str = ""
) -> tuple[int, Any, str]:
    """Run the step and return exit code, result and what it said."""
    words = ["--after", workload, "--namespace", shop.namespace, "--experiments", str(shop.folder)]
    environ = {"KUBECONFIG": str(shop.cluster.kubeconfig), "GAMEDAY_NAMESPACES": namespaces or shop.namespace}
    process = shop.stage.start("agent", "check", *words, "--junit", str(junit), "--json", **environ)
    out, errors = process.communicate(timeout=120)
    return process.returncode, json.loads(out) if out.strip() else None, errors
