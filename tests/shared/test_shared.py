"""What several agents share, over SQLite and over PostgreSQL alike."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import create_engine, text

from agent.model import Radius, UsageError
from agent.store import Owner, RunRow, StoreUnavailable
from agent.store.shared import Shared

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Postgresql


def row(run: str = "r1", **changes: Any) -> RunRow:
    """Return a run as the local store knows it."""
    values = {
        "id": run,
        "experiment": "e.yaml",
        "title": "All is well",
        "owner": Owner(host="here", pid=1, created=1.0),
        "leashed": False,
        "radius": Radius(count=1),
        "aborting": False,
        "started_at": 1.0,
        "beat_at": 1.0,
        "ended_at": None,
        "summary": None,
        **changes,
    }
    return RunRow(**values)


@pytest.fixture
def opened(url: str) -> Iterator[Callable[[str], Shared]]:
    """Return a function that opens the database as an agent."""
    found: list[Shared] = []

    def open_as(agent: str) -> Shared:
        found.append(Shared(url, agent=agent))
        return found[-1]

    yield open_as
    for each in found:
        each.close()


def test_a_run_of_one_agent_and_its_report_are_seen_by_another(opened: Callable[[str], Shared]) -> None:
    """Begun, heard of, ended with its whole record; ending it again changes nothing."""
    one, other = opened("one"), opened("other")
    assert one.begin_run(row()) is None
    one.beat("r1")
    (found,) = other.runs()
    assert (found.id, found.agent, found.title, found.summary) == ("r1", "one", "All is well", None)
    assert 0 <= found.silent_s < 30
    ended = row(ended_at=2.0, summary={"verdict": "HELD"})
    one.end_run(ended, '{"schema": "…"}')
    other.end_run(row(ended_at=3.0, summary={"verdict": "DEVIATED"}), None)
    assert other.runs()[0].summary == {"verdict": "HELD"}
    assert other.record("r1") == '{"schema": "…"}'
    assert other.record("r2") is None
    assert [each.did for each in reversed(other.audit())] == ["began", "ended"]


def test_a_run_that_could_not_be_told_when_it_began_is_told_when_it_has_ended(
    opened: Callable[[str], Shared],
) -> None:
    """Filing late is filing whole."""
    shared = opened("one")
    shared.end_run(row(ended_at=2.0, summary={"verdict": "HELD"}), None)
    assert shared.runs()[0].summary == {"verdict": "HELD"}
    assert shared.runs()[0].began_at == 1.0


def test_runs_come_newest_first_and_no_more_than_asked_for(opened: Callable[[str], Shared]) -> None:
    """By when they began."""
    shared = opened("one")
    for number in range(5):
        shared.end_run(row(f"r{number}", started_at=float(number), ended_at=9.0, summary={}), None)
    assert [each.id for each in shared.runs(limit=2)] == ["r4", "r3"]


def test_a_halt_keeps_every_agent_from_beginning_until_somebody_resumes(
    opened: Callable[[str], Shared],
) -> None:
    """The refusal and the record are one transaction; who did it stands in the audit."""
    one, other = opened("one"), opened("other")
    one.halt("fire")
    one.halt("smoke")
    assert other.halted() == "fire"
    assert other.begin_run(row()) == "fire"
    assert other.runs() == ()
    assert other.resume()
    assert not one.resume()
    assert one.halted() is None
    assert other.begin_run(row()) is None
    assert [(each.agent, each.did) for each in reversed(one.audit())] == [
        ("one", "halted"),
        ("other", "resumed"),
        ("other", "began"),
    ]


def test_of_many_who_claim_at_once_one_has_it(opened: Callable[[str], Shared]) -> None:
    """Also when the very first of them still have to make the tables."""
    agents = [opened(f"agent-{number}") for number in range(8)]
    gate, mine = threading.Barrier(len(agents)), []

    def claim(shared: Shared) -> None:
        gate.wait()
        if shared.claim("schedule: x", 60.0):
            mine.append(shared.agent)

    threads = [threading.Thread(target=claim, args=[each]) for each in agents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(mine) == 1
    assert not agents[0].claim("schedule: x", 60.0)
    assert agents[0].claim("schedule: x", 120.0)
    assert agents[1].claim("schedule: y", 60.0)


def test_what_a_newer_version_wrote_is_refused(url: str) -> None:
    """Guessing at it is worse than not having it."""
    first = Shared(url)
    assert first.halted() is None
    first.close()
    engine = create_engine(url)
    with engine.begin() as db:
        db.execute(text("UPDATE gameday_version SET version = 999"))
    engine.dispose()
    second = Shared(url)
    with pytest.raises(StoreUnavailable, match="newer gameday"):
        second.halted()
    second.close()


@pytest.mark.parametrize("url", ["mysql://db/x", "no address", "postgresql://"])
def test_an_address_of_something_else_is_a_usage_error_or_unreachable(url: str) -> None:
    """Said at once, or at the first use where only that can tell."""
    with pytest.raises((UsageError, StoreUnavailable)):
        Shared(url).halted()


@pytest.mark.postgresql
def test_the_password_is_in_no_message(postgresql: Postgresql) -> None:
    """Not in what the agent is called, nor in why it could not be reached."""
    shared = Shared(postgresql.url("there_is_no_such_database"))
    with pytest.raises(StoreUnavailable, match="there_is_no_such_database") as raised:
        shared.halted()
    assert "not-to-be-shown" not in f"{shared.shown}{raised.value}"
    shared.close()


@pytest.mark.postgresql
def test_a_server_that_hangs_is_not_waited_for(postgresql: Postgresql) -> None:
    """It accepts connections and says nothing; nobody waits longer than a call may take, and it recovers."""
    shared = Shared(postgresql.database())
    assert shared.halted() is None
    postgresql.freeze()
    began = time.monotonic()
    with pytest.raises(StoreUnavailable, match="no answer"):
        shared.halted()
    assert 4.0 < time.monotonic() - began < 20.0
    postgresql.thaw()
    assert shared.halted() is None
    shared.close()


@pytest.mark.postgresql
def test_times_are_the_servers(postgresql: Postgresql) -> None:
    """Whatever a client's clock says: what is written is what the server's says."""
    shared = Shared(postgresql.database())
    assert shared.begin_run(row(started_at=1.0, beat_at=1.0)) is None
    ((now,),) = postgresql.ask("postgres", "SELECT extract(epoch FROM clock_timestamp())::float8")
    (found,) = shared.runs()
    assert isinstance(now, float)
    assert abs(found.began_at - now) < 30
    shared.close()
