"""The key figures in words, each with what it counts from and to, and with its n."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.report.words import NONE, milliseconds, percent, seconds

if TYPE_CHECKING:
    from agent.report.figures import Figures, Share, Stretch


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A key figure: what it is, the figure, and what it counts; *tone* is good, bad or plain."""

    name: str
    value: str
    says: str
    tone: str = "plain"


def cards(told: Figures) -> list[Card]:
    """Return the cards that this run can fill, and those whose emptiness says something."""
    if told.fault is None:
        return [_looks(told), *_whole(told)]
    return [_detect(told), _unsteady(told), _recover(told), *_success(told), *_latency(told), _looks(told)]


def interval(share: Share | None) -> str:
    """Return ``[98.1 %, 99.6 %]``, the exact 95 % confidence interval."""
    return NONE if share is None else f"[{percent(share.low)}, {percent(share.high)}]"


def _detect(told: Figures) -> Card:
    if told.detect_s is not None:
        return Card(
            name="Time to detect",
            value=seconds(told.detect_s),
            says="fault applied \N{RIGHTWARDS ARROW} first unsteady look",
        )
    says = "no look found it unsteady" if told.looks else "nobody looked"
    return Card(name="Time to detect", value=NONE, says=says)


def _unsteady(told: Figures) -> Card:
    most = told.unsteady_s_max
    says = f"of {seconds(told.fault_s)} with the fault in"
    if most is not None:
        says += f"; allowed {seconds(most)}"
    if told.unknown_s:
        says += f"; unknown {seconds(told.unknown_s)}"
    tone = "plain"
    if told.unsteady_s is not None and most is not None:
        tone = "bad" if told.unsteady_s > most else "good"
    value = "0 s" if told.unsteady_s == 0 else seconds(told.unsteady_s)
    return Card(name="Unsteady during the fault", value=value, says=says, tone=tone)


def _recover(told: Figures) -> Card:
    name = "Time to recover"
    if told.fault and not told.fault.closed:
        return Card(name=name, value="not healed", says="the fault may still be in", tone="bad")
    within = f"; allowed {seconds(told.recover_within_s)}" if told.recover_within_s is not None else ""
    if told.recover_s is None:
        return Card(
            name=name, value="not seen", says=f"no lasting steady look after the heal{within}", tone="bad"
        )
    if told.recover_looks == 1:
        return Card(
            name=name,
            value="at once",
            says="steady at the first look after the heal, and from then on",
            tone="good",
        )
    late = told.recover_within_s is not None and told.recover_s > told.recover_within_s
    says = f"healed \N{RIGHTWARDS ARROW} steady for good{within}"
    return Card(name=name, value=seconds(told.recover_s), says=says, tone="bad" if late else "good")


def _during(told: Figures) -> Stretch | None:
    return next((s for s in told.stretches if s.name == "during the fault" and s.n), None)


def _success(told: Figures) -> list[Card]:
    during = _during(told)
    if during is None or during.success is None:
        return []
    says = f"95 % interval {interval(during.success)}, n = {during.n:,}"
    return [Card(name="Success during the fault", value=percent(during.success.ratio), says=says)]


def _latency(told: Figures) -> list[Card]:
    during = _during(told)
    before = next((s for s in told.stretches if s.name == "before" and s.n), None)
    if during is None or during.p95_ms is None:
        return []
    says = f"before {milliseconds(before.p95_ms)}" if before else "no traffic before"
    return [
        Card(
            name="p95 during the fault",
            value=milliseconds(during.p95_ms),
            says=f"{says}; median over the bins",
        )
    ]


def _whole(told: Figures) -> list[Card]:
    found = [s for s in told.stretches if s.success is not None]
    return [
        Card(
            name="Success, whole run",
            value=percent(s.success.ratio),
            says=f"95 % interval {interval(s.success)}, n = {s.n:,}",
        )
        for s in found
        if s.success is not None
    ]


def _looks(told: Figures) -> Card:
    says = "looks at the steady state by the watch"
    if told.looks_unknown:
        says += f", {told.looks_unknown:,} without an answer"
    return Card(name="Samples", value=f"{told.looks:,} looks", says=f"{says}; {told.requests:,} requests")
