"""What a Prometheus server answers to a query; no result is no evidence, and never a zero."""

from __future__ import annotations

import json
import math
import time
from typing import TYPE_CHECKING, Any, Literal

import httpx

from agent.model import NoEvidence, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agent.model import Json

BODY_MAX_BYTES = 16 << 20
LEAST_S = 0.1
POINTS_MAX = 11_000
"""What the server itself allows in one series."""


def value(*, url: str, query: str, timeout_s: float = 5.0, headers: Mapping[str, str] | None = None) -> float:
    """Return the one number that *query* is now.

    Args:
        url: Base of the server, such as ``http://prometheus:9090``.
        query: PromQL that comes to a scalar or to exactly one series.
        timeout_s: Seconds for the whole answer.
        headers: Such as ``Authorization``.

    Raises:
        NoEvidence: No answer, an error, no series, more than one, or not a number (NaN).

    Source:
        https://prometheus.io/docs/prometheus/latest/querying/api/#instant-queries
    """
    data = _ask(url, "query", {"query": query}, timeout_s, headers)
    if data["resultType"] == "scalar":
        return _number(query, data["result"])
    return _number(query, _only(query, data)["value"])


def range(  # noqa: A001  # the API's own word
    *,
    url: str,
    query: str,
    window_s: float,
    step_s: float = 1.0,
    reduce: Literal["min", "max", "mean", "last"] = "max",
    timeout_s: float = 5.0,
    headers: Mapping[str, str] | None = None,
) -> float:
    """Return the least, greatest, mean or last number of one series in the last *window_s* seconds.

    Args:
        url: As for :func:`value`, like *query*, *timeout_s* and *headers*.
        query: PromQL that comes to exactly one series.
        window_s: Seconds back from now, > 0; now is what the server's own clock says.
        step_s: Seconds between points, > 0; at most 11000 points.
        reduce: ``min``, ``max``, ``mean`` or ``last``.
        timeout_s: Seconds for the whole answer.
        headers: Such as ``Authorization``.

    Raises:
        UsageError: An argument is out of range.
        NoEvidence: As for :func:`value`; a point that is not a number counts as no answer at all.

    Source:
        https://prometheus.io/docs/prometheus/latest/querying/api/#range-queries
    """
    if window_s <= 0 or step_s <= 0 or window_s / step_s > POINTS_MAX:
        raise UsageError(f"window_s {window_s:g} and step_s {step_s:g}: above 0, at most {POINTS_MAX} points")
    if reduce not in ("min", "max", "mean", "last"):
        raise UsageError(f"reduce: {reduce!r} is none of min, max, mean, last")
    began = time.monotonic()
    now = value(url=url, query="time()", timeout_s=timeout_s, headers=headers)  # the server's clock, not ours
    left_s = max(LEAST_S, timeout_s - (time.monotonic() - began))
    asked = {"query": query, "start": str(now - window_s), "end": str(now), "step": str(step_s)}
    found = _only(query, _ask(url, "query_range", asked, left_s, headers))
    numbers = [_number(query, point) for point in found["values"]]
    if reduce == "mean":
        return math.fsum(numbers) / len(numbers)
    return {"min": min(numbers), "max": max(numbers), "last": numbers[-1]}[reduce]


def _only(query: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the single series of *data*."""
    if data["resultType"] not in ("vector", "matrix"):
        raise NoEvidence(f"{query}: came to a {data['resultType']}, not to a series")
    result = data["result"]
    if not result:
        raise NoEvidence(f"{query}: no series; an empty result is not a zero")
    if len(result) > 1:
        raise NoEvidence(f"{query}: {len(result)} series; write it so that one is left, as with sum()")
    found: dict[str, Any] = result[0]
    return found


def _number(query: str, point: Sequence[Any]) -> float:
    try:
        number = float(point[1])
    except (IndexError, TypeError, ValueError) as error:
        raise NoEvidence(f"{query}: no number in {point!r}; histograms are not read") from error
    if math.isnan(number):
        raise NoEvidence(f"{query}: not a number (NaN), as when nothing was divided by nothing")
    return number


def _ask(
    url: str, what: str, asked: Mapping[str, str], timeout_s: float, headers: Mapping[str, str] | None
) -> dict[str, Any]:
    where = f"{url.rstrip('/')}/api/v1/{what}"
    try:
        answer = httpx.post(
            where,
            data={
                **asked,
                "timeout": f"{max(1, round(1000 * timeout_s))}ms",
            },  # a duration takes no fractions
            headers=dict(headers or {}),
            timeout=timeout_s,
        )
        if len(answer.content) > BODY_MAX_BYTES:
            raise NoEvidence(f"{where} answered more than {BODY_MAX_BYTES} bytes")
        body: Json = json.loads(answer.content)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise NoEvidence(f"{where} did not answer: {type(error).__name__}: {error}") from error
    except ValueError as error:
        raise NoEvidence(f"{where} answered no JSON ({answer.status_code})") from error
    if (
        not isinstance(body, dict)
        or body.get("status") != "success"
        or not isinstance(body.get("data"), dict)
    ):
        why = body.get("error", body) if isinstance(body, dict) else body
        raise NoEvidence(f"{where}: {answer.status_code}: {why}")
    data: dict[str, Any] = body["data"]  # type: ignore[assignment]
    return data
