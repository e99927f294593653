"""opossum-prometheus: counters of events and no gauge of the state, which is inferred from them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from agent.breakers.boxes.whitebox import Sample, Traps
from agent.breakers.courses.states import State
from agent.whitebox.exposition import measured
from agent.whitebox.reader import Unreadable
from agent.whitebox.web import Web

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agent.whitebox.address import Address
    from agent.whitebox.reader import Reader
    from agent.whitebox.web import Page

METRIC = "circuit"
EVENTS = {"open": State.OPEN, "halfOpen": State.HALF_OPEN, "close": State.CLOSED}
NEXT = {
    State.CLOSED: ("open",),
    State.OPEN: ("halfOpen", "close"),
    State.HALF_OPEN: ("open", "close"),
}
"""The events that can come in a state; from open to closed by hand only."""
NEXT_UNHEARD = {State.CLOSED: ("open",), State.OPEN: ("open", "close")}
"""The same where halfOpen is not counted: a trial that fails opens it again."""
STEPS_MAX = 8
"""Between two looks; of more, the order cannot be told."""


def reader(address: Address) -> Reader:
    """Read a page of Prometheus text.

    Options: ``name`` of the circuit; ``prefix`` of the metrics, where one is configured; ``half_open=yes``
    where the service listens to ``halfOpen``: events that nobody listens to are not counted.
    """
    name, metric = address.required("name", "circuit"), address.text("prefix") + METRIC
    return _Opossum(Web(address), name, metric, half_open=address.text("half_open") == "yes")


class _Opossum:
    """Counts of open, halfOpen and close."""

    _NOTES = (
        "halfOpen is counted only if the service had a listener for it when the metrics were made",
        "there are counters only: the state is inferred, and unknown where they leave a choice",
        "states that came and went between two looks are known, when each began is not",
        "the counters of a restarted process begin at zero: nothing is told until the next event",
    )

    def __init__(self, web: Web, name: str, metric: str, *, half_open: bool) -> None:
        self.traps = Traps(half_open=half_open, notes=self._NOTES)
        self._web, self._name, self._metric = web, name, metric
        self._counts: Counter[str] | None = None
        self._state: State | None = None
        self._asked = 0.0

    def read(self) -> Sequence[Sample]:
        """Return the states that the counters have gone through since the last look."""
        page = self._web.get()
        counts = self._counted(page)
        allowed = NEXT if counts["halfOpen"] else NEXT_UNHEARD
        before, self._counts = self._counts, counts
        since, self._asked = self._asked, page.asked
        if before is None or any(counts[event] < before[event] for event in EVENTS):
            self._state = first_state(counts)
            return [self._sample(page, counts)]
        new = {event: counts[event] - before[event] for event in EVENTS}
        if not any(new.values()):
            return [self._sample(page, counts)]
        path = order(self._state, new, allowed)
        self._state = path[-1] if path else None
        details = {"events": dict(counts)}
        return [
            Sample(asked=since, read=page.read, state=state, event=True, details=details) for state in path
        ] or [self._sample(page, counts)]

    def _counted(self, page: Page) -> Counter[str]:
        lines = list(measured(page.text, self._metric, {"name": self._name}))
        if not lines and not list(measured(page.text, self._metric)):
            raise Unreadable(f"no circuit has called anything yet, or there is no metric {self._metric!r}")
        return Counter({line.labels.get("event", ""): int(line.value) for line in lines})

    def _sample(self, page: Page, counts: Mapping[str, int]) -> Sample:
        why = "" if self._state else "the counters leave open which event was the last"
        details = {"events": {event: counts[event] for event in EVENTS}}
        return Sample(asked=page.asked, read=page.read, state=self._state, why=why, details=details)

    def close(self) -> None:
        """Close the connection."""
        self._web.close()


def first_state(counts: Mapping[str, int]) -> State | None:
    """Return the state of a circuit that began closed, or None where *counts* allow two.

    Each opening is followed by one half-open: one opening more, and it is open now.  As many of both, and
    it is half-open or closed, which only the next event tells.
    """
    opened, tried, closed = (counts.get(event, 0) for event in EVENTS)
    if opened == 0:
        return State.CLOSED
    if tried == 0:
        return None if closed else State.OPEN
    if opened > tried:
        return State.OPEN
    return State.CLOSED if closed == tried else None


def order(
    state: State | None, new: Mapping[str, int], allowed: Mapping[State, tuple[str, ...]] = NEXT
) -> tuple[State, ...]:
    """Return the one order in which *new* events can have come in *state*; empty if there are several."""
    if sum(new.values()) > STEPS_MAX:
        return ()
    starts = [state] if state is not None and state in allowed else list(allowed)
    paths = {path for start in starts for path in _paths(start, dict(new), allowed)}
    return paths.pop() if len(paths) == 1 else ()


def _paths(
    state: State, left: dict[str, int], allowed: Mapping[State, tuple[str, ...]]
) -> set[tuple[State, ...]]:
    if not any(left.values()):
        return {()}
    found = set()
    for event in allowed[state]:
        if left.get(event, 0) > 0:
            then = EVENTS[event]
            rest = _paths(then, left | {event: left[event] - 1}, allowed)
            found |= {(then, *each) for each in rest}
    return found
