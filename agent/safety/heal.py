"""Undo what is broken and check that it is gone; the one function every rescuer calls.

Parent, child, reaper, ``gameday heal`` and the start of ``gameday serve`` may all be in here for the
same run at the same time: undoing is idempotent, and the ledger keeps the first healing.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from agent.model import Fact, GamedayError, InjectionState
from agent.store import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.model import Injection
    from agent.store import Store

log = structlog.get_logger()

PAUSES_S = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
WITHIN_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Healed:
    """What one healing came to; ``left`` names what may still be broken, with its reason."""

    healed: tuple[str, ...] = ()
    left: tuple[tuple[str, str], ...] = ()

    @property
    def clean(self) -> bool:
        """Whether nothing is left."""
        return not self.left


def heal(
    store: Store,
    run: str,
    *,
    within_s: float = WITHIN_S,
    only: Callable[[Injection], bool] = lambda _: True,
    final: bool = True,
    patient: bool = True,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Healed:
    """Heal every open injection of *run*, newest first, until all are gone or *within_s* is over.

    Never raises for one injection's sake: a failure is retried with growing pauses, the others go
    on, and what is left is recorded as not recovered, unless this was not the *final* try.
    *only* leaves the others alone.  What a check says is still expected to come true by itself (a pod
    that is being replaced) is waited for until then, by who is *patient*.

    Raises:
        StoreUnavailable: The ledger could not be read; nothing is known, and nothing was undone.
    """
    deadline = clock() + within_s
    healed: list[str] = []
    doses: dict[str, Fact] = {}  # what an undo found out when it still could; the next one may find nothing
    for turn in range(1_000_000):
        waiting = [each for each in store.injections(run, open_only=True) if only(each)]
        outcomes = [(injection, _undo(injection)) for injection in reversed(waiting)]
        for injection, outcome in outcomes:  # after all undoing: a store that is locked must not hold it up
            if not isinstance(outcome, _Failure):
                dose, gone = outcome
                _record(store, injection, doses.get(injection.id, dose), gone)
                healed.append(injection.fault)
            elif outcome.dose is not None:
                doses.setdefault(injection.id, outcome.dose)
        failures = [(injection, why) for injection, why in outcomes if isinstance(why, _Failure)]
        if not failures:
            return Healed(healed=tuple(healed))
        pause = PAUSES_S[min(turn, len(PAUSES_S) - 1)]
        expected = max((why.expected_by or 0.0 for _, why in failures), default=0.0) if patient else 0.0
        if clock() + pause >= deadline and (within_s <= 0 or time.time() + pause >= expected):
            break
        sleep(pause)
    if final:
        for injection, why in failures:
            _give_up(store, injection, why.says, doses.get(injection.id))
    left = tuple((f"{each.fault} {', '.join(each.victims)}", why.says) for each, why in failures)
    return Healed(healed=tuple(healed), left=left)


def is_overdue(injection: Injection) -> bool:
    """Whether *injection* has been in for longer than its ``max_duration_s``."""
    began = injection.applied_at or injection.intended_at
    return time.time() - began > injection.max_duration_s


@dataclass(frozen=True, slots=True, kw_only=True)
class _Failure:
    """Why an injection is not gone yet, and until when it may still go by itself."""

    says: str
    expected_by: float | None = None
    dose: Fact | None = None


def _undo(injection: Injection) -> _Failure | tuple[Fact | None, Fact]:
    """Undo and check once; return the dose and the check when it is gone, else why it is not yet."""
    try:
        dose = injection.undo()
        gone = injection.gone_check()
    except Exception as error:  # noqa: BLE001  # boundary: undo and check are a fault's code
        found = error.found if isinstance(error, GamedayError) else None
        return _Failure(says=f"{type(error).__name__}: {error}", dose=found)
    if not gone.holds:
        return _Failure(says=gone.says or "still there", expected_by=gone.expected_by, dose=dose)
    log.info("fault_gone", run=injection.run, fault=injection.fault, victims=injection.victims)
    return dose, gone


def _record(store: Store, injection: Injection, dose: Fact | None, gone: Fact) -> None:
    measured = {**_measured(injection), **(dose.measured if dose else {}), **gone.measured}
    values: dict[str, object] = {"dose": {**injection.dose, "measured": measured}}
    if dose is not None and not dose.holds and injection.missed is None:
        values["missed"] = dose.says
    try:
        store.update_injection(
            injection.id,
            state=InjectionState.HEALED,
            healed_at=time.time(),
            gone=True,
            error=None,
            **values,
        )
    except StoreUnavailable as error:
        # The fault is gone, which matters more than its record: a later heal finds it harmless.
        log.warning("heal_not_recorded", fault=injection.fault, why=str(error))


def _measured(injection: Injection) -> dict[str, object]:
    measured = injection.dose.get("measured")
    return dict(measured) if isinstance(measured, dict) else {}


def _give_up(store: Store, injection: Injection, why: str, dose: Fact | None) -> None:
    """Record that it may still be in, and what its dose was said to be: who heals it later cannot know."""
    log.error("NOT_RECOVERED", run=injection.run, fault=injection.fault, victims=injection.victims, why=why)
    missed = {"missed": dose.says} if dose and not dose.holds and injection.missed is None else {}
    try:
        store.update_injection(
            injection.id, state=InjectionState.NOT_RECOVERED, gone=False, error=why, **missed
        )
    except StoreUnavailable as error:
        log.warning("heal_not_recorded", fault=injection.fault, why=str(error))
