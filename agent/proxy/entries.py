"""The entries of the arrival log, written out when their block is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agent.proxy.http import Head


def connection(seq: int, link: str, peer: str, at: float, monotonic_at: float) -> dict[str, Any]:
    """Return what says that *peer* connected; times in seconds, of the wall clock and the monotonic one."""
    return {
        "seq": seq,
        "kind": "connection",
        "link": link,
        "peer": peer,
        "at": at,
        "monotonic_at": monotonic_at,
    }


def request(
    seq: int,
    link: str,
    peer: str,
    head: Head,
    at: float,
    monotonic_at: float,
    took_s: float,
    status: int | None,
    failed_by: str | None,
    toxics: list[str],
) -> dict[str, Any]:
    """Return what says that *peer* asked, *took_s* long; *status* is None while there is no answer."""
    method, path, propagated = head.parts()
    return {
        "seq": seq,
        "kind": "request",
        "link": link,
        "peer": peer,
        "method": method,
        "path": path,
        "id": propagated,
        "at": at,
        "monotonic_at": monotonic_at,
        "took_s": took_s,
        "status": status,
        "failed_by": failed_by,
        "toxics": toxics,
    }
