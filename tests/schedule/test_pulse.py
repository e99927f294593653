"""What ``serve`` says about itself to whoever starts, watches and scrapes it."""

from __future__ import annotations

import shutil
import socket
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from agent.model import RunRecord, Verdict
from agent.schedule.pulse import LATE_S, Pulse, figures, listening
from agent.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Stage


@pytest.fixture
def store(home: Path) -> Iterator[Store]:
    """An empty store."""
    store = Store(home)
    yield store
    store.close()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@pytest.fixture
def asked(store: Store) -> Iterator[tuple[Pulse, httpx.Client]]:
    """A pulse that somebody listens for, and a client of theirs."""
    pulse, where = Pulse(), f"127.0.0.1:{_free_port()}"
    with listening(where, pulse, store), httpx.Client(base_url=f"http://{where}") as client:
        yield pulse, client


def test_a_loop_that_does_not_turn_is_not_alive(asked: tuple[Pulse, httpx.Client]) -> None:
    """After a minute without a turn it says so, and for how long; one that is ending is left in peace."""
    pulse, client = asked
    assert client.get("/livez").status_code == 200
    pulse.turned_at = time.monotonic() - LATE_S - 5
    late = client.get("/livez")
    assert (late.status_code, late.text.startswith("the loop has not turned for ")) == (503, True)
    pulse.ending = True
    assert client.get("/livez").status_code == 200
    pulse.ending = False
    pulse.turn()
    assert client.get("/livez").status_code == 200


def test_it_is_ready_once_the_folder_is_read_and_while_the_ledger_answers(
    asked: tuple[Pulse, httpx.Client], home: Path
) -> None:
    """Neither is taken for granted, and the reason is in the answer."""
    pulse, client = asked
    assert client.get("/readyz").status_code == 503
    pulse.experiments_why = None
    assert client.get("/readyz").status_code == 200
    shutil.rmtree(home)
    lost = client.get("/readyz")
    assert (lost.status_code, "gameday.db" in lost.text) == (503, True), lost.text


def test_a_run_is_counted_by_verdict_and_told_by_title(store: Store) -> None:
    """Titles may hold whatever a sentence may hold."""
    pulse = Pulse()
    title = 'A "bad" \\ title'
    record = RunRecord(run="1", experiment="x", title=title, started_at=1.0, ended_at=12.5)
    pulse.ran(record.with_(verdict=Verdict.HELD))
    pulse.ran(record.with_(verdict=Verdict.HELD, recovered=False))
    told = figures(pulse, store).splitlines()
    assert 'gameday_runs_total{verdict="HELD"} 2' in told
    assert 'gameday_runs_total{verdict="DEVIATED"} 0' in told
    assert 'gameday_last_run_timestamp_seconds{title="A \\"bad\\" \\\\ title"} 12.5' in told
    assert 'gameday_last_run_held{title="A \\"bad\\" \\\\ title"} 0' in told


def test_serve_answers_and_counts_what_it_took_and_refused(
    stage: Stage, tmp_path: Path, until: Callable[..., Any]
) -> None:
    """A broken file makes it neither dead nor unready; it stands in the metrics."""
    folder = tmp_path / "experiments"
    folder.mkdir()
    stage.experiment().replace(folder / "good.json")
    (folder / "broken.json").write_text("{")
    where = f"127.0.0.1:{_free_port()}"
    process = stage.start("agent", "serve", "--experiments", str(folder), GAMEDAY_LISTEN=where)

    def answer(path: str) -> httpx.Response | None:
        try:
            return httpx.get(f"http://{where}{path}")
        except httpx.TransportError:
            return None

    def is_ready() -> bool:
        found = answer("/readyz")
        return found is not None and found.status_code == 200

    until(is_ready)
    told = answer("/metrics")
    assert told is not None
    assert 'gameday_experiments{state="taken"} 1' in told.text
    assert 'gameday_experiments{state="refused"} 1' in told.text
    process.terminate()
    assert process.wait(20) == 0
    assert answer("/livez") is None


def test_an_address_that_is_taken_is_a_mistake_and_told(stage: Stage, tmp_path: Path) -> None:
    """Exit 2 and the setting's name, rather than an agent that nobody can see."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        process = stage.start("agent", "serve", "--experiments", str(tmp_path), GAMEDAY_LISTEN=where)
        _, said = process.communicate(timeout=30)
    assert (process.returncode, f"GAMEDAY_LISTEN={where}" in said) == (2, True), said
