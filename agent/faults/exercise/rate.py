"""The rate at which an exercise has the service called: as planned, or higher for a while.

More calls than planned are a fault, :func:`agent.faults.traffic.surge`: it goes through the one door, and
back by itself when anything dies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.faults.traffic import surge
from agent.model import DidNotLand, UsageError
from agent.safety.door import heal_only
from agent.traffic import commands
from agent.traffic.commands import TrafficUnreachable

if TYPE_CHECKING:
    from pathlib import Path


class Rate:
    """The rate of a run's traffic; ``held`` are the injections by which it is raised."""

    def __init__(self, folder: Path, *, max_duration_s: float) -> None:
        self._max_duration_s = max_duration_s
        self.held: tuple[str, ...] = ()
        try:
            now = commands.status(folder)
        except TrafficUnreachable:  # whoever looks for its calls says so
            now = {"plan_rate_rps": 0.0, "rate_max_rps": 0.0}
        self.plan_rps, self.most_rps = float(now["plan_rate_rps"]), float(now["rate_max_rps"])
        self.rps = self.plan_rps

    def become(self, rate_rps: float) -> str:
        """Call at *rate_rps*, the plan's or more; "" if that is so now, else why the plan's is back."""
        if rate_rps <= self.plan_rps:
            self.back()
            return ""
        before = self.held
        try:
            told = surge(rate_rps=rate_rps, max_duration_s=self._max_duration_s, alone=True)
        except (UsageError, TrafficUnreachable, DidNotLand) as error:
            self.back()
            return str(error)
        self.held, self.rps = (*before, str(told["injection"])), rate_rps
        if before:  # the driver has followed the new one since; the old one is over, and is recorded so
            heal_only(before)
            self.held = self.held[-1:]
        return ""

    def back(self) -> None:
        """Call as planned; harmless where that is so already.

        Raises:
            NotRecovered: It may still be higher.
        """
        held, self.held, self.rps = self.held, (), self.plan_rps
        if held:
            heal_only(held)
