"""A run in a Job of its own: it comes back as a report, and whoever dies, nothing stays broken."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from agent.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from subprocess import Popen

    from conftest import Works

SHIPPED = Path(__file__).parents[3] / "experiments" / "kubernetes" / "survives-a-killed-gateway-pod.yaml"

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(500)]


def _ended(process: Popen[str], *, within_s: float = 180.0) -> dict[str, Any]:
    out, errors = process.communicate(timeout=within_s)
    assert out.strip(), errors
    return {**json.loads(out), "exit": process.returncode, "errors": errors}


def _cut_off(works: Works, until: Callable[..., Any]) -> str:
    """Wait until the fault is in, measured from the client, and return whom it hit."""
    until(lambda: any(key.startswith("gameday/injection-") for key in works.annotations()), within_s=150)
    address: str = until(works.victim, within_s=20)
    return address


def test_an_experiment_is_played_in_a_job_and_its_report_is_filed_here(works: Works) -> None:
    """The same verdict, record and page as from a process, and the Job's log beside them."""
    told = _ended(works.start("run", str(SHIPPED), "--json"))
    assert (told["verdict"], told["exit"], told["recovered"]) == ("HELD", 0, True), told
    folder = works.stage.home / "runs" / told["run"]
    record = json.loads((folder / "record.json").read_text())
    assert record["host"] == works.pod()["metadata"]["name"]
    assert record["experiment"] == str(SHIPPED)
    assert (folder / "report.html").exists()
    assert "run_ended" in (folder / "job.log").read_text()
    assert "fault_landed" in (folder / "output.log").read_text()
    assert told["injections"][0]["gone"] is True
    job = works.job()
    assert job is not None
    left = works.cluster.read("secrets,configmaps", "--namespace", works.jobs)["items"]
    ours = [each for each in left if each["metadata"]["name"].startswith("gameday-")]
    assert {each["kind"] for each in ours} == {"ConfigMap"}
    assert {each["metadata"]["ownerReferences"][0]["uid"] for each in ours} == {job["metadata"]["uid"]}
    assert works.stage.open_injections() == ()


@pytest.mark.parametrize("which", ["first", "run"])
def test_a_killed_process_of_the_job_is_told_and_what_it_broke_is_gone(
    works: Works, until: Callable[..., Any], which: str
) -> None:
    """SIGKILL to the first process takes ledger and reaper along; the stream heals, the parent checks."""
    parent = works.start("run", str(works.experiment(hold_s=90)), "--json")
    victim = _cut_off(works, until)
    works.process(which).kill()
    until(lambda: works.answers(victim), within_s=10)
    told = _ended(parent)
    assert (told["verdict"], told["exit"], told["recovered"]) == ("INCONCLUSIVE", 3, True), told
    assert "exit code 137" in told["reason"]
    assert told["injections"][0]["gone"] is True
    assert works.stage.open_injections() == ()


def test_a_node_without_power_takes_the_run_along_and_nothing_stays_broken(
    frail_works: Works, until: Callable[..., Any]
) -> None:
    """Nobody says a word: the injector heals after its lease, and the parent gives the run up and checks."""
    works = frail_works
    parent = works.start("run", str(works.experiment(hold_s=110)), "--json")
    victim = _cut_off(works, until)
    works.cluster.cut_power(works.pod()["spec"]["nodeName"])
    until(lambda: works.answers(victim), within_s=30)
    told = _ended(parent, within_s=180)
    assert (told["verdict"], told["exit"], told["recovered"]) == ("INCONCLUSIVE", 3, True), told
    assert "nothing was heard from its pod" in told["reason"]
    assert told["injections"][0]["gone"] is True
    assert works.stage.open_injections() == ()


def test_a_deleted_pod_heals_and_still_sends_its_report(works: Works, until: Callable[..., Any]) -> None:
    """Kubernetes' SIGTERM is a request to end: healed, looked at again, judged and filed."""
    parent = works.start("run", str(works.experiment(hold_s=90)), "--json")
    victim = _cut_off(works, until)
    works.kubectl("delete", "pod", works.pod()["metadata"]["name"], "--wait=false")
    told = _ended(parent)
    assert (told["verdict"], told["recovered"]) == ("INCONCLUSIVE", True), told
    assert "SIGTERM" in told["reason"]
    assert works.answers(victim)


def test_a_run_goes_on_without_its_parent_and_the_next_one_answers_for_it(
    works: Works, until: Callable[..., Any]
) -> None:
    """SIGKILL to the parent ends nothing, and neither does `gameday heal`; `gameday serve` takes it over."""
    parent = works.start("run", str(works.experiment(hold_s=150)), "--json")
    victim = _cut_off(works, until)
    parent.kill()
    assert works.start("heal").wait(60) == 0
    empty = works.stage.folder / "none"
    empty.mkdir()
    serving = works.start("serve", "--experiments", str(empty))
    assert serving.stderr is not None
    assert any("run_adopted" in line for line in serving.stderr)
    assert not works.answers(victim)
    serving.send_signal(signal.SIGTERM)
    serving.communicate(timeout=120)
    assert serving.returncode == 0
    ((run, summary),) = _runs(works).items()
    assert (summary["verdict"], summary["recovered"]) == ("INCONCLUSIVE", True), summary
    assert "SIGTERM" in summary["reason"]
    assert (works.stage.home / "runs" / run / "report.html").exists()
    assert works.answers(victim)


def test_the_halt_reaches_a_job_though_its_parent_is_dead(works: Works, until: Callable[..., Any]) -> None:
    """The kill switch is written on the Job itself; the next command takes the report in."""
    parent = works.start("run", str(works.experiment(hold_s=90)), "--json")
    victim = _cut_off(works, until)
    parent.kill()
    halt = works.start("halt", "--reason", "fire")
    assert halt.wait(30) == 0
    until(lambda: works.answers(victim), within_s=10)
    until(lambda: "gameday/parts" in works.annotations(), within_s=60)
    assert works.start("heal").wait(60) == 0
    (summary,) = _runs(works).values()
    assert summary["verdict"] == "INCONCLUSIVE"
    assert "Halted (fire)" in summary["reason"]
    assert summary["recovered"] is True


def test_a_fault_without_a_dead_man_in_the_cluster_is_refused_before_a_job_is_made(works: Works) -> None:
    """Its reaper and its ledger would die with the pod."""
    act = {"type": "python", "module": "agent.faults.processes", "func": "kill"}
    step = {
        "name": "kill",
        "type": "action",
        "provider": {**act, "arguments": {"selector": "sandbox/shard-*"}},
    }
    told = _ended(works.start("run", str(works.experiment(hold_s=1, method=[step])), "--json"))
    assert (told["verdict"], told["exit"]) == ("REFUSED", 4)
    assert "no dead man outside the pod" in told["reason"]
    assert works.job() is None


def _runs(works: Works) -> dict[str, Any]:
    store = Store(works.stage.home)
    try:
        return {row.id: row.summary for row in store.runs()}
    finally:
        store.close()
