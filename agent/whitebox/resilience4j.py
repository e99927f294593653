"""resilience4j: Spring's actuator (states and events), or Micrometer's gauges as Prometheus text."""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

from agent.breakers.boxes.whitebox import Sample, Traps
from agent.whitebox.address import state_of
from agent.whitebox.exposition import measured
from agent.whitebox.reader import Unreadable
from agent.whitebox.web import NotThere, Web

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agent.breakers.courses.states import State
    from agent.whitebox.address import Address
    from agent.whitebox.reader import Reader
    from agent.whitebox.web import Page

GRAIN_S = 0.001
LAZY = (
    "it stays open after its wait is over until the next call arrives (unless the automatic transition is on)"
)
GAUGE = "resilience4j_circuitbreaker_state"


def reader(address: Address) -> Reader:
    """Read ``URL/circuitbreakers`` and ``URL/circuitbreakerevents``, or a page of Prometheus text.

    The URL is the actuator's, or one that ends in ``prometheus`` or ``metrics``.  Option: ``name``, needed
    where there are several breakers.
    """
    name = address.text("name")
    if address.url.rstrip("/").endswith(("prometheus", "metrics")):
        return _Gauge(Web(address), name)
    return _Actuator(Web(address), name)


class _Actuator:
    """Events tell each change to the millisecond; the states tell that nothing was missed.

    Events are a ring: some may be overwritten before they are read.  Then the state that is seen differs
    from the last event twice in a row, and counts.
    """

    traps = Traps(
        lazy=True,
        notes=(
            LAZY,
            "its events are a ring that successes fill, too: what is overwritten is told by the state alone",
        ),
    )

    def __init__(self, web: Web, name: str) -> None:
        self._web, self._name = web, name
        self._seen: set[tuple[str, str]] | None = None
        self._last: State | None = None
        self._odd: State | None = None
        self._asked = time.monotonic()

    def read(self) -> Sequence[Sample]:
        """Return the new events, and the state."""
        state, details, page = self._state()
        events = list(self._events())
        if events:
            self._last = events[-1].state
        observed = Sample(asked=page.asked, read=page.read, state=state, details=details)
        in_step = self._last in (None, state) or self._odd is state
        self._odd = None if self._last in (None, state) else state
        if in_step and not events:
            self._last = state if self._last is not None else None
            return [observed]
        return events

    def _state(self) -> tuple[State | None, dict[str, Any], Page]:
        page = self._web.get("/circuitbreakers")
        found = page.json()
        breakers = found.get("circuitBreakers") if isinstance(found, dict) else None
        if not isinstance(breakers, dict):
            raise Unreadable("there are no circuitBreakers in it")
        name = _chosen(self._name, breakers)
        self._name = name
        one = breakers[name]
        details = {each: one.get(each) for each in ("state", "failureRate", "notPermittedCalls")}
        return state_of(str(one.get("state"))), details, page

    def _events(self) -> Iterator[Sample]:
        """Return the changes since the last look; those from before the first are not told."""
        since = self._asked
        try:
            page = self._web.get(f"/circuitbreakerevents/{self._name}/STATE_TRANSITION")
        except NotThere:  # the endpoint is not exposed
            return
        self._asked = page.asked
        known, self._seen = self._seen, set()
        for each in page.json().get("circuitBreakerEvents", []):
            mark = (str(each.get("creationTime")), str(each.get("stateTransition")))
            self._seen.add(mark)
            state = state_of(mark[1].rpartition("_TO_")[2])
            if known is not None and mark not in known and state is not None:
                after, before = _bracket(mark[0], since, page.read)
                yield Sample(asked=after, read=before, state=state, event=True, details={"event": mark[1]})

    def close(self) -> None:
        """Close the connection."""
        self._web.close()


def _bracket(created: str, since: float, until: float) -> tuple[float, float]:
    """Return when an event was, by its own clock if that agrees with having been read just now."""
    try:
        at = datetime.fromisoformat(created.partition("[")[0]).timestamp() - time.time() + time.monotonic()
    except ValueError:
        return since, until
    if at + GRAIN_S < since or at - GRAIN_S > until:  # another host's clock
        return since, until
    return max(since, at - GRAIN_S), min(until, at + GRAIN_S)


class _Gauge:
    """One gauge for each state, 1 for the one that it is in."""

    traps = Traps(
        lazy=True,
        notes=(LAZY, "a half-open of milliseconds falls between two looks"),
    )

    def __init__(self, web: Web, name: str) -> None:
        self._web, self._name = web, name

    def read(self) -> Sequence[Sample]:
        """Return the state whose gauge is up."""
        page = self._web.get()
        lines = list(measured(page.text, GAUGE))
        self._name = _chosen(self._name, {line.labels.get("name", "") for line in lines})
        up = [
            line.labels.get("state", "")
            for line in lines
            if line.labels.get("name") == self._name and line.value == 1
        ]
        if len(up) != 1:
            raise Unreadable(f"{len(up)} states of {self._name!r} are up at once")
        return [Sample(asked=page.asked, read=page.read, state=state_of(up[0]), details={"state": up[0]})]

    def close(self) -> None:
        """Close the connection."""
        self._web.close()


def _chosen(name: str, there: dict[str, Any] | set[str]) -> str:
    if not name and len(there) == 1:
        return next(iter(there))
    if name not in there:
        raise Unreadable(f"no breaker {name!r}; there are {', '.join(sorted(there)) or 'none'}: use #name=")
    return name
