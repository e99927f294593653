"""Reads a page over HTTP, within limits of time and size."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx

from agent.model import UsageError
from agent.whitebox.reader import Unreadable

if TYPE_CHECKING:
    from agent.whitebox.address import Address

BODY_MAX = 4 * 1024 * 1024
"""A page of metrics has some 100 KB; more than this is not read."""
NOT_THERE = 404


@dataclass(frozen=True, slots=True)
class Page:
    """A page that was asked for and read at these moments (monotonic seconds)."""

    text: str
    asked: float
    read: float

    def json(self) -> Any:
        """Return it as JSON.

        Raises:
            Unreadable: It is none.
        """
        try:
            return json.loads(self.text)
        except ValueError as error:
            raise Unreadable(f"no JSON: {error}") from None


class NotThere(Unreadable):
    """The page answers 404."""


class Web:
    """One connection to one source; GET only, no redirects."""

    def __init__(self, address: Address) -> None:
        if not address.url.startswith(("http://", "https://")):
            raise UsageError(f"--whitebox {address.kind}: {address.shown} is no http:// or https:// URL")
        self.url = address.url.rstrip("/")
        self._timeout_s = address.timeout_s
        self._client = httpx.Client(
            timeout=address.timeout_s,
            headers={"User-Agent": "gameday", **address.authorization},
            limits=httpx.Limits(max_connections=1),
        )

    def get(self, path: str = "") -> Page:
        """Read ``url + path``.

        Raises:
            NotThere: 404.
            Unreadable: No answer in time, another status, too much of it.
        """
        asked = time.monotonic()
        try:
            with self._client.stream("GET", self.url + path) as answer:
                body = self._body(answer, asked + self._timeout_s)
        except httpx.HTTPError as error:
            raise Unreadable(f"{type(error).__name__}: {error}") from None
        if answer.status_code == NOT_THERE:
            raise NotThere(f"{path or self.url} answers 404")
        if answer.status_code != httpx.codes.OK:
            raise Unreadable(f"{path or self.url} answers {answer.status_code}")
        return Page(body.decode(errors="replace"), asked, time.monotonic())

    @staticmethod
    def _body(answer: httpx.Response, deadline: float) -> bytes:
        body = bytearray()
        for part in answer.iter_bytes():
            body += part
            if len(body) > BODY_MAX:
                raise Unreadable(f"the body is larger than {BODY_MAX // 1024 // 1024} MB")
            if time.monotonic() > deadline:
                raise Unreadable("the body did not come in time")
        return bytes(body)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()
