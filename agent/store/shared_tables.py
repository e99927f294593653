"""The tables that several agents share; timestamps are by the server's clock, in seconds since the epoch.

A run stands in here and in ``tables``, and neither is made from the other: the ledger has what it takes to
mend, by this host's clock, this database what others want to know; each grows by a version of its own.
"""

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

VERSION = 1
"""Kept in ``gameday_version``; a newer database is refused rather than guessed at."""

metadata = MetaData()
_SEQ = BigInteger().with_variant(Integer, "sqlite")

version = Table("gameday_version", metadata, Column("version", Integer, nullable=False))

runs = Table(
    "gameday_runs",
    metadata,
    Column("id", String, primary_key=True),
    Column("agent", Text, nullable=False),
    Column("experiment", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("leashed", Boolean, nullable=False),
    Column("began_at", Double, nullable=False),
    Column("beat_at", Double, nullable=False),
    Column("ended_at", Double),
    Column("summary", JSON),
    Column("record", LargeBinary),
    Index("gameday_runs_began", "began_at"),
)

halts = Table(
    "gameday_halts",
    metadata,
    Column("seq", _SEQ, Identity(), primary_key=True),
    Column("at", Double, nullable=False),
    Column("reason", Text, nullable=False),
    Column("by", Text, nullable=False),
    Column("lifted_at", Double),
    Column("lifted_by", Text),
)

claims = Table(
    "gameday_claims",
    metadata,
    Column("what", Text, primary_key=True),
    Column("due", Double, primary_key=True),
    Column("agent", Text, nullable=False),
    Column("at", Double, nullable=False),
)

audit = Table(
    "gameday_audit",
    metadata,
    Column("seq", _SEQ, Identity(), primary_key=True),
    Column("at", Double, nullable=False),
    Column("agent", Text, nullable=False),
    Column("did", String, nullable=False),
    Column("what", Text, nullable=False),
)


class server_time(FunctionElement[float]):  # noqa: N801  # a function of SQL, called like one
    """Now, by the clock of the database server, in seconds since the epoch."""

    inherit_cache = True
    type = Double()


@compiles(server_time, "postgresql")
def _postgresql(*_: Any, **__: Any) -> str:
    return "EXTRACT(EPOCH FROM clock_timestamp())::double precision"


@compiles(server_time, "sqlite")
def _sqlite(*_: Any, **__: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"
