"""Several agents over one PostgreSQL; what is broken stays each agent's own, and healing needs no network."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING, Any

import pytest

from agent.store.shared import Shared

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from subprocess import Popen

    from conftest import Postgresql, Stage

pytestmark = [pytest.mark.postgresql, pytest.mark.timeout(300)]


class Agents:
    """Agents with homes of their own on one stage, and the store that they share."""

    def __init__(self, stage: Stage, url: str) -> None:
        self.stage = stage
        self.url = url
        self.shared = Shared(url, agent="test")

    def start(self, agent: str, *words: str) -> Popen[str]:
        """Start ``gameday`` in the home of *agent*."""
        home = self.stage.home if agent == "one" else self.stage.folder / agent
        environ = {"GAMEDAY_STORE": self.url, "GAMEDAY_HOME": str(home), "GAMEDAY_LOG_LEVEL": "info"}
        return self.stage.start("agent", *words, **environ)

    def gameday(self, agent: str, *words: str) -> tuple[int, Any, str]:
        """Run ``gameday`` and return exit code, parsed stdout and stderr."""
        process = self.start(agent, *words)
        out, errors = process.communicate(timeout=90)
        assert out or not {"--json", "show"} & set(words), errors
        return process.returncode, json.loads(out) if out.startswith(("{", "[")) else out, errors

    def experiment(self, *, hold_s: float = 2, **gameday: Any) -> Path:
        """Write an experiment that is HELD on a busy machine, too."""
        watch = {"every_s": 0.2, "look_timeout_s": 15, "abort_after_s": 60}
        return self.stage.experiment(hold_s=hold_s, gameday={"timeout_s": 90, "watch": watch, **gameday})

    def is_in(self) -> bool:
        """Whether agent one's fault has landed."""
        return any(each.landed for each in self.stage.open_injections())


@pytest.fixture
def agents(stage: Stage, postgresql: Postgresql) -> Iterator[Agents]:
    """Two or more agents, ``one`` of them with the stage's home."""
    agents = Agents(stage, postgresql.database())
    yield agents
    agents.shared.close()


def test_what_one_agent_ran_another_one_shows(agents: Agents) -> None:
    """The list names the agent, and the report can be rendered anywhere."""
    code, told, errors = agents.gameday("one", "run", str(agents.experiment()), "--json")
    assert (code, told["verdict"]) == (0, "HELD"), errors
    code, listed, errors = agents.gameday("other", "runs", "--json")
    assert code == 0, errors
    assert [(each["run"], each["verdict"]) for each in listed] == [(told["run"], "HELD")]
    assert listed[0]["agent"]
    code, shown, errors = agents.gameday("other", "show", told["run"])
    assert code == 0, errors
    assert "HELD" in shown
    code, lines, errors = agents.gameday("other", "audit", "--json")
    assert [each["did"] for each in lines] == ["ended", "began"], errors


def test_nothing_begins_while_the_shared_store_cannot_be_reached(
    agents: Agents, postgresql: Postgresql
) -> None:
    """Refused in a sentence without the password, nothing touched; the refusal is filed once it is back."""
    postgresql.stop()
    code, told, errors = agents.gameday("one", "run", str(agents.experiment()), "--json")
    assert (code, told["verdict"]) == (4, "REFUSED"), errors
    assert "GAMEDAY_STORE postgresql+psycopg://gameday:***@" in told["reason"]
    assert "not-to-be-shown" not in errors
    assert told["injections"] == []
    postgresql.start()
    code, _, errors = agents.gameday("one", "run", str(agents.experiment()), "--json")
    assert code == 0, errors
    verdicts = sorted(each.summary["verdict"] for each in agents.shared.runs() if each.summary)
    assert verdicts == ["HELD", "REFUSED"]


@pytest.mark.parametrize("how", ["stop", "freeze"])
def test_a_run_goes_on_heals_and_files_later_when_the_shared_store_goes_away(
    agents: Agents, postgresql: Postgresql, until: Callable[..., Any], how: str
) -> None:
    """Gone or hanging: the ledger is local, and the report lies in the run's folder until it can be filed."""
    parent = agents.start("one", "run", str(agents.experiment(hold_s=4)), "--json")
    until(agents.is_in, within_s=60)
    getattr(postgresql, how)()
    out, errors = parent.communicate(timeout=60)
    assert (parent.returncode, json.loads(out)["verdict"]) == (0, "HELD"), errors
    assert not agents.stage.broken.exists()
    assert agents.stage.open_injections() == ()
    postgresql.thaw() if how == "freeze" else postgresql.start()
    (found,) = agents.shared.runs()
    assert found.summary is None
    code, _, errors = agents.gameday("one", "run", str(agents.experiment()), "--json")
    assert code == 0, errors
    assert [each.summary and each.summary["verdict"] for each in agents.shared.runs()] == ["HELD", "HELD"]


def test_a_run_that_is_killed_while_the_shared_store_is_away_is_healed(
    agents: Agents, postgresql: Postgresql, until: Callable[..., Any]
) -> None:
    """Neither the reaper nor `gameday heal` asks the network anything."""
    parent = agents.start("one", "run", str(agents.experiment(hold_s=25)), "--json")
    until(agents.is_in, within_s=60)
    postgresql.freeze()
    agents.stage.kill_all()
    parent.communicate(timeout=30)
    assert agents.stage.broken.exists()
    code, _, errors = agents.gameday("one", "heal")
    assert code == 0, errors
    assert not agents.stage.broken.exists()


def test_a_halt_by_one_agent_stops_the_run_of_another(agents: Agents, until: Callable[..., Any]) -> None:
    """Within a second or two, and it keeps both from beginning until either one resumes."""
    parent = agents.start("one", "run", str(agents.experiment(hold_s=25)), "--json")
    until(agents.is_in, within_s=60)
    assert agents.gameday("other", "halt", "--reason", "fire")[0] == 0
    until(lambda: not agents.stage.broken.exists(), within_s=10)
    out, errors = parent.communicate(timeout=30)
    assert (parent.returncode, "Halted (fire)" in json.loads(out)["reason"]) == (3, True), errors
    code, told, _ = agents.gameday("third", "run", str(agents.experiment()), "--json")
    assert (code, told["verdict"]) == (4, "REFUSED")
    assert agents.gameday("one", "resume")[0] == 0
    assert agents.gameday("third", "run", str(agents.experiment()), "--json")[0] == 0


def test_a_halt_that_cannot_be_shared_halts_at_least_this_agent_and_says_so(
    agents: Agents, postgresql: Postgresql
) -> None:
    """Half a kill switch is said to be half a one."""
    postgresql.stop()
    code, _, errors = agents.gameday("one", "halt", "--reason", "fire")
    assert code == 4
    assert "ONLY the agent of this home" in errors
    postgresql.start()
    code, told, _ = agents.gameday("one", "run", str(agents.experiment()), "--json")
    assert (code, told["verdict"]) == (4, "REFUSED")


def test_of_two_agents_on_one_schedule_one_runs_each_time(
    agents: Agents, tmp_path: Path, until: Callable[..., Any]
) -> None:
    """The claim stands in the shared store; the other agent says that it left it to somebody else."""
    folder = tmp_path / "experiments"
    folder.mkdir()
    due = {"cron": "* * * * *", "jitter_s": 5}
    agents.experiment(schedule=due).rename(folder / "minutely.json")
    serving = [agents.start(name, "serve", "--experiments", str(folder)) for name in ("one", "other")]
    until(lambda: any(each.did == "ended" for each in agents.shared.audit()), within_s=100)
    for each in serving:
        each.send_signal(signal.SIGTERM)
    logs = [each.communicate(timeout=30)[1] for each in serving]
    dues = [each.what for each in agents.shared.audit() if each.did == "claimed"]
    assert len(dues) == len(set(dues)) == len(agents.shared.runs())
    assert sum(log.count("run_is_another_agents") for log in logs) >= 1
