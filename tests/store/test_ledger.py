"""The ledger and healing against crashes at random moments, and what the store refuses."""

from __future__ import annotations

import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from agent.model import Aborting, Call, Halted, Injection, InjectionState, Radius, RadiusExceeded
from agent.safety import owner
from agent.safety.heal import heal
from agent.store import Store, StoreUnavailable
from agent.store.store import check_radius

sys.path.insert(0, str(Path(__file__).parent))


def injection(run: str, path: Path | str = "x", **changes: Any) -> Injection:
    """A fault that is the file *path*."""
    place = {"path": str(path)}
    values = {
        "id": uuid.uuid4().hex,
        "run": run,
        "fault": "remedies.file",
        "victims": (Path(path).name,),
        "undo": Call(func="remedies:mend", arguments=place),
        "landed_check": Call(func="remedies:is_mended", arguments=place),
        "gone_check": Call(func="remedies:is_mended", arguments=place),
        "max_duration_s": 60.0,
        "intended_at": 1.0,
        **changes,
    }
    return Injection(**values)


def begin(store: Store, run: str = "run", radius: Radius | None = None) -> str:
    """Begin *run*."""
    radius = radius or Radius(count=1000)
    store.begin_run(run, experiment="e", title="t", owner=owner.this_process(), leashed=False, radius=radius)
    return run


class Ledger(RuleBasedStateMachine):
    """Faults are injected, and whoever injects or heals may die at any line."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.root = Path(self.folder.name)
        self.store = Store(self.root / "home")
        self.run = begin(self.store)
        self.count = 0

    def teardown(self) -> None:
        """Let go of the folder."""
        self.store.close()
        self.folder.cleanup()

    def _intend(self) -> tuple[Injection, Path]:
        self.count += 1
        path = self.root / f"fault-{self.count}"
        made = injection(self.run, path)
        self.store.intend(made, population=None)
        return made, path

    @rule()
    def die_before_the_harm(self) -> None:
        """The record is there and nothing is broken."""
        self._intend()

    @rule()
    def die_after_the_harm(self) -> None:
        """It is broken, and the record still says intended."""
        self._intend()[1].touch()

    @rule()
    def apply(self) -> None:
        """It is broken and recorded as applied."""
        made, path = self._intend()
        path.touch()
        self.store.update_injection(made.id, state=InjectionState.APPLIED, applied_at=2.0)

    @rule()
    def stone(self) -> None:
        """One undo will fail until the stone is taken away."""
        for path in self._broken()[:1]:
            Path(f"{path}.stone").touch()

    @rule()
    def heal_with_stones(self) -> None:
        """A failing undo stops no other, and is told."""
        stoned = {path for path in self._broken() if Path(f"{path}.stone").exists()}
        result = heal(self.store, self.run, within_s=0.01, sleep=lambda _: None)
        assert len(result.left) == len(stoned)
        assert set(self._broken()) == stoned

    @rule(rescuers=st.integers(1, 3))
    def heal_all(self, rescuers: int) -> None:
        """Several rescuers at once; afterwards nothing is broken and nothing is open."""
        for stone in self.root.glob("*.stone"):
            stone.unlink()
        before = {i.id: i.healed_at for i in self.store.injections(self.run) if not i.open}
        threads = [threading.Thread(target=heal, args=(self.store, self.run)) for _ in range(rescuers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert self._broken() == []
        assert self.store.injections(self.run, open_only=True) == ()
        after = {i.id: i.healed_at for i in self.store.injections(self.run)}
        assert before.items() <= after.items()

    @invariant()
    def whatever_is_broken_is_in_the_ledger(self) -> None:
        """The promise of the write-ahead record."""
        opened = {i.undo.arguments["path"] for i in self.store.injections(self.run, open_only=True)}
        assert {str(path) for path in self._broken()} <= opened

    def _broken(self) -> list[Path]:
        return sorted(path for path in self.root.glob("fault-*") if path.suffix != ".stone")


Ledger.TestCase.settings = settings(
    max_examples=15, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
)
TestLedger = Ledger.TestCase


def test_the_kill_switch_and_an_abort_keep_the_door_shut(home: Path) -> None:
    """Refusal and record are one transaction: nothing is written."""
    store = Store(home)
    run = begin(store)
    store.halt("fire")
    with pytest.raises(Halted, match="fire"):
        store.intend(injection(run), population=None)
    assert store.resume()
    store.abort(run)
    with pytest.raises(Aborting):
        store.intend(injection(run), population=None)
    assert store.injections() == ()
    store.close()


def test_the_radius_counts_distinct_victims_over_the_whole_run(home: Path) -> None:
    """The same victim twice is one; a second victim is one too many."""
    store = Store(home)
    run = begin(store, radius=Radius(count=1))
    store.intend(injection(run, "a"), population=3)
    store.intend(injection(run, "a"), population=3)
    with pytest.raises(RadiusExceeded, match="more than the blast radius of 1"):
        store.intend(injection(run, "b"), population=3)
    store.close()


@given(fraction=st.floats(0.01, 1.0), population=st.integers(1, 50), victims=st.integers(1, 50))
def test_a_fraction_is_of_the_population_and_rounds_down(
    fraction: float, population: int, victims: int
) -> None:
    """One victim more than the rounded fraction is refused, and that many are not."""
    hit = injection("r", victims=tuple(map(str, range(victims))))
    if victims <= int(fraction * population + 1e-9):
        check_radius(Radius(fraction=fraction), set(), hit, population)
    else:
        with pytest.raises(RadiusExceeded):
            check_radius(Radius(fraction=fraction), set(), hit, population)


def test_a_fraction_of_an_unknown_population_is_refused() -> None:
    """A limit that cannot be checked is no limit."""
    with pytest.raises(RadiusExceeded, match="give blast_radius a count"):
        check_radius(Radius(fraction=0.5), set(), injection("r"), None)


def test_a_run_ends_once(home: Path) -> None:
    """Parent and reaper may both close the book; the first one counts."""
    store = Store(home)
    run = begin(store)
    assert store.end_run(run, {"verdict": "HELD"}, ended_at=2.0)
    assert not store.end_run(run, {"verdict": "INCONCLUSIVE"}, ended_at=3.0)
    found = store.run(run)
    assert found is not None
    assert found.summary == {"verdict": "HELD"}
    store.close()


def test_a_folder_that_is_a_file_is_refused_in_a_sentence(home: Path) -> None:
    """Nothing may be broken without a durable record."""
    home.write_text("in the way")
    with pytest.raises(StoreUnavailable, match="state folder"):
        Store(home)


def test_a_file_of_a_newer_version_is_refused(home: Path) -> None:
    """Guessing at a ledger is worse than not having one."""
    import sqlite3

    Store(home).close()
    with sqlite3.connect(home / "gameday.db") as db:
        db.execute("PRAGMA user_version = 999")
    db.close()
    with pytest.raises(StoreUnavailable, match="newer gameday"):
        Store(home)


@pytest.mark.parametrize(
    ("patient", "back_s", "expected_s", "healed"),
    [
        (True, 0.5, 30.0, True),
        (False, 30.0, 60.0, False),
        (True, 30.0, 0.3, False),
    ],
)
def test_what_comes_back_by_itself_is_waited_for_by_the_patient_until_it_is_overdue(
    tmp_path: Path, *, patient: bool, back_s: float, expected_s: float, healed: bool
) -> None:
    """A check may say until when; nobody waits longer, and the impatient not at all."""
    store, now = Store(tmp_path / "home"), time.time()
    run = begin(store)
    check = Call(func="remedies:is_back", arguments={"at": now + back_s, "expected_by": now + expected_s})
    store.intend(injection(run, tmp_path / "x", gone_check=check), population=None)
    result = heal(store, run, within_s=0.1, patient=patient)
    assert result.clean == healed
    assert (store.injections(run)[0].state == InjectionState.HEALED) == healed
    store.close()
