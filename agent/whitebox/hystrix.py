"""Hystrix: the stream of metrics (``hystrix.stream``, server-sent events) of one command."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import httpx

from agent.breakers.boxes.whitebox import Sample, Traps
from agent.breakers.courses.states import State
from agent.model import UsageError
from agent.whitebox.reader import Unreadable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agent.whitebox.address import Address
    from agent.whitebox.reader import Reader

LINE_MAX = 256 * 1024
DELAY_S = 0.5
"""How often the servlet sends, by default."""


def reader(address: Address) -> Reader:
    """Read the stream at URL.

    Options: ``command``, needed where there are several; ``delay_s``, how often the servlet sends (0.5).
    """
    if not address.url.startswith(("http://", "https://")):
        raise UsageError(f"--whitebox hystrix: {address.shown} is no http:// or https:// URL")
    return _Hystrix(address)


class _Hystrix:
    """Each look takes what the stream has sent; a stream that ends is opened anew."""

    def __init__(self, address: Address) -> None:
        self._url, self._timeout_s = address.url, address.timeout_s
        self._command = address.text("command")
        delay_s = address.number("delay_s", DELAY_S, 0.01, 10)
        self.traps = Traps(
            half_open=False,
            late_s=delay_s,
            notes=(
                f"there is no value for half-open, and the stream is sent every {delay_s:g} s",
                "a command that was never called is not in the stream",
            ),
        )
        self._client = httpx.Client(timeout=address.timeout_s, headers=dict(address.authorization))
        self._since = time.monotonic()
        self._lines: Iterator[str] | None = None
        self._answer: httpx.Response | None = None

    def read(self) -> Sequence[Sample]:
        """Wait for the command's next line, at most the time limit."""
        try:
            return [self._sample(self._next())]
        except (httpx.HTTPError, Unreadable) as error:
            self._hang_up()
            raise Unreadable(f"{type(error).__name__}: {error}") from None

    def _next(self) -> dict[str, Any]:
        deadline = time.monotonic() + self._timeout_s
        for line in self._open():
            if (found := self._read(line)) is not None:
                return found
            if time.monotonic() > deadline:
                raise Unreadable(f"nothing about {self._command or 'any command'} in {self._timeout_s:g} s")
        raise Unreadable("the stream ended")

    def _open(self) -> Iterator[str]:
        if self._lines is None:
            self._since = time.monotonic()
            self._answer = self._client.send(self._client.build_request("GET", self._url), stream=True)
            if self._answer.status_code != httpx.codes.OK:
                raise Unreadable(f"{self._url} answers {self._answer.status_code}")
            self._lines = self._answer.iter_lines()
        return self._lines

    def _read(self, line: str) -> dict[str, Any] | None:
        """Return what *line* says about the command, or None: about something else, or nothing."""
        if not line.startswith("data:") or len(line) > LINE_MAX:
            return None
        try:
            found = json.loads(line[5:])
        except ValueError:
            return None
        if not isinstance(found, dict) or found.get("type") != "HystrixCommand":
            return None
        return found if self._command in ("", found.get("name")) else None

    def _sample(self, found: dict[str, Any]) -> Sample:
        """Return a line as a sample; it may have been sent as long ago as the last one was read."""
        is_open = found.get("isCircuitBreakerOpen")
        if not isinstance(is_open, bool):
            raise Unreadable("isCircuitBreakerOpen is not in it")
        names = ("requestCount", "errorPercentage", "rollingCountShortCircuited")
        details = {name: found.get(name) for name in names}
        state = State.OPEN if is_open else State.CLOSED
        since, self._since = self._since, time.monotonic()
        return Sample(asked=since, read=self._since, state=state, details=details)

    def _hang_up(self) -> None:
        if self._answer is not None:
            self._answer.close()
        self._answer = self._lines = None

    def close(self) -> None:
        """Close the stream."""
        self._hang_up()
        self._client.close()
