"""Keeps the shared store in step with what this agent does; nothing here may hold up a run or a healing."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import structlog

from agent.filing.folder import RECORD
from agent.safety.context import run_folder
from agent.store import StoreUnavailable
from agent.store.shared import Shared

if TYPE_CHECKING:
    from pathlib import Path

    from agent.safety.gates import Gate
    from agent.store import Store

log = structlog.get_logger()

LOOK_EVERY_S = 0.5
BEAT_EVERY_TURNS = 10
UNFILED = "unfiled"
"""A file in a run's folder from before the run is shared until its report is: whoever finds it files it."""
FILE_WITHIN_S = 6.0


@dataclass(slots=True)
class Sharing:
    """A thread that listens for the halt of all agents, beats for this one's runs, and files what has ended.

    It answers from what it heard last; only :meth:`gate` and :meth:`claim` ask anew, for a few seconds at
    most, because they say whether something may begin.
    """

    store: Store
    shared: Shared
    _halted: str | None = None
    _over: threading.Event = field(default_factory=threading.Event)
    _filing: threading.Lock = field(default_factory=threading.Lock)
    _thread: threading.Thread | None = None
    _reached: bool = True

    @classmethod
    def over(cls, url: str, store: Store) -> Self:
        """Return one that keeps the database at *url* in step with *store*; it is not connected yet.

        Raises:
            UsageError: *url* names none, or its driver is not installed.
        """
        return cls(store, Shared(url))

    def start(self) -> None:
        """Begin; a daemon thread that ends with :meth:`close`, or with the process."""
        self._thread = threading.Thread(target=self._go, name="sharing", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End it, and let go of the database."""
        self._over.set()
        if self._thread is not None:
            self._thread.join(FILE_WITHIN_S)
        self.shared.close()

    def halted(self) -> str | None:
        """Return why all agents are halted, as far as was last heard."""
        return self._halted

    def claim(self, what: str, due: float) -> bool:
        """Whether *what* was due then is for this agent to do.

        Raises:
            StoreUnavailable: Nobody can tell, so it is not done.
        """
        return self.shared.claim(what, due)

    def gate(self, run: str) -> Gate:
        """Return the gate that records *run* for all agents, and is closed while they are halted.

        It is closed, too, while the shared store cannot be reached: who cannot be halted must not begin.
        """

        def shared_store() -> str | None:
            row = self.store.run(run)
            assert row is not None, "it was just begun"
            (run_folder(self.store.home, run) / UNFILED).touch()
            reason = self.shared.begin_run(row)
            return None if reason is None else f"Halted: {reason}; `gameday resume` lifts it."

        return shared_store

    def file(self, run: str) -> None:
        """File *run*, which has ended, for all agents; later, if the shared store cannot be reached now."""
        (run_folder(self.store.home, run) / UNFILED).touch()
        self._catch_up()

    def _go(self) -> None:
        turns = 0
        while not self._over.wait(LOOK_EVERY_S):
            try:
                self._halted = self.shared.halted()
                if turns % BEAT_EVERY_TURNS == 0:
                    self._beat()
                    self._catch_up()
            except (StoreUnavailable, OSError) as error:
                self._tell(error)
            else:
                self._tell(None)
            turns += 1

    def _beat(self) -> None:
        for row in self.store.runs(open_only=True):
            self.shared.beat(row.id)

    def _catch_up(self) -> None:
        """File every run of this agent that has ended and is not filed yet."""
        with self._filing:
            for marker in sorted(self.store.home.glob(f"runs/*/{UNFILED}")):
                try:
                    self._file_one(marker)
                except StoreUnavailable as error:
                    self._tell(error)
                    return

    def _file_one(self, marker: Path) -> None:
        row = self.store.run(marker.parent.name)
        if row is None or row.ended_at is None:
            return
        path = marker.parent / RECORD
        record = path.read_text(encoding="utf-8") if path.exists() else None
        self.shared.end_run(row, record)
        marker.unlink(missing_ok=True)
        log.info("run_shared", run=row.id)

    def _tell(self, error: Exception | None) -> None:
        """Log once that the shared store cannot be reached, and once that it can again."""
        if self._reached and error is not None:
            log.error("shared_store_unreachable", why=str(error))
        elif not self._reached and error is None:
            log.warning("shared_store_back")
        self._reached = error is None
