"""Replicas behind one entry, drawn at random, and how right what is told of each source is."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from agent.breakers.analysis import analyse
from agent.breakers.machines.kinds import Kind
from agent.breakers.replicas.consensus import UNKNOWN
from agent.breakers.simulation.simulate import Design, Truth, World, simulate
from bench._scenarios import TOLERANCE_S, met_by_calls, world_of

if TYPE_CHECKING:
    from agent.breakers.replicas.per_source import PerSource

BALANCERS = ("random", "in turn", "by key", "least busy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What became of one recording: for each source its states, and of all how many are right.

    ``right`` and ``wrong`` count sources whose whole sequence is told, ``partly`` those of which times are
    left out, ``withheld`` those of which nothing is told.  ``misplaced`` are transitions outside their
    brackets, of ``transitions`` in right sequences.
    """

    named: bool
    right: int = 0
    wrong: int = 0
    partly: int = 0
    withheld: int = 0
    transitions: int = 0
    misplaced: int = 0


def drawn(
    seed: int, *, count: int, balancer: str, per_source: float, ids: bool = True, step: float = 1.0
) -> tuple[Design, World]:
    """Draw *count* replicas behind a *balancer*, at *per_source* calls to each in an open time.

    Each stays open *step* times as long as the one before.
    """
    dice = random.Random(f"apart {seed}")
    open_s = dice.uniform(1.0, 4.0)
    design = Design(
        threshold=dice.randint(3, 8),
        open_s=open_s,
        open_step=step,
        replicas=count,
        budget=dice.choice([1, 1, 3]),
        half_open=dice.choice(["reject", "reject", "queue", "admit"]),
    )
    rate = per_source * count / open_s
    world = world_of(dice, rate, open_s, dice.choice([0.001, 0.01, 0.05]), (0.0,), slow=False)
    keys = 4 * count if balancer == "by key" else 1
    return design, replace(world, routing=balancer, keys=keys, passes_ids_on=ids)


def judge(design: Design, world: World) -> Judged:
    """Play, infer, and compare each source's states with its real ones."""
    truth = simulate(design, world)
    (stream,) = analyse(truth.calls, {"": truth.arrivals}, truth.faults).judged
    found = Judged(named=stream.view.machine.kind is Kind.REPLICAS)
    if not stream.sources:
        return replace(found, withheld=design.replicas)
    for each in stream.sources:
        found = _with(found, truth, each)
    return found


def _with(found: Judged, truth: Truth, each: PerSource) -> Judged:
    real = met_by_calls(truth, each.source.number)
    if each.source.why:
        return replace(found, withheld=found.withheld + 1)
    if UNKNOWN in each.sequence:
        return replace(found, partly=found.partly + 1)
    if each.sequence != ("closed", *(to for _, _, to in real)):
        return replace(found, wrong=found.wrong + 1)
    outside = [
        step
        for step, (at, _, _) in zip(each.source.consensus.steps, real, strict=True)
        if not step.after - TOLERANCE_S <= at <= step.before + TOLERANCE_S
    ]
    return replace(
        found,
        right=found.right + 1,
        transitions=found.transitions + len(real),
        misplaced=found.misplaced + len(outside),
    )
