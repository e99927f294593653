"""Puts a cut in, keeps it while beats come, takes it out when they do not, or when the stream ends."""

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

from agent.clients import netns, nft
from agent.faults import packet_cuts
from agent.injector.orders import Cut
from agent.model import GamedayError

if TYPE_CHECKING:
    from collections.abc import Mapping

ORDER_WITHIN_S = 20.0
"""Whoever started this attaches at once; without an order there is nothing to do here."""
LINE_MAX_BYTES = 256 * 1024
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
        order = Cut.read(lines.next(time.monotonic() + ORDER_WITHIN_S, otherwise="no order came"))
        script = packet_cuts.script(
            order.table,
            order.scope,
            loss_fraction=order.loss_fraction,
            lease_s=order.lease_s,
            max_duration_s=order.max_duration_s,
        )
        nft.check(netns.own(), script)
    except (GamedayError, Ended) as error:
        _tell({"is": "refused", "says": str(error)})
        return REFUSED
    return _hold(order, script, lines)


def _hold(order: Cut, script: str, lines: Lines) -> int:
    space = netns.own()
    held: dict[str, Any] = {"table": order.table, "path": space.path, "inode": space.inode}
    why = "it was put in only in part"
    try:
        nft.run(space, script)
        own: dict[str, Any] = packet_cuts.own_packet(order.scope)
        fact = packet_cuts.landed(**held, **own)
        _tell({"is": "in" if fact.holds else "refused", "says": fact.says, "measured": dict(fact.measured)})
        if fact.holds:
            _beat(order, held, lines)
    except Ended as error:
        why = str(error)
    except GamedayError as error:
        _tell({"is": "refused", "says": str(error)})
    finally:
        code = _heal(held, why)
    return code


def _beat(order: Cut, held: Mapping[str, Any], lines: Lines) -> None:
    """Renew with each beat.

    Raises:
        Ended: Always, with the reason.
    """
    hard_end = time.monotonic() + order.max_duration_s
    while True:
        deadline = min(time.monotonic() + order.lease_s, hard_end)
        line = lines.next(deadline, otherwise="its time was over" if deadline == hard_end else "no beat came")
        if b"heal" in line:
            raise Ended("it was told to")
        fact = packet_cuts.renew(**held, lease_s=order.lease_s)
        if not fact.holds:
            raise Ended(fact.says)
        _tell({"is": "renewed"})


def _heal(held: Mapping[str, Any], why: str) -> int:
    """Take it out; the kernel disarms what cannot be taken out when the lease is over."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    try:
        fact = packet_cuts.remove(**held)
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
