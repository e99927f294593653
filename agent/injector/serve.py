"""Puts a fault in, keeps it while beats come, takes it out when they do not, or when the stream ends."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agent.faults.kernel.scope import parse
from agent.injector import orders
from agent.injector.breaking import Leading
from agent.injector.choosing import breaking_of
from agent.injector.hosts import Peers
from agent.model import GamedayError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.injector.breaking import Breaking
    from agent.injector.orders import Order

ORDER_WITHIN_S = 20.0
"""Whoever started this attaches at once; without an order there is nothing to do here."""
LINE_MAX_BYTES = 256 * 1024
DOES = frozenset({"heal", "renew", "peers", "put", "take", "toxics", "arrivals"})
HEALED, REFUSED, NOT_HEALED = 0, 2, 5


class Ended(Exception):
    """There will be no further line; the message says why."""


@dataclass(slots=True)
class Lines:
    """Lines from a descriptor, each waited for until a deadline."""

    descriptor: int
    _rest: bytes = field(default=b"")

    def next(self, deadline: float, *, otherwise: str) -> bytes:
        """Return the next line; *deadline* is of the monotonic clock.

        Raises:
            Ended: The stream ended, or, with the reason *otherwise*, nothing came in time.
        """
        while b"\n" not in self._rest:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.descriptor], [], [], left)[0]:
                raise Ended(otherwise)
            if not (chunk := os.read(self.descriptor, 65536)) or len(self._rest) > LINE_MAX_BYTES:
                raise Ended("the stream ended")
            self._rest += chunk
        line, _, self._rest = self._rest.partition(b"\n")
        return line


def main() -> int:
    """Carry out one order; return 0 when nothing of it is left."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _end)
    lines = Lines(sys.stdin.fileno())
    try:
        order = orders.read(lines.next(time.monotonic() + ORDER_WITHIN_S, otherwise="no order came"))
        peers = Peers(order)
        breaking = breaking_of(peers.placed(order))
        breaking.check()
    except (GamedayError, Ended) as error:
        _tell({"is": "refused", "says": str(error)})
        return REFUSED
    return _hold(order, breaking, peers, lines)


def _hold(order: Order, breaking: Breaking, peers: Peers, lines: Lines) -> int:
    why = "it was put in only in part"
    try:
        fact = breaking.put()
        _tell({"is": "in" if fact.holds else "refused", "says": fact.says, "measured": dict(fact.measured)})
        if fact.holds:
            _beat(order, breaking, peers, lines)
    except Ended as error:
        why = str(error)
    except GamedayError as error:
        _tell({"is": "refused", "says": str(error)})
    finally:
        code = _heal(breaking, why)
    return code


def _beat(order: Order, breaking: Breaking, peers: Peers, lines: Lines) -> None:
    """Renew with each beat.

    Raises:
        Ended: Always, with the reason.
    """
    began = time.monotonic()
    hard_end, beat_by = began + order.max_duration_s, began + order.lease_s
    while True:
        deadline = min(beat_by, hard_end)
        line = lines.next(deadline, otherwise="its time was over" if deadline == hard_end else "no beat came")
        heard = time.monotonic()
        said = _parsed(line)
        if said["do"] == orders.HEAL["do"]:
            raise Ended("it was told to")
        if said["do"] == orders.RENEW["do"]:
            fact = breaking.renew()
            if not fact.holds:
                raise Ended(fact.says)
            beat_by = time.monotonic() + order.lease_s
            if (networks := peers.changed()) is not None:
                breaking.change(networks)
            _tell({"is": "renewed", **breaking.news()})
        elif said["do"] == "peers":
            breaking.change(peers.named(parse(said["networks"])))
            beat_by = time.monotonic() + order.lease_s
            _tell({"is": "changed"})
        else:
            answer = _lead(breaking, said)
            _tell({**answer, "heard": heard, "told": time.monotonic()})


def _lead(breaking: Breaking, said: Mapping[str, Any]) -> Mapping[str, Any]:
    """Do what a line about toxics or arrivals says; it is no beat."""
    if not isinstance(breaking, Leading):
        raise Ended(f"nothing is led through a proxy here: {said['do']}")
    if said["do"] == "put":
        try:
            return {"is": "put", **breaking.put_toxic(said["name"], said["toxic"])}
        except UsageError as error:
            return {"is": "put", "holds": False, "says": str(error)}
    if said["do"] == "take":
        return {"is": "taken", **breaking.take_toxic(said["name"])}
    if said["do"] == "arrivals":
        return {"is": "arrivals", **breaking.arrivals(said["since"])}
    return {"is": "toxics", **breaking.toxics()}


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        said: dict[str, Any] = json.loads(line)
    except ValueError:
        raise Ended(f"not understood: {line[:80]!r}") from None
    if not isinstance(said, dict) or said.get("do") not in DOES:
        raise Ended(f"not understood: {line[:80]!r}")
    return said


def _heal(breaking: Breaking, why: str) -> int:
    """Take it out; what cannot be taken out ends with this process, or with its lease in the kernel."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    try:
        fact = breaking.remove()
    except GamedayError as error:
        _tell({"is": "not healed", "says": str(error), "why": why})
        return NOT_HEALED
    measured = {} if fact is None else dict(fact.measured)
    _tell({"is": "healed", "why": why, "says": "" if fact is None else fact.says, "measured": measured})
    return HEALED


def _tell(message: Mapping[str, Any]) -> None:
    with contextlib.suppress(OSError):  # whoever listened may be gone, and that is no reason not to heal
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()


def _end(*_: object) -> None:
    raise Ended("a signal said so")
