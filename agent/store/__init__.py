"""The durable memory: the ledger in one SQLite file under ``GAMEDAY_HOME``, and what several agents share.

The latter is imported by name (:mod:`agent.store.shared`): most processes of a run have no use for it.
"""

from agent.store.store import Owner, RunRow, Store, StoreUnavailable

__all__ = ["Owner", "RunRow", "Store", "StoreUnavailable"]
