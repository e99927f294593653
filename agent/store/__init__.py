"""The durable memory: runs, injections and halts, in one SQLite file under ``GAMEDAY_HOME``."""

from agent.store.store import Owner, RunRow, Store, StoreUnavailable

__all__ = ["Owner", "RunRow", "Store", "StoreUnavailable"]
