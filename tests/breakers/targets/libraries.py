"""More libraries as they come, each with a record of what its state really was.

They are imported where they are used: each comes from a folder of the starter's, and only with its target.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from child import State, Truth
from layers import Rejected

if TYPE_CHECKING:
    from collections.abc import Callable

    from breaker import Rules
    from layers import Guard, Reply, Work

THREADS = 200
"""A pool with fewer would be a bulkhead of its own."""
STATES = {
    "closed": State.CLOSED,
    "open": State.OPEN,
    "opened": State.OPEN,
    "half-open": State.HALF_OPEN,
    "half_open": State.HALF_OPEN,
    "half-opened": State.HALF_OPEN,
}


class Record:
    """Writes down each state that differs from the one before."""

    def __init__(self, name: str, truth: Truth) -> None:
        self._name, self._truth, self._was = name, truth, State.CLOSED

    def __call__(self, state: str) -> None:
        """Take down a state by the library's own name for it."""
        now = STATES[state.lower()]
        if now is not self._was:
            self._truth.moved(self._name, self._was, now)
            self._was = now


class Pybreaker:
    """``pybreaker`` as a service with threads uses it; it guards the call with a lock."""

    def __init__(self, name: str, rules: Rules, truth: Truth) -> None:
        import pybreaker

        record = Record(name, truth)

        class Listener(pybreaker.CircuitBreakerListener):
            def state_change(self, cb: Any, old: Any, new: Any) -> None:
                del cb, old
                record(new.name)

        self._error = pybreaker.CircuitBreakerError
        self._breaker = pybreaker.CircuitBreaker(
            fail_max=rules.threshold, reset_timeout=rules.open_s, listeners=[Listener()], name=name
        )
        self._threads = ThreadPoolExecutor(THREADS)

    async def call(self, work: Work) -> Reply:
        """Do *work* while a thread waits for it under the library's lock.

        Raises:
            Rejected: It is open, or this failure opened it.
        """
        loop = asyncio.get_running_loop()

        def guarded() -> Reply:
            return asyncio.run_coroutine_threadsafe(_coroutine(work), loop).result()

        try:
            reply: Reply = await loop.run_in_executor(self._threads, self._breaker.call, guarded)
        except self._error:
            raise Rejected from None
        return reply

    def mark_up(self) -> None:
        """Know no active checks."""


async def _coroutine(work: Work) -> Reply:
    return await work()


class Aiobreaker:
    """``aiobreaker``: no limit to the calls while half-open."""

    def __init__(self, name: str, rules: Rules, truth: Truth) -> None:
        import aiobreaker

        record = Record(name, truth)

        class Listener(aiobreaker.CircuitBreakerListener):  # type: ignore[misc]  # the library has no types
            def state_change(self, breaker: Any, old: Any, new: Any) -> None:
                del breaker, old
                record(new.state.name)

        self._error = aiobreaker.CircuitBreakerError
        self._breaker = aiobreaker.CircuitBreaker(
            fail_max=rules.threshold,
            timeout_duration=timedelta(seconds=rules.open_s),
            listeners=[Listener()],
            name=name,
        )

    async def call(self, work: Work) -> Reply:
        """Do *work*.

        Raises:
            Rejected: It is open, or this failure opened it.
        """
        try:
            reply: Reply = await self._breaker.call_async(work)
        except self._error:
            raise Rejected from None
        return reply

    def mark_up(self) -> None:
        """Know no active checks."""


class Purgatory:
    """``purgatory``: no limit to the calls while half-open, and a trial that fails late opens it again."""

    def __init__(self, name: str, rules: Rules, truth: Truth) -> None:
        from purgatory import AsyncCircuitBreakerFactory
        from purgatory.domain.model import OpenedState

        self._name, self._rejected = name, OpenedState
        self._record = Record(name, truth)
        self._factory = AsyncCircuitBreakerFactory(
            default_threshold=rules.threshold, default_ttl=rules.open_s
        )

    async def call(self, work: Work) -> Reply:
        """Do *work*.

        Raises:
            Rejected: It is open.
        """
        breaker = await self._factory.get_breaker(self._name)
        try:
            async with breaker:
                self._record(breaker.context.state)
                return await work()
        except self._rejected:
            raise Rejected from None
        finally:
            self._record(breaker.context.state)

    def mark_up(self) -> None:
        """Know no active checks."""


class ResilientCircuit:
    """``resilient-circuit``: opens when three of the last ten failed, and while half-open lets everybody in.

    Ten results decide then, whoever they are of, and those that come later count in the closed state.
    """

    def __init__(self, name: str, rules: Rules, truth: Truth) -> None:
        from resilient_circuit.circuit_breaker import CircuitProtectorPolicy
        from resilient_circuit.exceptions import ProtectedCallError

        record = Record(name, truth)
        self._error = ProtectedCallError
        self._guarded = CircuitProtectorPolicy(
            resource_key=name,
            cooldown=timedelta(seconds=rules.open_s),
            failure_limit=Fraction(3, 10),
            on_status_change=lambda _, __, new: record(new.value),
        )(_coroutine)

    async def call(self, work: Work) -> Reply:
        """Do *work*.

        Raises:
            Rejected: It is open.
        """
        try:
            reply: Reply = await self._guarded(work)
        except self._error:
            raise Rejected from None
        return reply

    def mark_up(self) -> None:
        """Know no active checks."""


LIBRARIES: dict[str, Callable[[str, Rules, Truth], Guard]] = {
    "pybreaker": Pybreaker,
    "aiobreaker": Aiobreaker,
    "purgatory": Purgatory,
    "resilient-circuit": ResilientCircuit,
}
