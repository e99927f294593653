"""The layers between a caller and the dependency; what a service does is which it has and in which order."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

import httpx

RETRIES = 2
HEDGE_AFTER_S = 0.15
BULKHEAD_CALLS = 10
CHECK_EVERY_S = 0.3
CHECKS_TO_RISE = 2


class Failed(Exception):
    """The call did not work: no answer, or an answer that says error."""


class TimedOut(Failed):
    """No answer in time."""


class Full(Failed):
    """The bulkhead takes no more calls; the dependency was not asked."""


class Rejected(Exception):
    """The breaker lets no call through; the dependency was not asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A caller's question, with the headers that are passed on."""

    key: str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The dependency's answer; or, degraded, one made up without it."""

    status: int
    body: bytes
    degraded: bool = False


type Ask = Callable[[Question], Awaitable[Reply]]
type Work = Callable[[], Awaitable[Reply]]


class Guard(Protocol):
    """What a breaker is to the layers."""

    async def call(self, work: Work) -> Reply:
        """Do *work*, or raise `Rejected`."""
        ...

    def mark_up(self) -> None:
        """Take the word of an active check that the dependency is well."""
        ...


@dataclass(slots=True, kw_only=True)
class Layers:
    """The layers, each of which puts something around a way of asking."""

    client: httpx.AsyncClient
    timeout_s: float
    choose: Callable[[str], Guard]
    retries: int = RETRIES
    _checker: asyncio.Task[None] | None = None
    _inside: int = 0
    _asking: dict[str, asyncio.Future[Reply]] = field(default_factory=dict)

    async def ask(self, question: Question) -> Reply:
        """Ask the dependency and return whatever it says, errors included."""
        try:
            answer = await self.client.get(
                "/item", params={"key": question.key}, headers=dict(question.headers)
            )
        except httpx.HTTPError as error:
            raise Failed(type(error).__name__) from error
        return Reply(status=answer.status_code, body=answer.content)

    def checked(self, inner: Ask) -> Ask:
        """Turn an answer that says error into `Failed`."""

        async def ask(question: Question) -> Reply:
            reply = await inner(question)
            if reply.status >= 500:
                raise Failed(f"the dependency said {reply.status}")
            return reply

        return ask

    def timely(self, inner: Ask) -> Ask:
        """Give up after the timeout."""

        async def ask(question: Question) -> Reply:
            try:
                async with asyncio.timeout(self.timeout_s):
                    return await inner(question)
            except TimeoutError:
                raise TimedOut(f"no answer in {self.timeout_s:g} s") from None

        return ask

    def guarded(self, inner: Ask) -> Ask:
        """Put the question's breaker around it."""

        async def ask(question: Question) -> Reply:
            return await self.choose(question.key).call(lambda: inner(question))

        return ask

    def retried(self, inner: Ask, *, also: tuple[type[Exception], ...] = (), pause_s: float = 0.0) -> Ask:
        """Ask again after a failure, or after what is in *also*; a few times, after a growing pause."""

        async def ask(question: Question) -> Reply:
            for attempt in range(self.retries):
                with suppress(Failed, *also):
                    return await inner(question)
                await asyncio.sleep(pause_s * 2**attempt)
            return await inner(question)

        return ask

    def hedged(self, inner: Ask) -> Ask:
        """Ask a second time when there is no answer after a while, and take the first good one."""

        async def ask(question: Question) -> Reply:
            waiting = {asyncio.ensure_future(inner(question))}
            asked = set(waiting)
            try:
                done, waiting = await asyncio.wait(waiting, timeout=HEDGE_AFTER_S)
                if not done:
                    waiting.add(second := asyncio.ensure_future(inner(question)))
                    asked.add(second)
                while not any(each.exception() is None for each in done) and waiting:
                    done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                return min(done, key=lambda each: each.exception() is not None).result()
            finally:
                for each in asked:
                    each.cancel()

        return ask

    def coalesced(self, inner: Ask) -> Ask:
        """Let callers with the same key wait for the answer to the one who came first."""

        async def ask(question: Question) -> Reply:
            key = question.key
            if key not in self._asking:
                self._asking[key] = asyncio.ensure_future(inner(question))
                self._asking[key].add_done_callback(lambda _: self._asking.pop(key))
            return await asyncio.shield(self._asking[key])

        return ask

    def swallowed(self, inner: Ask) -> Ask:
        """Make up an answer after a failure, so that nobody further out learns of it."""

        async def ask(question: Question) -> Reply:
            try:
                return await inner(question)
            except Failed:
                return Reply(status=200, body=b'{"value": null}', degraded=True)

        return ask

    def bulkheaded(self, inner: Ask) -> Ask:
        """Let only so many calls in at a time and raise `Full` for the others."""

        async def ask(question: Question) -> Reply:
            if self._inside >= BULKHEAD_CALLS:
                raise Full(f"{BULKHEAD_CALLS} calls are under way")
            self._inside += 1
            try:
                return await inner(question)
            finally:
                self._inside -= 1

        return ask

    def actively_checked(self, inner: Ask) -> Ask:
        """From the first question on, check the dependency's health and mark its breaker up when well."""

        async def ask(question: Question) -> Reply:
            if self._checker is None:
                self._checker = asyncio.create_task(self._check(self.choose(question.key)))
            return await inner(question)

        return ask

    async def _check(self, breaker: Guard) -> None:
        well = 0
        while True:
            await asyncio.sleep(CHECK_EVERY_S)
            try:
                answer = await self.client.get("/health", timeout=self.timeout_s)
                well = well + 1 if answer.is_success else 0
            except httpx.HTTPError:
                well = 0
            if well >= CHECKS_TO_RISE:
                well = 0
                breaker.mark_up()


def limited(inner: Ask, rate_rps: float, *, burst: float = 8.0) -> Ask:
    """Let so many calls a second in, after a burst, and raise `Full` for the others."""
    tokens, filled_at = burst, time.monotonic()

    async def ask(question: Question) -> Reply:
        nonlocal tokens, filled_at
        now = time.monotonic()
        tokens, filled_at = min(burst, tokens + (now - filled_at) * rate_rps), now
        if tokens < 1:
            raise Full(f"{rate_rps:g} calls a second are enough")
        tokens -= 1
        return await inner(question)

    return ask
