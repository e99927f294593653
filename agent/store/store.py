"""One open state file; each method is one transaction, and none of them knows what a fault is."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, Row, create_engine, event, insert, select, text, update
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from agent.model import Aborting, Halted, Injection, InjectionState, Radius, RadiusExceeded, Refused
from agent.store.tables import VERSION, halts, injections, metadata, runs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

BUSY_S = 5.0


class StoreUnavailable(Refused):
    """The state file cannot be read or written; nothing may be broken without it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """The process that answers for a run: host, pid, and when that process began."""

    host: str
    pid: int
    created: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """A run as the store knows it; ``summary`` is the public JSON object once it has ended."""

    id: str
    experiment: str
    title: str
    owner: Owner
    leashed: bool
    radius: Radius
    aborting: bool
    started_at: float
    beat_at: float
    ended_at: float | None
    summary: Mapping[str, Any] | None


class Store:
    """The state file under *home*, created at first use.

    Safe for several processes and threads at once: SQLite in WAL mode with ``synchronous=FULL``, so
    what a method returned from survives a power cut.

    Raises:
        StoreUnavailable: The folder is read-only, the disk is full, or the file is a newer version's.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self.path = home / "gameday.db"
        try:
            home.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise StoreUnavailable(f"{home}: cannot make the state folder: {error.strerror}") from error
        self._engine = _engine(self.path)
        try:
            self._prepare()
        except BaseException:
            self.close()
            raise

    def _prepare(self) -> None:
        with self._write() as db:
            metadata.create_all(db)
            found = db.execute(text("PRAGMA user_version")).scalar_one()
            if found > VERSION:
                raise StoreUnavailable(f"{self.path} was written by a newer gameday (version {found})")
            db.execute(text(f"PRAGMA user_version = {VERSION}"))

    def close(self) -> None:
        """Let go of the file."""
        self._engine.dispose()

    @contextmanager
    def _transaction(self, *, begin: str) -> Iterator[Connection]:
        try:
            with self._engine.connect().execution_options(gameday_begin=begin) as db, db.begin():
                yield db
        except (DBAPIError, SQLAlchemyError) as error:
            cause = getattr(error, "orig", None) or error
            raise StoreUnavailable(f"{self.path}: {cause}; is the disk full or read-only?") from error

    def _write(self) -> Any:
        return self._transaction(begin="BEGIN IMMEDIATE")

    def _read(self) -> Any:
        return self._transaction(begin="BEGIN")

    # runs

    def begin_run(
        self, run: str, *, experiment: str, title: str, owner: Owner, leashed: bool, radius: Radius
    ) -> None:
        """Record that *run* started; durable when this returns."""
        now = time.time()
        row = {
            "id": run,
            "experiment": experiment,
            "title": title,
            **asdict(owner),
            "leashed": leashed,
            "radius_count": radius.count,
            "radius_fraction": radius.fraction,
            "aborting": False,
            "started_at": now,
            "beat_at": now,
        }
        with self._write() as db:
            db.execute(insert(runs).values(row))

    def beat(self, run: str) -> None:
        """Record that the owner of *run* is alive now."""
        with self._write() as db:
            db.execute(update(runs).where(runs.c.id == run).values(beat_at=time.time()))

    def take_over(self, run: RunRow, owner: Owner) -> bool:
        """Make *owner* answer for *run* in place of the one it has; False if somebody else was quicker."""
        had = (runs.c.host == run.owner.host) & (runs.c.pid == run.owner.pid)
        had &= (runs.c.created == run.owner.created) & runs.c.ended_at.is_(None)
        values = {**asdict(owner), "beat_at": time.time()}
        with self._write() as db:
            done = db.execute(update(runs).where((runs.c.id == run.id) & had).values(values))
            return bool(done.rowcount)

    def abort(self, run: str) -> None:
        """Close the door for *run*: no injection is recorded after this returns."""
        with self._write() as db:
            db.execute(update(runs).where(runs.c.id == run).values(aborting=True))

    def is_aborting(self, run: str) -> bool:
        """Whether the door is closed for *run*, by an abort or by the halt."""
        with self._read() as db:
            aborting = db.execute(select(runs.c.aborting).where(runs.c.id == run)).scalar()
            return bool(aborting) or _halt(db) is not None

    def end_run(self, run: str, summary: Mapping[str, Any], *, ended_at: float) -> bool:
        """Record how *run* ended; False if it had ended already, and then nothing changes."""
        where = (runs.c.id == run) & runs.c.ended_at.is_(None)
        with self._write() as db:
            done = db.execute(update(runs).where(where).values(ended_at=ended_at, summary=dict(summary)))
            return bool(done.rowcount)

    def run(self, run: str) -> RunRow | None:
        """Return *run*, or None."""
        with self._read() as db:
            row = db.execute(select(runs).where(runs.c.id == run)).one_or_none()
            return None if row is None else _run(row)

    def runs(self, *, open_only: bool = False, limit: int = 1000) -> tuple[RunRow, ...]:
        """Return runs, newest first."""
        query = select(runs).order_by(runs.c.started_at.desc()).limit(limit)
        if open_only:
            query = query.where(runs.c.ended_at.is_(None))
        with self._read() as db:
            return tuple(_run(row) for row in db.execute(query))

    # injections

    def intend(self, injection: Injection, *, population: int | None) -> None:
        """Write *injection* ahead of the harm; refusal and record are one transaction.

        Raises:
            Halted, Aborting, RadiusExceeded: Nothing was recorded and nothing may be broken.
            StoreUnavailable: The record is not durable; nothing may be broken.
        """
        with self._write() as db:
            if reason := _halt(db):
                raise Halted(f"halted: {reason}; nothing is injected until `gameday resume`")
            run = _run(db.execute(select(runs).where(runs.c.id == injection.run)).one())
            if run.aborting or run.ended_at is not None:
                raise Aborting(f"run {run.id} is being stopped; {injection.fault} was not injected")
            hit = select(injections.c.victims).where(injections.c.run == run.id)
            earlier = {victim for (victims,) in db.execute(hit) for victim in victims}
            check_radius(run.radius, earlier, injection, population)
            db.execute(insert(injections).values(_columns(injection)))

    def adopt(self, injection: Injection) -> None:
        """Take in *injection*, which another process has put in already; one that is known stays as it is.

        Nothing is refused: what is broken has to be mended, whatever may be broken now.
        """
        with self._write() as db:
            known = select(injections.c.id).where(injections.c.id == injection.id)
            if db.execute(known).scalar() is None:
                db.execute(insert(injections).values(_columns(injection)))

    def update_injection(self, injection: str, **values: Any) -> None:
        """Set columns of *injection*; a healed one keeps its state."""
        where = (injections.c.id == injection) & (injections.c.state != InjectionState.HEALED)
        with self._write() as db:
            db.execute(update(injections).where(where).values(values))

    def injections(self, run: str | None = None, *, open_only: bool = False) -> tuple[Injection, ...]:
        """Return injections in the order they were intended."""
        query = select(injections).order_by(injections.c.seq)
        if run is not None:
            query = query.where(injections.c.run == run)
        if open_only:
            query = query.where(injections.c.state != InjectionState.HEALED)
        with self._read() as db:
            return tuple(_injection(row) for row in db.execute(query))

    # the kill switch

    def halt(self, reason: str) -> None:
        """Turn the kill switch on; harmless when it is on already."""
        with self._write() as db:
            if _halt(db) is None:
                db.execute(insert(halts).values(at=time.time(), reason=reason))

    def resume(self) -> bool:
        """Turn the kill switch off; False if it was not on."""
        with self._write() as db:
            lifted = update(halts).where(halts.c.lifted_at.is_(None)).values(lifted_at=time.time())
            return bool(db.execute(lifted).rowcount)

    def halted(self) -> str | None:
        """Return why everything is halted, or None."""
        with self._read() as db:
            return _halt(db)


def check_radius(radius: Radius, earlier: set[str], injection: Injection, population: int | None) -> None:
    """Raise :class:`RadiusExceeded` if *injection* would make the run hit more than *radius*.

    The radius counts distinct victims, over this injection and all *earlier* ones of the run.
    """
    hit = earlier | set(injection.victims)
    names = ", ".join(sorted(hit))
    if radius.count is not None and len(hit) > radius.count:
        raise RadiusExceeded(f"{len(hit)} victims ({names}) are more than the blast radius of {radius.count}")
    if radius.fraction is None:
        return
    if population is None:
        if radius.count is None:
            raise RadiusExceeded(
                f"{injection.fault}: nobody knows how many targets there are, so a fraction cannot bound it; "
                "give blast_radius a count",
            )
        return
    most = int(radius.fraction * population + 1e-9)
    if len(hit) > most:
        raise RadiusExceeded(
            f"{len(hit)} victims ({names}) of {population} are more than the blast radius of "
            f"{radius.fraction:g}, which is {most}",
        )


def _engine(path: Path) -> Engine:
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": BUSY_S})

    @event.listens_for(engine, "connect")
    def pragmas(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # SQLAlchemy's "begin" below decides, not the driver
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(connection.get_execution_options().get("gameday_begin", "BEGIN"))

    return engine


def _halt(db: Connection) -> str | None:
    query = select(halts.c.reason).where(halts.c.lifted_at.is_(None)).order_by(halts.c.seq.desc()).limit(1)
    reason = db.execute(query).scalar()
    return None if reason is None else str(reason)


def _run(row: Row[Any]) -> RunRow:
    return RunRow(
        id=row.id,
        experiment=row.experiment,
        title=row.title,
        owner=Owner(host=row.host, pid=row.pid, created=row.created),
        leashed=row.leashed,
        radius=Radius(count=row.radius_count, fraction=row.radius_fraction),
        aborting=row.aborting,
        started_at=row.started_at,
        beat_at=row.beat_at,
        ended_at=row.ended_at,
        summary=row.summary,
    )


def _columns(injection: Injection) -> dict[str, Any]:
    return asdict(injection) | {"victims": list(injection.victims)}


def _injection(row: Row[Any]) -> Injection:
    return Injection.from_json({key: value for key, value in row._mapping.items() if key != "seq"})  # noqa: SLF001  # public API
