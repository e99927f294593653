"""The tables of an agent's own ledger; timestamps are seconds since the epoch, calls and doses are JSON."""

from sqlalchemy import JSON, Boolean, Column, Float, ForeignKey, Integer, MetaData, String, Table, Text

VERSION = 1
"""Kept in ``PRAGMA user_version``; a newer file is refused rather than guessed at."""

metadata = MetaData()

runs = Table(
    "runs",
    metadata,
    Column("id", String, primary_key=True),
    Column("experiment", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("host", String, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("created", Float, nullable=False),
    Column("leashed", Boolean, nullable=False),
    Column("radius_count", Integer),
    Column("radius_fraction", Float),
    Column("aborting", Boolean, nullable=False, default=False),
    Column("started_at", Float, nullable=False, index=True),
    Column("beat_at", Float, nullable=False),
    Column("ended_at", Float),
    Column("summary", JSON),
)

injections = Table(
    "injections",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("id", String, unique=True, nullable=False),
    Column("run", String, ForeignKey("runs.id"), nullable=False, index=True),
    Column("fault", String, nullable=False),
    Column("victims", JSON, nullable=False),
    Column("undo", JSON, nullable=False),
    Column("landed_check", JSON, nullable=False),
    Column("gone_check", JSON, nullable=False),
    Column("renew", JSON),
    Column("lease_s", Float),
    Column("max_duration_s", Float, nullable=False),
    Column("state", String, nullable=False, index=True),
    Column("intended_at", Float, nullable=False),
    Column("applied_at", Float),
    Column("landed_at", Float),
    Column("healed_at", Float),
    Column("landed", Boolean),
    Column("gone", Boolean),
    Column("dose", JSON, nullable=False),
    Column("missed", Text),
    Column("error", Text),
)

halts = Table(
    "halts",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("at", Float, nullable=False),
    Column("reason", Text, nullable=False),
    Column("lifted_at", Float),
)
