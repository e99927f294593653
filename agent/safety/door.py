"""The one door: every harm this program does goes through :func:`inject`."""

from __future__ import annotations

import time
import uuid
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import structlog

from agent import settings as settings_of
from agent.model import Aborting, DidNotLand, Fact, Injection, InjectionState, NoTargets, NotRecovered
from agent.safety import copies, lifeline
from agent.safety.context import current_run
from agent.safety.heal import heal
from agent.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from agent.model import Call, Json
    from agent.safety.heal import Healed

log = structlog.get_logger()


def inject(
    *,
    fault: str,
    victims: Sequence[str],
    population: int | None,
    apply: Callable[[], None],
    undo: Call,
    landed_check: Call,
    gone_check: Call,
    max_duration_s: float,
    asked: Mapping[str, Json],
    renew: Call | None = None,
    lease_s: float | None = None,
    alone: bool = False,
) -> dict[str, Json]:
    """Put *fault* into *victims*, and see to it that it ends.

    Args:
        fault: Its name, such as ``links.delay``.
        victims: Who is hit; names that mean something to an operator.
        population: How many targets of that kind there are, for a radius given as a fraction.
        apply: Breaks them.  The only argument that is not data, and the only one that harms.
        undo: Idempotent, and harmless where the fault never happened.
        landed_check: Tells whether the fault is really in, as a :class:`~agent.model.Fact`.
        gone_check: Tells whether it is really out.
        max_duration_s: The fault's hard end, whatever renews; > 0.
        asked: The dose asked for.
        renew: Extends the platform's lease by *lease_s*.
        lease_s: After this long without a renewal the platform itself ends the fault.
        alone: If it fails, take out this injection only and leave the run's others in: for one that
            follows another while the run goes on.

    Returns:
        ``{"injection", "fault", "victims", "landed": true, "dose": {"asked", "measured"}}``; on the
        leash ``{"leashed": true, "fault", "victims", "undo", "renew", "lease_s", "max_duration_s"}``.

    Raises:
        Refused: Halted, aborting, beyond the radius, nobody to hit, or no durable record.  Nothing
            was touched.
        DidNotLand: It was applied, could not be seen, and was taken out again.
    """
    run = current_run()
    if not victims:
        raise NoTargets(f"{fault}: nothing matches; nothing was injected")
    injection = Injection(
        id=uuid.uuid4().hex,
        run=run.id,
        fault=fault,
        victims=tuple(victims),
        undo=undo,
        landed_check=landed_check,
        gone_check=gone_check,
        renew=renew,
        lease_s=lease_s,
        max_duration_s=max_duration_s,
        intended_at=time.time(),
        dose={"asked": dict(asked)},
    )
    if run.leashed:
        return _leashed(injection)
    store = Store(settings_of.current().home)
    try:
        lifeline.begin(run, store, preload=sorted({call.module for call in (undo, gone_check)}))
        injection = replace(injection, intended_at=time.time())
        store.intend(injection, population=population)
        return _apply(store, injection, apply, alone=alone)
    finally:
        store.close()


def guard(*modules: str) -> None:
    """Start now what else the run's first injection starts: who takes everything out when this process dies.

    So the first fault is in as soon after it is asked for as the later ones.  *modules* are those that undo
    and check what will be injected.

    Raises:
        NoReaper: It did not come up in time.
    """
    run = current_run()
    if run.leashed:
        return
    store = Store(settings_of.current().home)
    try:
        lifeline.begin(run, store, preload=sorted(modules))
    finally:
        store.close()


def _leashed(injection: Injection) -> dict[str, Json]:
    log.info("fault_leashed", fault=injection.fault, victims=injection.victims)
    whole = asdict(injection)
    kept = ("fault", "undo", "renew", "lease_s", "max_duration_s", "dose")
    return {"leashed": True, "victims": list(injection.victims), **{key: whole[key] for key in kept}}


def heal_one(run: str, which: Callable[[Injection], bool]) -> Healed:
    """Take out those injections of *run* that *which* names, and leave the others in; what came of it."""
    store = Store(settings_of.current().home)
    try:
        return heal(store, run, only=which)
    finally:
        store.close()


def heal_only(these: Collection[str]) -> None:
    """Take out those injections of this run that *these* name.

    Raises:
        NotRecovered: Something of them may still be in.
    """
    _cleanly(heal_one(current_run().id, lambda injection: injection.id in these))


def heal_others(these: Collection[str]) -> None:
    """Take out all injections of this run but those that *these* name.

    Raises:
        NotRecovered: Something of them may still be in.
    """
    _cleanly(heal_one(current_run().id, lambda injection: injection.id not in these))


def _cleanly(healed: Healed) -> None:
    if not healed.clean:
        left = "; ".join(f"{what}: {why}" for what, why in healed.left)
        raise NotRecovered(f"NOT RECOVERED: {left}; run `gameday heal` again when that is mended")


def _apply(store: Store, injection: Injection, apply: Callable[[], None], *, alone: bool) -> dict[str, Json]:
    """Break, check, record; any failure in here takes the fault out again before it is told."""

    def meant(other: Injection) -> bool:
        return not alone or other.id == injection.id

    try:
        copies.announce(injection)
        apply()
        store.update_injection(injection.id, state=InjectionState.APPLIED, applied_at=time.time())
        _refuse_if_aborting(store, injection)
        fact: Fact = injection.landed_check()
    except BaseException:  # whatever ended it, also a signal: it must not stay in
        heal(store, injection.run, only=meant)
        raise
    if not fact.holds:
        store.update_injection(injection.id, landed=False, missed=fact.says)
        heal(store, injection.run, only=meant)
        raise DidNotLand(f"{injection.fault} did not land: {fact.says}; it was taken out again")
    dose: dict[str, Json] = {**injection.dose, "measured": dict(fact.measured)}
    store.update_injection(injection.id, landed=True, landed_at=time.time(), dose=dose)
    log.info("fault_landed", run=injection.run, fault=injection.fault, victims=injection.victims)
    return {
        "injection": injection.id,
        "fault": injection.fault,
        "victims": list(injection.victims),
        "landed": True,
        "dose": dose,
    }


def go_on() -> None:
    """Return if the run may still break things; for a fault that hits one victim after another.

    Raises:
        Aborting: The run was stopped meanwhile; the caller must not touch another victim.
    """
    store = Store(settings_of.current().home)
    try:
        run = current_run().id
        if store.is_aborting(run):
            raise Aborting(f"run {run} was stopped meanwhile")
    finally:
        store.close()


def _refuse_if_aborting(store: Store, injection: Injection) -> None:
    """Ask again after the harm: the run may have been stopped in the middle of it."""
    if store.is_aborting(injection.run):
        raise Aborting(f"run {injection.run} was stopped meanwhile; {injection.fault} was taken out again")
