"""What the driver is asked to do, as data that crosses a process boundary."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from agent.model import UsageError
from agent.traffic.tls import PORTS, untrusted

if TYPE_CHECKING:
    from collections.abc import Sequence

RATE_MAX_RPS = 50_000.0
KEYS_DRAWN = 4096
"""So many keys are drawn by chance before they come again."""
SAMPLES_MAX = 20_000_000
"""About half a gigabyte of samples; a plan that could exceed it is refused before it starts."""


def check_url(url: str) -> None:
    """Refuse what cannot be called.

    Raises:
        UsageError: It is something else than HTTP, or names no host.
    """
    parts = urlsplit(url)
    if parts.scheme not in PORTS or not parts.hostname:
        raise UsageError(f"traffic calls http://HOST… or https://HOST…, not {url!r}")


def check_target(url: str) -> None:
    """Refuse what cannot be called, after a look at its certificate if it has one.

    Raises:
        UsageError: It is something else than HTTP, or nobody here trusts its certificate.
    """
    check_url(url)
    if why := untrusted(url):
        raise UsageError(why)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Open-loop load on one URL.

    ``url`` may hold ``{key}``, which takes the values of *keys*.  ``arrivals`` is ``clock`` (exact
    spacing, keys in turn) or ``poisson`` (seeded, keys by chance).  ``rate_max_rps`` is the most that a
    surge may ask for while the plan is driven; None allows none.  Times are seconds.
    """

    url: str
    rate_rps: float
    arrivals: str = "clock"
    keys: tuple[str, ...] = ()
    timeout_s: float = 5.0
    connections_max: int = 256
    in_flight_max: int = 2000
    max_duration_s: float = 3600.0
    degraded_header: str = "x-degraded"
    headers: tuple[tuple[str, str], ...] = ()
    seed: int = 0
    rate_max_rps: float | None = None

    def __post_init__(self) -> None:
        check_url(self.url)
        if not 0 < self.rate_rps <= RATE_MAX_RPS:
            raise UsageError(f"rate_rps must be above 0 and at most {RATE_MAX_RPS:g}, not {self.rate_rps:g}")
        if not self.rate_rps <= self.ceiling_rps <= RATE_MAX_RPS:
            raise UsageError(
                f"rate_max_rps must be at least rate_rps and at most {RATE_MAX_RPS:g}, "
                f"not {self.ceiling_rps:g}"
            )
        if self.ceiling_rps * self.max_duration_s > SAMPLES_MAX:
            raise UsageError(f"{self.ceiling_rps:g} rps for {self.max_duration_s:g} s is too much to record")
        if self.arrivals not in ("clock", "poisson"):
            raise UsageError(f"arrivals is clock or poisson, not {self.arrivals!r}")
        if ("{key}" in self.url) != bool(self.keys):
            raise UsageError("give keys and {key} in the url together, or neither")

    @property
    def ceiling_rps(self) -> float:
        """The most requests a second that may ever be offered."""
        return self.rate_rps if self.rate_max_rps is None else self.rate_max_rps

    def order(self) -> Sequence[str]:
        """Return the keys in the order in which they are called, over and over."""
        if self.arrivals == "clock" or len(self.keys) < 2:
            return self.keys or ("",)
        return random.Random(self.seed).choices(self.keys, k=KEYS_DRAWN)
