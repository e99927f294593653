"""What the driver offered when: the side file of the samples, one JSON object a line, appended by the driver.

A line holds from its ``at`` (CLOCK_MONOTONIC, s) until the next one's.  The first is the plan itself.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

FILE = "traffic.offers"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """A share of the requests that differ: another path, further headers; recorded under *key*."""

    share: float
    path: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    key: str = "mix"


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What is offered from *at* (CLOCK_MONOTONIC, s) on; ``why`` is one of :data:`WHYS`."""

    at: float
    rate_rps: float
    timeout_s: float
    mix: Mix | None = None
    why: str = "plan"


WHYS = ("plan", "change", "change over", "surge", "surge over", "lease lapsed")
"""Why an offer began: as planned; asked for; its time was over; a raised load; and how that ended."""


def line(offer: Offer) -> bytes:
    """Return *offer* as a line of the side file."""
    return json.dumps(asdict(offer)).encode() + b"\n"


def read(folder: Path) -> tuple[Offer, ...]:
    """Return what the driver of the run in *folder* offered, in order; none if there is no such file."""
    try:
        raw = (folder / FILE).read_bytes()
    except FileNotFoundError:
        return ()
    whole = raw[: raw.rfind(b"\n") + 1]
    return tuple(map(parse, map(json.loads, whole.splitlines())))


def parse(fields: Mapping[str, object]) -> Offer:
    """Return the offer that a line, or an answer of the driver, describes."""
    mix = fields.get("mix")
    return Offer(**{**fields, "mix": Mix(**mix) if isinstance(mix, dict) else None})  # type: ignore[arg-type]  # our own line


def offered(offers: Sequence[Offer], *, since: float, until: float) -> float:
    """Return how many requests *offers* meant to send between two monotonic moments."""
    ends = [*offers[1:], None]
    return sum(
        offer.rate_rps * max(0.0, min(until, end.at if end else until) - max(since, offer.at))
        for offer, end in zip(offers, ends, strict=True)
    )
