"""Events of a Kubernetes namespace, as long as the cluster keeps them (an hour by default)."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from agent.model import UsageError
from probes.cluster import CORE, asking

if TYPE_CHECKING:
    from collections.abc import Mapping


def count(
    *,
    namespace: str,
    window_s: float,
    reason: str | None = None,
    kind: str | None = None,
    type: Literal["Normal", "Warning"] | None = None,  # noqa: A002  # the API's own word
) -> int:
    """Return how often something happened in the last *window_s* seconds, repetitions counted.

    An event that was repeated counts as often as the API server says it happened, if its last time
    lies in the window.  Now is what the API server says it is; the agent's own clock is not asked.

    Args:
        namespace: Where.
        window_s: Seconds back from now, > 0.
        reason: Such as ``BackOff``; None for any.
        kind: Of the object in question, such as ``Pod``; None for any.
        type: ``Normal`` or ``Warning``; None for both.

    Raises:
        UsageError: *window_s* is not above 0.
        NoEvidence: The API server did not tell.
    """
    if window_s <= 0:
        raise UsageError(f"window_s: {window_s:g} is not above 0")
    asked = {"reason": reason, "involvedObject.kind": kind, "type": type}
    fields = ",".join(f"{key}={value}" for key, value in asked.items() if value)
    with asking() as api:
        found = list(api.items(f"{CORE}/namespaces/{namespace}/events", fields=fields))
        since = api.now - timedelta(seconds=window_s)
        return sum(_times(each) for each in found if _last(each) >= since)


def _last(event: Mapping[str, Any]) -> datetime:
    series = event.get("series") or {}
    told = series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime")
    return datetime.fromisoformat(told or event["metadata"]["creationTimestamp"])


def _times(event: Mapping[str, Any]) -> int:
    series = event.get("series") or {}
    return int(series.get("count") or event.get("count") or 1)
