"""What an earlier crash left: healed, and its book closed; a run whose owner lives is left alone."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog

from agent.model import RunRecord, Verdict
from agent.safety import owner
from agent.safety.heal import Healed, heal

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.store import RunRow, Store

log = structlog.get_logger()


def recover(
    store: Store,
    *,
    file: Callable[[RunRecord], RunRecord] = lambda record: record,
    keep: Callable[[RunRow], bool] = lambda _: False,
) -> Healed:
    """Heal what runs without a living owner left broken, and end them in the store, *file* their records.

    What *keep* says of a run leaves it alone: it lives elsewhere, and does not need its owner to.

    Raises:
        StoreUnavailable: The ledger could not be read.
    """
    opened = store.runs(open_only=True)
    dead = {row.id for row in opened if not owner.is_alive(row) and not keep(row)}
    broken = {injection.run for injection in store.injections(open_only=True)}
    alive = {row.id for row in opened} - dead
    healed: list[str] = []
    left: list[tuple[str, str]] = []
    for run in sorted((broken | dead) - alive):
        store.abort(run)
        result = heal(store, run)
        if result.healed:
            log.warning("run_recovered", run=run, healed=result.healed)
        healed += result.healed
        left += result.left
        close_book(store, run, why="its owner died", clean=result.clean, file=file)
    return Healed(healed=tuple(healed), left=tuple(left))


def close_book(
    store: Store,
    run: str,
    *,
    why: str,
    clean: bool,
    file: Callable[[RunRecord], RunRecord] = lambda record: record,
) -> None:
    """End *run* in the store if nobody is left who could judge it."""
    row = store.run(run)
    if row is None or row.ended_at is not None or owner.is_alive(row):
        return
    record = file(_orphaned(store, row, why=why, clean=clean))
    assert record.ended_at is not None
    store.end_run(run, record.summary(), ended_at=record.ended_at)


def _orphaned(store: Store, row: RunRow, *, why: str, clean: bool) -> RunRecord:
    return RunRecord(
        run=row.id,
        experiment=row.experiment,
        title=row.title,
        started_at=row.started_at,
        ended_at=time.time(),
        verdict=Verdict.INCONCLUSIVE,
        reason=f"Nobody was left to judge it: {why}; everything it broke is "
        + ("gone." if clean else "NOT known to be gone."),
        recovered=clean,
        leashed=row.leashed,
        injections=store.injections(row.id),
        host=row.owner.host,
    )
