"""Has a link in pods while a breaker behind it is exercised, and begins when the service is calm on it."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from agent.breakers.reading.recording import calls_of
from agent.breakers.streams import Outcome
from agent.faults import heal
from agent.faults.inside.link import PodLink, lead
from agent.model import NoEvidence
from agent.safety.context import current_run
from agent.traffic.samples import FILE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.faults.inside.link import Ends

CALM_S, SETTLED_S = 2.0, 0.5
"""So long all is well, up to so short a time ago: what is under way is in no sample yet."""
CALM_SHARE = 0.95
LOOK_EVERY_S = 0.25


@contextmanager
def led(ends: Ends, *, name: str, max_duration_s: float, calm_within_s: float) -> Iterator[PodLink]:
    """Have the link in the pods meanwhile, from when the service has got over its open connections' end.

    Raises:
        NoEvidence: It has not after *calm_within_s*.
        NoTargets, Refused, Unsupported, NoInjector: As :func:`agent.faults.inside.link.lead`.
    """
    link = lead(ends, name=name, max_duration_s=max_duration_s)
    assert isinstance(link, PodLink), "on the leash nothing is exercised"
    try:
        _until_calm(calm_within_s)
        yield link
    finally:
        heal()


def _until_calm(within_s: float) -> None:
    samples, since = current_run().folder / FILE, time.monotonic()
    seen = 0
    while time.monotonic() - since < within_s:
        calls, _ = calls_of(samples.read_bytes() if samples.exists() else b"")
        now = time.monotonic()
        late = calls.where((calls.ended > now - SETTLED_S - CALM_S) & (calls.ended < now - SETTLED_S))
        seen = len(late)
        well = float((late.outcome == Outcome.OK).mean()) if seen else 0.0
        if now - since > SETTLED_S + CALM_S and well >= CALM_SHARE:
            return
        time.sleep(LOOK_EVERY_S)
    if not seen:
        raise NoEvidence(
            f"in the last {CALM_S:g} s no call of the traffic has come out: nothing was broken yet"
        )
    raise NoEvidence(
        f"{within_s:.0f} s after its open connections were ended, so that they come again over the link, the "
        "service has not recovered: nothing was broken yet"
    )
