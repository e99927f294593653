"""The driver's own end of the live commands: what is asked, what is refused, and what ends by itself.

One rate is in force at a time: the plan's, a lower one, or that of a surge.  A surge has a lease; when it
is not renewed, or the surge's time is over, the plan's rate is back, whoever is still there to ask for it.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from dataclasses import asdict, dataclass, replace
from typing import IO, TYPE_CHECKING, Any

from agent.model import UsageError
from agent.traffic.driver import AHEAD_S
from agent.traffic.offers import Mix, Offer, line

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.traffic.driver import Driver
    from agent.traffic.plan import Plan

LINE_MAX_BYTES = 1 << 16
LEASE_MAX_S = 60.0


@dataclass(slots=True, kw_only=True)
class Surge:
    """A raised load: since when, and the moments at which it ends unless renewed, and in any case."""

    name: str
    rate_rps: float
    at: float
    leased_until: float
    ends_at: float


class Control:
    """Answers commands to *driver*, and writes down in *file* what it offers from when on."""

    def __init__(self, plan: Plan, driver: Driver, file: IO[bytes]) -> None:
        self._plan, self._driver, self._file = plan, driver, file
        self._offer = driver.planned
        self._surge: Surge | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._over: asyncio.TimerHandle | None = None
        self._write()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the commands of one connection, one JSON object a line."""
        try:
            while asked := await reader.readline():
                writer.write(json.dumps(self._answer(asked)).encode() + b"\n")
                await writer.drain()
        except (ValueError, ConnectionError):  # a line without end, or somebody who left
            pass
        finally:
            writer.close()

    def _answer(self, asked: bytes) -> dict[str, Any]:
        commands: dict[str, Callable[..., dict[str, Any]]] = {
            "status": self._status,
            "change": self._change,
            "surge": self._begin,
            "renew": self._renew,
            "end": self._end,
        }
        try:
            fields = json.loads(asked)
            return commands[fields.pop("do")](**fields)
        except (UsageError, ValueError, TypeError, KeyError, AttributeError) as error:
            return {"error": str(error) if isinstance(error, UsageError) else f"not understood: {error!r}"}

    # the commands

    def _status(self) -> dict[str, Any]:
        return {
            "now": time.monotonic(),
            "sent": self._driver.sent,
            "offer": asdict(self._offer),
            "plan_rate_rps": self._plan.rate_rps,
            "rate_max_rps": self._plan.ceiling_rps,
            "url": self._plan.url,
            "surge": None if self._surge is None else self._dose(self._surge),
        }

    def _change(
        self,
        rate_rps: float | None = None,
        timeout_s: float | None = None,
        mix: dict[str, Any] | None = None,
        for_s: float | None = None,
    ) -> dict[str, Any]:
        rate_rps = self._plan.rate_rps if rate_rps is None else rate_rps
        timeout_s = self._plan.timeout_s if timeout_s is None else timeout_s
        if not 0 <= rate_rps <= self._plan.rate_rps:
            raise UsageError(
                f"a change is to a rate from 0 to the plan's, {self._plan.rate_rps:g} rps, not {rate_rps:g}; "
                "more than that is a surge, which is a fault"
            )
        if not 0 < timeout_s <= self._plan.timeout_s:
            raise UsageError(f"timeout_s is above 0 and at most {self._plan.timeout_s:g}, not {timeout_s:g}")
        if for_s is not None and not 0 < for_s < math.inf:
            raise UsageError(f"for_s is above 0, not {for_s:g}")
        offer = replace(self._offer, rate_rps=rate_rps, timeout_s=timeout_s, mix=_mix(mix), why="change")
        self._clear()  # after everything that may refuse: a surge must not lose its lease and stay
        self._adopt(offer)
        if for_s is not None:
            self._over = asyncio.get_running_loop().call_later(for_s, self._back, "change over")
        return self._status()

    def _begin(self, name: str, rate_rps: float, lease_s: float, max_duration_s: float) -> dict[str, Any]:
        if not self._plan.rate_rps < rate_rps <= self._plan.ceiling_rps:
            raise UsageError(
                f"a surge is to a rate above the plan's, {self._plan.rate_rps:g} rps, and at most "
                f"rate_max_rps, {self._plan.ceiling_rps:g}, not {rate_rps:g}"
            )
        if not (0 < lease_s <= LEASE_MAX_S and 0 < max_duration_s < math.inf):
            raise UsageError(f"lease_s is above 0 and at most {LEASE_MAX_S:g}, max_duration_s above 0")
        self._clear()
        self._adopt(replace(self._offer, rate_rps=rate_rps, why="surge"))
        at = self._offer.at
        self._surge = Surge(
            name=name,
            rate_rps=rate_rps,
            at=at,
            leased_until=at + lease_s,
            ends_at=at + max_duration_s,
        )
        self._arm(self._surge)
        return self._status()

    def _renew(self, name: str, lease_s: float) -> dict[str, Any]:
        if self._surge is not None and self._surge.name == name:
            self._surge.leased_until = time.monotonic() + min(lease_s, LEASE_MAX_S)
            self._arm(self._surge)
        return self._status()

    def _end(self, name: str) -> dict[str, Any]:
        """End the surge *name*, and tell its dose; nothing if it is not there."""
        dose = None
        if self._surge is not None and self._surge.name == name:
            dose = self._dose(self._surge)
            self._back("surge over")
        return {**self._status(), "dose": dose}

    # what ends by itself

    def _arm(self, surge: Surge) -> None:
        """Have the surge end when its lease or its time is over, whichever comes first."""
        if self._timer is not None:
            self._timer.cancel()
        left = min(surge.leased_until, surge.ends_at) - time.monotonic()
        why = "lease lapsed" if surge.leased_until < surge.ends_at else "surge over"
        self._timer = asyncio.get_running_loop().call_later(max(0.0, left), self._back, why)

    def _back(self, why: str) -> None:
        """Go back to the plan."""
        self._clear()
        self._adopt(replace(self._driver.planned, why=why))

    def _clear(self) -> None:
        self._surge = None
        for timer in (self._timer, self._over):
            if timer is not None:
                timer.cancel()
        self._timer = self._over = None

    def _dose(self, surge: Surge) -> dict[str, Any]:
        lasted_s = max(0.0, time.monotonic() - surge.at)
        sent = self._driver.sent_since(surge.at)
        return {"name": surge.name, "rate_rps": surge.rate_rps, "lasted_s": lasted_s, "sent": sent}

    def _adopt(self, offer: Offer) -> None:
        """Write *offer* down, then send by it; a little later, so that it holds to the request."""
        at = max(time.monotonic() + AHEAD_S, self._offer.at)
        self._offer = replace(offer, at=at)
        self._write()
        self._driver.adopt(self._offer)

    def _write(self) -> None:
        self._file.write(line(self._offer))
        self._file.flush()


def _mix(fields: dict[str, Any] | None) -> Mix | None:
    """Return the mix that *fields* describe, after a look at what would break a request's head."""
    if fields is None:
        return None
    mix = Mix(**fields)
    if not 0 <= mix.share <= 1:
        raise UsageError(f"share is from 0 to 1, not {mix.share:g}")
    texts = [mix.path, *mix.headers, *mix.headers.values()]
    if any(not text.isprintable() for text in texts) or (mix.path and not _is_target(mix.path)):
        raise UsageError("a path begins with / and has no blanks; headers are printable")
    return mix


def _is_target(path: str) -> bool:
    return path.startswith("/") and " " not in path
