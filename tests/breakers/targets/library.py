"""The library ``circuitbreaker`` as it comes, with a record of what its state really was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, override

from child import State, Truth
from circuitbreaker import CircuitBreaker, CircuitBreakerError
from layers import Failed, Rejected

if TYPE_CHECKING:
    from breaker import Rules
    from layers import Reply, Work


class Recorded(CircuitBreaker):  # type: ignore[misc]  # the library has no types
    """The library's breaker.  It computes half-open from the time: that begins with the first call let in."""

    def __init__(self, name: str, rules: Rules, truth: Truth) -> None:
        super().__init__(rules.threshold, rules.open_s, Failed, name)
        self._truth, self._was = truth, State.CLOSED

    @override
    async def call_async(self, func: Any, *args: Any, **kwargs: Any) -> Any:
        if self._was is State.OPEN:
            self._record(State.HALF_OPEN)
        return await super().call_async(func, *args, **kwargs)

    @override
    def __exit__(self, *error: object) -> bool:
        suppressed: bool = super().__exit__(*error)
        self._record(State(self._state))
        return suppressed

    def _record(self, now: State) -> None:
        if now is not self._was:
            self._truth.moved(self.name, self._was, now)
            self._was = now


class LibraryBreaker:
    """The library behind the same face as our own breaker.

    It is used as a decorator: the library's ``call_async`` alone never looks at the state.
    """

    def __init__(self, name: str, rules: Rules, truth: Truth) -> None:
        self._guarded = Recorded(name, rules, truth)(self._do)

    async def call(self, work: Work) -> Reply:
        """Do *work*.

        Raises:
            Rejected: The breaker is open.
        """
        try:
            reply: Reply = await self._guarded(work)
        except CircuitBreakerError:
            raise Rejected from None
        return reply

    def mark_up(self) -> None:
        """Know no active checks."""

    @staticmethod
    async def _do(work: Work) -> Reply:
        return await work()
