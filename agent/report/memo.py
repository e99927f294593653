"""The record as Markdown, for issues, merge requests and chats; the picture becomes lines of blocks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from agent.report import doses, tables
from agent.report.breaker.memo import breaker_lines
from agent.report.cards import cards, interval
from agent.report.figures import figures, last_moment
from agent.report.marks import ANSWERS, code, plain, table
from agent.report.rows import thinned
from agent.report.storm_memo import storm_lines
from agent.report.strips import probes, runs
from agent.report.words import NONE, after, brief, listing, milliseconds, percent, utc

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agent.model import RunRecord, TrafficBin
    from agent.report.figures import Figures

COLUMNS = 60
_BLOCKS = "▁▂▃▄▅▆▇█"
_SIGNS = {"HELD": "✅", "DEVIATED": "❌", "REFUSED": "⛔"}


def markdown(record: RunRecord) -> str:
    """Return *record* as GitHub-flavoured Markdown; foreign text is escaped and mentions nobody."""
    told = figures(record)
    parts = [
        *_head(record),
        *table(
            ("Figure", "", "Counts"), [(c.name, f"**{plain(c.value)}**", plain(c.says)) for c in cards(told)]
        ),
        *_picture(record),
        *breaker_lines(record.breaker, record.started_at),
        *storm_lines(record.storm),
        *_traffic(told),
        *_injections(record),
        *_probes(record),
        *_events(record),
        _foot(record),
    ]
    return "\n".join(parts) + "\n"


def _foot(record: RunRecord) -> str:
    where = f"Run {code(record.run)} on {code(record.host or 'host not recorded')}"
    version = plain(record.agent_version) or "(version not recorded)"
    when = f"{utc(record.started_at)} to {utc(record.ended_at)}"
    return f"{where}, gameday {version}, {when}. Exit code {record.exit_code}."


def _head(record: RunRecord) -> Iterator[str]:
    word = tables.verdict_word(record)
    if not record.recovered:
        left = listing([f"{i.fault} in {', '.join(i.victims)}" for i in record.injections if i.open])
        yield "> # 🚨 NOT RECOVERED"
        yield f"> Something may still be broken: {plain(left) or 'see the ledger'}. "
        yield f"> Heal again: {code('gameday heal --run ' + record.run)}\n"
    labels = [" · ABORTED"] * record.aborted + [" · LEASHED (nothing was touched)"] * record.leashed
    title = plain(brief(record.title, 200)) or "untitled"
    yield f"# {_SIGNS.get(word, '❔')} {word}{''.join(labels)}: {title}\n"
    yield f"**{plain(brief(record.reason, 2000)) or 'No reason was recorded.'}**\n"


def _picture(record: RunRecord) -> Iterator[str]:
    start, end = record.started_at, last_moment(record)
    if not (math.isfinite(end - start) and end > start):
        return
    lines = [*_fault_lines(record, start, end), *_traffic_lines(record), *_probe_lines(record, start, end)]
    if lines:
        yield "```text"
        width = max(len(name) for name, _, _ in lines)
        yield from (f"{name:<{width}}  {cells}  {says}".rstrip() for name, cells, says in lines)
        yield f"{'':<{width}}  {'0 s':<{COLUMNS // 2}}{after(end, start):>{COLUMNS // 2}}"
        yield "```\n"


def _cells(spans: Sequence[tuple[float, float, str]], start: float, end: float) -> str:
    """Draw *spans* in :data:`COLUMNS` cells; a later span wins, and each covers at least one cell."""
    drawn = ["·"] * COLUMNS
    for first, last, sign in spans:
        low = max(0, min(COLUMNS - 1, math.floor((first - start) / (end - start) * COLUMNS)))
        high = max(low + 1, min(COLUMNS, math.ceil((last - start) / (end - start) * COLUMNS)))
        drawn[low:high] = sign * (high - low)
    return "".join(drawn)


def _fault_lines(record: RunRecord, start: float, end: float) -> Iterator[tuple[str, str, str]]:
    for i in [i for i in record.injections if i.applied_at is not None][:5]:
        healed = i.healed_at if i.healed_at is not None else end
        cells = _cells([(i.applied_at or start, healed, "█")], start, end)
        yield (
            _name(i.fault.removeprefix("agent.faults.")),
            cells,
            "" if i.healed_at is not None else "still in",
        )


def _name(text: str) -> str:
    return brief(text, 24).replace("`", "'")


def _traffic_lines(record: RunRecord) -> Iterator[tuple[str, str, str]]:
    bins = thinned(record.traffic, COLUMNS)
    if not bins:
        return
    rates = [b.n / b.width_s if b.width_s > 0 else None for b in bins]
    yield "requests/s", _sparkline(bins, rates, record), f"most {_most(rates):,.0f}"
    good = [b.ok / b.n if b.n else None for b in bins]
    yield (
        "success",
        _sparkline(bins, good, record),
        f"least {percent(min((g for g in good if g is not None), default=None))}",
    )
    late = [b.p95_ms for b in bins]
    yield "p95", _sparkline(bins, late, record), f"most {milliseconds(_most(late))}"


def _most(values: Sequence[float | None]) -> float:
    return max((v for v in values if v is not None and math.isfinite(v)), default=0.0)


def _sparkline(bins: Sequence[TrafficBin], values: Sequence[float | None], record: RunRecord) -> str:
    most = _most(values)
    spans = []
    for b, value in zip(bins, values, strict=True):
        if value is not None and math.isfinite(value):
            step = min(7, max(0, round(value / most * 7))) if most > 0 else 0
            spans.append((b.at, b.at + b.width_s, _BLOCKS[step]))
    return _cells(spans, record.started_at, last_moment(record))


def _probe_lines(record: RunRecord, start: float, end: float) -> Iterator[tuple[str, str, str]]:
    signs = {"steady": "─", "unknown": "?", "unsteady": "✗"}
    for probe in probes(record.looks)[:8]:
        spans = sorted(runs(record.looks, probe), key=lambda r: list(signs).index(r.state))
        yield _name(probe), _cells([(r.start, r.end, signs[r.state]) for r in spans], start, end), ""


def _traffic(told: Figures) -> Iterator[str]:
    rows = [
        (
            s.name,
            f"{s.n:,}",
            f"{percent(s.success.ratio)} {interval(s.success)}" if s.success else NONE,
            f"{percent(s.degraded.ratio)} {interval(s.degraded)}" if s.degraded else NONE,
            milliseconds(s.p50_ms),
            milliseconds(s.p95_ms),
            milliseconds(s.p99_ms),
        )
        for s in told.stretches
    ]
    names = ("When", "Requests", "Success (95 % interval)", "Degraded (95 % interval)", "p50", "p95", "p99")
    yield from table(names, rows, "## What the traffic saw")


def _injections(record: RunRecord) -> Iterator[str]:
    rows = []
    for i in doses.injection_rows(record)[:50]:
        dose = "; ".join(
            [f"{d.name}: {d.asked} → {d.measured}" for d in i.compared]
            + [f"{side} {said}" for side, said in (("asked", i.asked), ("measured", i.measured)) if said]
        )
        steps = ", ".join(f"{s.name} {s.took if n else s.at}" for n, s in enumerate(i.steps))
        wrong = "".join(f" {plain(w)}" for w in (i.missed, i.error) if w)
        signs = [f"{ANSWERS[a.state]} {a.word}" for a in (i.landed, i.gone)]
        rows.append(
            (
                code(i.fault),
                plain(i.victims),
                plain(dose) + wrong,
                *signs,
                steps,
                plain("; ".join(i.dead_men)),
            )
        )
    names = ("Fault", "Victims", "Dose: asked → measured", "Landed", "Gone", "Steps", "Dead men")
    yield from table(names, rows, "## Injections")


def _probes(record: RunRecord) -> Iterator[str]:
    rows = [
        (
            code(p.name),
            plain(p.tolerance),
            *(f"{ANSWERS[a.state]} {a.word}" for a in (p.first, p.second, p.third)),
            f"{p.looks:,} ({p.unsteady} unsteady, {p.unknown} unknown)",
            f"{p.lowest} / {p.median} / {p.highest}",
        )
        for p in tables.probe_rows(record)[:50]
    ]
    names = (
        "Probe",
        "Tolerance",
        "First look",
        "Second look",
        "Last look",
        "Watch: looks",
        "Lowest / median / highest",
    )
    yield from table(names, rows, "## Steady state")


def _events(record: RunRecord) -> Iterator[str]:
    rows = [(e.at, plain(e.kind), plain(e.says)) for e in tables.event_rows(record)[:50]]
    yield from table(("Offset", "Event", "What it says"), rows, "## Events")
