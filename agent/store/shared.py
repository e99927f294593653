"""What several agents share: runs with their reports, the halt, claims and an audit, in one database.

Not the ledger: what is broken now stands in the local :class:`~agent.store.store.Store`, written ahead,
so that no healing ever waits for a network.  Nothing in here is needed to mend anything.
"""

from __future__ import annotations

import gzip
import importlib.util
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, create_engine, event, insert, select, text, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from agent.model import UsageError
from agent.store.limits import TookTooLong, within
from agent.store.shared_tables import VERSION, audit, claims, halts, metadata, runs, server_time, version
from agent.store.store import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sqlalchemy.engine import URL

    from agent.store.store import RunRow

CALL_S = 5.0
"""Nobody waits longer for one call."""
CONNECT_S = 3
LOCK = 0x67616D65
"""The advisory lock under which tables are made."""
KEPT_CLAIMS_S = 30 * 86400.0


class SharedUnavailable(StoreUnavailable):
    """The shared store cannot be reached or used; what this agent needs to mend things is not in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedRun:
    """A run of any agent; ``silent_s`` is how long ago its agent was heard of, by the server's clock."""

    id: str
    agent: str
    experiment: str
    title: str
    leashed: bool
    began_at: float
    silent_s: float
    summary: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of the audit: when, by the server's clock, which agent did what to what."""

    at: float
    agent: str
    did: str
    what: str


class Shared:
    """The database at *url*; connected at first use, tables made then.

    Safe for threads.  *agent* is what this agent is called in there; default: its host.

    Raises:
        UsageError: *url* is none of PostgreSQL or SQLite, or its driver is not installed.
    """

    def __init__(self, url: str, *, agent: str | None = None) -> None:
        parsed = _parsed(url)
        self.agent = agent or socket.gethostname()
        self.shown = parsed.render_as_string(hide_password=True)
        self._engine = _engine(parsed)
        self._ready = False

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    # runs

    def begin_run(self, row: RunRow) -> str | None:
        """Record that *row* started, unless everything is halted: then return why, and record nothing."""

        def begin(db: Connection) -> str | None:
            if (reason := _halt(db)) is not None:
                return reason
            values = {**_columns(row, self.agent), "began_at": server_time(), "beat_at": server_time()}
            db.execute(insert(runs).values(values))
            self._note(db, "began", f"{row.id} {row.title}")
            return None

        return self._within(begin)

    def beat(self, run: str) -> None:
        """Record that the agent of *run* is alive now."""
        changed = update(runs).where(runs.c.id == run).values(beat_at=server_time())
        self._within(lambda db: db.execute(changed))

    def end_run(self, row: RunRow, record: str | None) -> None:
        """File how *row* ended, with its whole *record* as JSON; again changes nothing.

        A run that could not be recorded when it began is recorded now.
        """
        packed = None if record is None else gzip.compress(record.encode(), mtime=0)
        summary = dict(row.summary or {})
        told = {"ended_at": row.ended_at, "summary": summary, "record": packed}

        def end(db: Connection) -> None:
            known = db.execute(select(runs.c.ended_at).where(runs.c.id == row.id)).one_or_none()
            if known is None:
                began = {**_columns(row, self.agent), "began_at": row.started_at, "beat_at": server_time()}
                db.execute(insert(runs).values({**began, **told}))
            elif known.ended_at is None:
                db.execute(update(runs).where(runs.c.id == row.id).values(beat_at=server_time(), **told))
            else:
                return
            self._note(db, "ended", f"{row.id} {summary.get('verdict')}")

        self._within(end)

    def runs(self, *, limit: int = 1000) -> tuple[SharedRun, ...]:
        """Return the runs of all agents, newest first."""
        silent_s = (server_time() - runs.c.beat_at).label("silent_s")
        names = [column for column in runs.c if column.name not in ("record", "beat_at", "ended_at")]
        query = select(*names, silent_s).order_by(runs.c.began_at.desc()).limit(limit)
        found = self._within(lambda db: db.execute(query).all())
        return tuple(SharedRun(**row._mapping) for row in found)  # noqa: SLF001  # public API

    def record(self, run: str) -> str | None:
        """Return the record of *run* as JSON, None if there is none."""
        query = select(runs.c.record).where(runs.c.id == run)
        packed = self._within(lambda db: db.execute(query).scalar())
        return None if packed is None else gzip.decompress(packed).decode()

    # the kill switch

    def halt(self, reason: str) -> None:
        """Turn the kill switch of all agents on; harmless when it is on already."""

        def turn_on(db: Connection) -> None:
            if _halt(db) is None:
                db.execute(insert(halts).values(at=server_time(), reason=reason, by=self.agent))
                self._note(db, "halted", reason)

        self._within(turn_on)

    def resume(self) -> bool:
        """Turn it off; False if it was not on."""

        def turn_off(db: Connection) -> bool:
            lifted = {"lifted_at": server_time(), "lifted_by": self.agent}
            done = db.execute(update(halts).where(halts.c.lifted_at.is_(None)).values(lifted))
            if done.rowcount:
                self._note(db, "resumed", "")
            return bool(done.rowcount)

        return self._within(turn_off)

    def halted(self) -> str | None:
        """Return why everything is halted, or None."""
        return self._within(_halt)

    # claims and audit

    def claim(self, what: str, due: float) -> bool:
        """Whether it is for this agent to do *what* that was *due* then; False when somebody has it already.

        No clock decides: the first one to write has it.
        """

        def first(db: Connection) -> bool:
            values = {"what": what, "due": due, "agent": self.agent, "at": server_time()}
            mine = db.execute(self._insert_new(values)).one_or_none() is not None
            if mine:
                db.execute(claims.delete().where(claims.c.at < server_time() - KEPT_CLAIMS_S))
                self._note(db, "claimed", f"{what} due {due:.0f}")
            return mine

        return self._within(first)

    def audit(self, *, limit: int = 1000) -> tuple[Entry, ...]:
        """Return who did what, newest first."""
        query = select(audit).order_by(audit.c.seq.desc()).limit(limit)
        found = self._within(lambda db: db.execute(query).all())
        return tuple(Entry(at=row.at, agent=row.agent, did=row.did, what=row.what) for row in found)

    def _note(self, db: Connection, did: str, what: str) -> None:
        db.execute(insert(audit).values(at=server_time(), agent=self.agent, did=did, what=what))

    def _insert_new(self, values: Mapping[str, Any]) -> Any:
        dialect = postgresql if self._engine.dialect.name == "postgresql" else sqlite
        return dialect.insert(claims).values(values).on_conflict_do_nothing().returning(claims.c.what)

    # transactions

    def _within[T](self, carry_out: Callable[[Connection], T]) -> T:
        """Do one transaction, and wait for it no longer than :data:`CALL_S`."""

        def transaction() -> T:
            with self._engine.begin() as db:
                if not self._ready:
                    self._prepare(db)
                return carry_out(db)

        try:
            done = within(CALL_S, transaction)
        except (SQLAlchemyError, TookTooLong) as error:
            cause = str(getattr(error, "orig", None) or error).strip().replace("\n", " ")
            raise SharedUnavailable(f"GAMEDAY_STORE {self.shown}: {cause}") from error
        self._ready = True
        return done

    def _prepare(self, db: Connection) -> None:
        """Make the tables, one agent at a time; refuse what a newer version wrote."""
        if db.dialect.name == "postgresql":
            db.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        metadata.create_all(db)
        found = db.execute(select(version.c.version)).scalar()
        if found is None:
            db.execute(insert(version).values(version=VERSION))
        elif found > VERSION:
            raise SharedUnavailable(f"{self.shown} was written by a newer gameday (version {found})")


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise UsageError(
            "GAMEDAY_STORE is no address of a database, such as postgresql+psycopg://gameday@db/gameday"
        ) from None
    kind = parsed.get_backend_name()
    if kind == "postgresql":
        if importlib.util.find_spec("psycopg") is None:
            raise UsageError("GAMEDAY_STORE: psycopg is not installed; install gameday-agent[postgresql]")
        return parsed.set(drivername="postgresql+psycopg")
    if kind != "sqlite":
        raise UsageError(f"GAMEDAY_STORE: {kind} is neither postgresql nor sqlite")
    return parsed


def _engine(url: URL) -> Engine:
    """Return an engine whose connections give up by themselves, as far as they can."""
    if url.get_backend_name() == "sqlite":
        engine = create_engine(url, connect_args={"timeout": CONNECT_S})
        event.listen(engine, "connect", _own_begin)
        event.listen(engine, "begin", lambda db: db.exec_driver_sql("BEGIN IMMEDIATE"))
        return engine
    limits = "-c statement_timeout=4000 -c lock_timeout=3000 -c idle_in_transaction_session_timeout=10000"
    arguments = {
        "connect_timeout": CONNECT_S,
        "options": limits,
        "application_name": "gameday",
        "client_encoding": "utf8",  # psycopg gives bytes where the server's is SQL_ASCII
        "tcp_user_timeout": 5000,
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
    }
    return create_engine(
        url, connect_args=arguments, pool_pre_ping=True, pool_size=2, max_overflow=2, pool_timeout=CONNECT_S
    )


def _own_begin(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # SQLAlchemy's "begin" decides, not the driver


def _columns(row: RunRow, agent: str) -> dict[str, Any]:
    return {
        "id": row.id,
        "agent": agent,
        "experiment": row.experiment,
        "title": row.title,
        "leashed": row.leashed,
    }


def _halt(db: Connection) -> str | None:
    query = select(halts.c.reason).where(halts.c.lifted_at.is_(None)).order_by(halts.c.seq.desc()).limit(1)
    reason = db.execute(query).scalar()
    return None if reason is None else str(reason)
