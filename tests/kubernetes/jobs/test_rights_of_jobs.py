"""A run in a Job needs its two rows, outside and inside, and with one right less begins nothing."""

from __future__ import annotations

import json
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from agent import settings
from agent.catalog.read import read
from agent.clients.rights import IN_A_JOB, OF_JOBS
from agent.compose import open_agent
from agent.stop import StopRequest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Accounts, Works

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]


@pytest.fixture
def jobs_accounts(works: Works, cluster: Any, tmp_path: Path, accounts: Accounts) -> Accounts:
    """Makes accounts where the Jobs are."""
    return type(accounts)(cluster, works.jobs, tmp_path)


def test_without_a_right_to_make_and_follow_a_job_none_is_made(
    works: Works,
    jobs_accounts: Accounts,
    lacks: Callable[..., list[str]],
    until: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """REFUSED, by the name of the right, and neither Job nor Secret is there."""
    for name, value in works.environ.items():
        monkeypatch.setenv(name, value)
    made = jobs_accounts.make(jobs_accounts.less(OF_JOBS))
    experiment = read(works.experiment(hold_s=0))
    with closing(open_agent(settings.current())) as agent:
        for left_out, account in zip(OF_JOBS, made.values(), strict=True):
            until(lambda a=account, o=left_out: lacks(a, OF_JOBS, works.jobs) == [o.rule])
            record = agent.run(experiment, stop=StopRequest())
            told = (str(record.verdict), left_out.rule in record.reason, "nothing was" in record.reason)
            assert told == ("REFUSED", True, True), record.reason
    assert works.job() is None
    secrets = works.cluster.read("secrets", "--namespace", works.jobs)["items"]
    assert [each for each in secrets if each["metadata"]["name"].startswith("gameday-")] == []


def test_a_run_whose_account_lacks_a_right_begins_nothing_and_says_so(
    works: Works, jobs_accounts: Accounts, lacks: Callable[..., list[str]], until: Callable[..., Any]
) -> None:
    """REFUSED from inside its Job, even if it may not send that word; with both rows and no more it runs."""
    less = jobs_accounts.less(IN_A_JOB)
    parent = jobs_accounts.make({"parent": OF_JOBS})["parent"]
    made = jobs_accounts.make(less)
    for left_out, account in zip(IN_A_JOB, made.values(), strict=True):
        until(lambda a=account, o=left_out: lacks(a, IN_A_JOB, works.jobs) == [o.rule])
    before = _pods(works)
    file = str(works.experiment(hold_s=0))
    started = {}
    for account in (*less, "runs"):
        own = {"GAMEDAY_JOB_SERVICE_ACCOUNT": account, "GAMEDAY_HOME": str(works.stage.folder / account)}
        environ = {**works.environ, **own, "KUBECONFIG": str(parent)}
        started[account] = works.stage.start("agent", "run", file, "--json", **environ)
    told = {account: json.loads(each.communicate(timeout=200)[0]) for account, each in started.items()}
    for left_out, account in zip(IN_A_JOB, less, strict=True):
        said = told[account]
        facts = (said["verdict"], left_out.rule in said["reason"], said["recovered"], said["injections"])
        assert facts == ("REFUSED", True, True, []), (left_out.rule, said["reason"])
    assert told["runs"]["injections"][0]["landed"] is True, told["runs"]["reason"]
    after = _pods(works)
    assert sum(bool(each["spec"].get("ephemeralContainers")) for each in after.values()) == 1
    assert after.keys() == before.keys()


def _pods(works: Works) -> dict[str, Any]:
    found = works.cluster.read("pods", "--namespace", works.namespace, "--selector", "app=gateway")["items"]
    return {each["metadata"]["uid"]: each for each in found}
