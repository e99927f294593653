"""Which shard a player is on, and the ranks a shard starts with."""

from __future__ import annotations

import sqlite3
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

SHARDS = ("shard-1", "shard-2", "shard-3")
PLAYERS = 300


def shard_of(player: str) -> str:
    """Return the name of *player*'s shard; the same for ever, whatever is up."""
    return SHARDS[zlib.crc32(player.encode()) % len(SHARDS)]


def open_shard(path: Path, shard: str) -> sqlite3.Connection:
    """Return *shard*'s database, filled when it is new."""
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE IF NOT EXISTS ranks (player TEXT PRIMARY KEY, score INTEGER NOT NULL)")
    players = ((str(p), (p * 7919) % 10_000) for p in range(PLAYERS) if shard_of(str(p)) == shard)
    db.executemany("INSERT OR IGNORE INTO ranks VALUES (?, ?)", players)
    db.commit()
    return db


def rank(db: sqlite3.Connection, player: str) -> int | None:
    """Return the rank of *player* within its shard, 1 being best; None for a stranger."""
    row = db.execute("SELECT score FROM ranks WHERE player = ?", (player,)).fetchone()
    if row is None:
        return None
    better = db.execute("SELECT count(*) FROM ranks WHERE score > ?", row).fetchone()[0]
    return int(better) + 1
