"""How right the inference is about simulated services whose truth is known; writes docs/accuracy.md.

    python -m bench accuracy

Seeded, so that the page changes only with the inference.  A few minutes on two cores.
"""

from __future__ import annotations

import math
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.breakers.measures.properties import measure
from agent.breakers.simulation.simulate import Design, World, simulate
from agent.breakers.view import view
from bench._replicas import BALANCERS, drawn
from bench._replicas import judge as judge_sources
from bench._scenarios import OTHERS, breaker, judge, other

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from bench._replicas import Judged as Apart
    from bench._scenarios import Judged

TEXT = Path(__file__).with_suffix(".md")
PAGE = Path(__file__).parents[1] / "docs" / "accuracy.md"
WORKERS = 2
EACH, OF_THE_GOAL = 40, 120
"""Recordings of each cell; more of those at 50 calls an open time and more with a cache of at most 0.3."""
BANDS = (10.0, 20.0, 50.0, 100.0, 200.0)
CACHES = (0.0, 0.3, 0.6)
OF_A_KIND = 50
COUNTS, PER_SOURCE, STEPS, OF_REPLICAS = (2, 3, 5), (10.0, 20.0, 50.0), (1.0, 1.4), 4
"""Replicas: how many, calls to each in an open time, how many times as long each stays open as the one
before, and how many recordings of each."""
RECORDINGS = 300


def one_breaker(seed: int, *, band: float, cache: float) -> Judged:
    """Judge one breaker drawn at random, at *band* calls an open time."""
    return judge(breaker(seed, per_open=band, aside=(cache,)))


def one_other(seed: int, *, kind: str) -> Judged:
    """Judge one other machine drawn at random, at 50 to 200 calls an open time."""
    return judge(other(kind, seed))


def replicas_apart(seed: int, *, count: int, balancer: str, per_source: float, step: float) -> Apart:
    """Judge what is told of each of *count* replicas; every fourth service passes no ids on."""
    return judge_sources(
        *drawn(seed, count=count, balancer=balancer, per_source=per_source, ids=seed % 4 != 0, step=step)
    )


def covered(seed: int) -> dict[str, bool]:
    """Return which intervals of one recording's properties hold the truth."""
    design = Design(threshold=3 + seed % 5, open_s=2.0)
    world = World(
        rate_rps=60.0,
        reject_s=0.005,
        degraded_share=0.3,
        retries=2,
        retry_share=0.5,
        fault="error",
        seed=seed,
    )
    truth = simulate(design, world)
    found = measure(view(truth.calls, truth.arrivals, truth.faults))
    real = {
        "failures_to_open (bracket)": ("failures_to_open", float(design.threshold)),
        "time_to_half_open_s (bracket)": ("time_to_half_open_s", design.open_s),
        "half_open_budget (count)": ("half_open_budget", 1.0),
        "fail_fast_p99_ms (order statistics)": ("fail_fast_p99_ms", 0.5 + 5.0 * math.log(100)),
        "degraded_share (Clopper-Pearson)": ("degraded_share", 0.3),
    }
    return {
        said: (found[name].low or 0.0) - 1e-6 <= value <= (found[name].high or math.inf) + 1e-6
        for said, (name, value) in real.items()
        if found[name].estimate is not None
    }


def rows_of_breakers(judged: Iterable[tuple[float, float, Sequence[Judged]]]) -> list[str]:
    """Return the rows of the table about sequences."""
    rows = []
    for band, cache, each in judged:
        right = [one for one in each if one.sequence_right]
        steps = sum(one.transitions for one in right)
        outside = sum(len(one.misplaced) for one in right)
        named = sum(one.machine.three_state for one in each)
        rows.append(
            f"| {band:.0f} | {cache:g} | {len(each)} | {_percent(len(right), len(each))} "
            f"| {_percent(steps - outside, steps)} ({steps}) | {_percent(named, len(each))} |"
        )
    return rows


def rows_of_replicas(judged: Iterable[tuple[str, float, Sequence[Apart]]]) -> list[str]:
    """Return the rows of the table about replicas behind one entry."""
    rows = []
    for balancer, per_source, each in judged:
        right, wrong = sum(one.right for one in each), sum(one.wrong for one in each)
        partly, withheld = sum(one.partly for one in each), sum(one.withheld for one in each)
        steps, outside = sum(one.transitions for one in each), sum(one.misplaced for one in each)
        rows.append(
            f"| {balancer} | {per_source:.0f} | {right + wrong + partly + withheld} | {right} | {partly} "
            f"| {withheld} | {wrong} | {_percent(steps - outside, steps)} ({steps}) |"
        )
    return rows


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"


def page(**tables: Sequence[str]) -> str:
    """Return the page: the text beside this file with its *tables*."""
    return TEXT.read_text().format(**{name: "\n".join(rows) for name, rows in tables.items()})


def main(_: list[str]) -> list[dict[str, Any]]:
    """Write the page and return its figures as rows."""
    with ProcessPoolExecutor(WORKERS) as pool:

        def each(judge_one: Callable[[int], Any], count: int, since: int = 0) -> list[Any]:
            return list(pool.map(judge_one, range(since, since + count), chunksize=5))

        grid = [
            (
                band,
                cache,
                each(
                    partial(one_breaker, band=band, cache=cache),
                    OF_THE_GOAL if band >= 50 and cache <= 0.3 else EACH,
                    int(100_000 * band + 10_000 * cache),
                ),
            )
            for band in BANDS
            for cache in CACHES
        ]
        kinds = {kind: each(partial(one_other, kind=kind), OF_A_KIND) for kind in OTHERS}
        inside = each(covered, RECORDINGS)
        apart = [
            (
                balancer,
                per_source,
                [
                    one
                    for count in COUNTS
                    for step in STEPS
                    for one in each(
                        partial(
                            replicas_apart, count=count, balancer=balancer, per_source=per_source, step=step
                        ),
                        OF_REPLICAS,
                        int(1000 * count + 100 * step),
                    )
                ],
            )
            for balancer in BALANCERS
            for per_source in PER_SOURCE
        ]
    good = [one for band, cache, some in grid for one in some if band >= 50 and cache <= 0.3]
    kinds = {"breaker": good, **kinds}
    PAGE.write_text(
        page(
            sequences=rows_of_breakers(grid),
            kinds=[_kind_row(*item) for item in kinds.items()],
            intervals=_inside(inside),
            replicas=rows_of_replicas(apart),
        )
    )
    told_right = sum(one.right for _, _, some in apart for one in some)
    told_wrong = sum(one.wrong for _, _, some in apart for one in some)
    right = sum(one.sequence_right for one in good)
    named = [one for some in kinds.values() for one in some]
    hit = sum(one.kind_right for one in named)
    return [
        _row("sequences right at 50 calls an open time and more", right, len(good), 0.99),
        _row("machines called by their names", hit, len(named), 0.98),
        _row("states of single replicas, of those told", told_right, told_right + told_wrong, 0.99),
        _row("breakers called three-state", sum(one.machine.three_state for one in good), len(good), 0.99),
    ]


def _kind_row(kind: str, judged: Sequence[Judged]) -> str:
    right = [one for one in judged if one.kind_right]
    wrong = [str(one.machine.kind) for one in judged if not one.kind_right]
    said = ", ".join(f"{name} {wrong.count(name)}" for name in sorted(set(wrong))) or "-"
    return f"| {kind} | {len(judged)} | {_percent(len(right), len(judged))} | {said} |"


def _inside(found: Sequence[dict[str, bool]]) -> list[str]:
    names = dict.fromkeys(name for each in found for name in each)
    rows = []
    for name in names:
        seen = [each[name] for each in found if name in each]
        rows.append(f"| {name} | {len(seen)} | {_percent(sum(seen), len(seen))} |")
    return rows


def _row(figure: str, part: int, whole: int, goal: float) -> dict[str, Any]:
    return {
        "figure": figure,
        "ours": _percent(part, whole),
        "peer": "-",
        "ratio": None,
        "goal": f">= {goal:.0%}",
        "met": part >= goal * whole,
    }
