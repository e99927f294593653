"""A service whose guard is no breaker with three states: what stands before a dependency elsewhere.

``python limits.py --listen HOST:PORT --dependency HOST:PORT --log FILE --design NAME``.  It keeps no log of
states, for it has none.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable  # noqa: TC003  # a type alias is made of it
from pathlib import Path

import httpx
import uvicorn
from child import end_with_starter, parser
from layers import Failed, Layers, Rejected, Reply, Work
from service import LIMITS, application


class SlidingExpiry:
    """So many failures that are no older than the window keep everybody out; each is forgotten by itself.

    Source: the ``max_fails`` and ``fail_duration`` of Caddy's reverse proxy.
    """

    def __init__(self, limit: int, window_s: float) -> None:
        self._limit, self._window_s = limit, window_s
        self._failures: deque[float] = deque()

    async def call(self, work: Work) -> Reply:
        """Do *work* unless too many failed lately."""
        while self._failures and time.monotonic() - self._failures[0] > self._window_s:
            self._failures.popleft()
        if len(self._failures) >= self._limit:
            raise Rejected
        try:
            return await work()
        except Failed:
            self._failures.append(time.monotonic())
            raise

    def mark_up(self) -> None:
        """Know no active checks."""


class TokenBucket:
    """Each call takes a token; tokens come back at a steady rate, and failures are all the same to it."""

    def __init__(self, burst: int, window_s: float, share: float = 1.2, rate_rps: float = 60.0) -> None:
        del window_s
        self._burst, self._rate_rps = float(burst), share * rate_rps
        self._tokens, self._at = self._burst, time.monotonic()

    async def call(self, work: Work) -> Reply:
        """Do *work* if there is a token."""
        now = time.monotonic()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate_rps)
        self._at = now
        if self._tokens < 1:
            raise Rejected
        self._tokens -= 1
        return await work()

    def mark_up(self) -> None:
        """Know no active checks."""


class Semaphore:
    """So many calls at a time, and no more."""

    def __init__(self, limit: int, window_s: float) -> None:
        del window_s
        self._limit, self._inside = limit, 0

    async def call(self, work: Work) -> Reply:
        """Do *work* if there is room."""
        if self._inside >= self._limit:
            raise Rejected
        self._inside += 1
        try:
            return await work()
        finally:
            self._inside -= 1

    def mark_up(self) -> None:
        """Know no active checks."""


type Guarding = SlidingExpiry | TokenBucket | Semaphore

DESIGNS: dict[str, Callable[[int, float], Guarding]] = {
    "sliding": SlidingExpiry,
    "bucket": TokenBucket,
    "bulkhead": Semaphore,
}


def main() -> None:
    """Read the options and serve until SIGTERM."""
    command = parser("limits")
    command.add_argument("--log", type=Path, help="nothing is written there: there are no states")
    command.add_argument("--design", choices=sorted(DESIGNS), required=True)
    command.add_argument("--timeout-s", type=float, default=0.4)
    command.add_argument("--threshold", type=int, default=5, help="failures, tokens or calls at a time")
    command.add_argument("--open-s", type=float, default=1.5, help="how long a failure counts")
    options = command.parse_args()
    end_with_starter()
    client = httpx.AsyncClient(base_url=f"http://{options.dependency}", limits=LIMITS, timeout=None)  # noqa: S113  # a layer has it
    guard = DESIGNS[options.design](options.threshold, options.open_s)
    layers = Layers(client=client, timeout_s=options.timeout_s, choose=lambda _: guard)
    ask = layers.guarded(layers.timely(layers.checked(layers.ask)))
    uvicorn.run(
        application(ask, client, fallback="none", cancels=False),
        host=options.listen.host,
        port=options.listen.port,
        log_level="warning",
        access_log=False,
        timeout_keep_alive=60,
        timeout_graceful_shutdown=1,
    )


if __name__ == "__main__":
    main()
