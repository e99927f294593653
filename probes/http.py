"""What an HTTP server answers; redirects are followed up to five times, JSON is read up to a mebibyte."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import httpx

from agent.model import NoEvidence

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.model import Json

BODY_MAX_BYTES = 1 << 20
REDIRECTS_MAX = 5


def responds(*, url: str, timeout_s: float = 2.0, headers: Mapping[str, str] | None = None) -> bool:
    """Return whether *url* answers below status 500 within *timeout_s*."""
    try:
        return status(url=url, timeout_s=timeout_s, headers=headers) < 500
    except NoEvidence:
        return False


def status(*, url: str, timeout_s: float = 2.0, headers: Mapping[str, str] | None = None) -> int:
    """Return the status that *url* answers with.

    Raises:
        NoEvidence: No answer within *timeout_s*; says why.
    """
    return _get(url, timeout_s, headers, body_max=0)[0]


def json_value(
    *, url: str, path: str, timeout_s: float = 2.0, headers: Mapping[str, str] | None = None
) -> Json:
    """Return the value at the dotted *path* (``shards.0.name``) of the JSON that *url* answers with.

    Raises:
        NoEvidence: No answer, no JSON, or nothing at *path*; says which.
    """
    body = _get(url, timeout_s, headers, body_max=BODY_MAX_BYTES)[1]
    try:
        value: Json = json.loads(body)
    except ValueError as error:
        raise NoEvidence(f"{url} answered no JSON: {error}") from error
    for step in path.split("."):
        if isinstance(value, dict) and step in value:
            value = value[step]
        elif isinstance(value, list) and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        else:
            raise NoEvidence(f"{url}: there is no {step!r} on the way to {path!r}")
    return value


def _get(
    url: str, timeout_s: float, headers: Mapping[str, str] | None, *, body_max: int
) -> tuple[int, bytes]:
    """Return status and body; with a *body_max* of 0 the body is left unread."""
    try:
        with (
            httpx.Client(timeout=timeout_s, follow_redirects=True, max_redirects=REDIRECTS_MAX) as client,
            client.stream("GET", url, headers=dict(headers or {})) as answer,
        ):
            body = b""
            for chunk in answer.iter_bytes() if body_max else ():
                body += chunk
                if len(body) > body_max:
                    raise NoEvidence(f"{url} answered more than {body_max} bytes")
            return answer.status_code, body
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise NoEvidence(f"{url} did not answer: {type(error).__name__}: {error}") from error
