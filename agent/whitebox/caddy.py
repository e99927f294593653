"""Caddy: the failures that its admin API counts for an upstream, against the most it allows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent.breakers.boxes.whitebox import Sample, Traps
from agent.breakers.courses.states import State
from agent.whitebox.reader import Unreadable
from agent.whitebox.web import Web

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agent.whitebox.address import Address
    from agent.whitebox.reader import Reader

MOST = 1_000_000


def reader(address: Address) -> Reader:
    """Read the admin's ``/reverse_proxy/upstreams``.

    Options: ``upstream`` (HOST:PORT; else all of them have to be out to be open); ``max_fails``, else the
    smallest one in the configuration.
    """
    most = int(address.number("max_fails", 0, 0, MOST))
    return _Caddy(Web(address), address.text("upstream"), most)


class _Caddy:
    """Out is open."""

    traps = Traps(
        half_open=False,
        notes=(
            "each failure is forgotten by itself after fail_duration: it comes back with no trial",
            "failures are counted for an address, over all routes that have it",
            "max_fails is read from the configuration when reading begins",
        ),
    )

    def __init__(self, web: Web, upstream: str, most: int) -> None:
        self._web, self._upstream, self._most = web, upstream, most

    def read(self) -> Sequence[Sample]:
        """Return whether the upstreams have as many failures as make them unhealthy."""
        most = self._most = self._most or self._configured()
        page = self._web.get("/reverse_proxy/upstreams")
        found = page.json()
        fails = {str(each.get("address")): int(each.get("fails", 0)) for each in found or []}
        chosen = {name: n for name, n in fails.items() if self._upstream in ("", name)}
        if not chosen:
            raise Unreadable(f"no upstream {self._upstream}; there are {', '.join(fails) or 'none'}")
        state = State.OPEN if all(n >= most for n in chosen.values()) else State.CLOSED
        details = {"fails": chosen, "max_fails": most}
        return [Sample(asked=page.asked, read=page.read, state=state, details=details)]

    def _configured(self) -> int:
        passive = list(_passive(self._web.get("/config/").json()))
        if not any(each.get("fail_duration") for each in passive):
            raise Unreadable("no reverse proxy has a fail_duration: failures are not counted")
        return min(int(each.get("max_fails") or 1) for each in passive if each.get("fail_duration"))

    def close(self) -> None:
        """Close the connection."""
        self._web.close()


def _passive(config: Any) -> Iterator[dict[str, Any]]:
    """Find every ``health_checks.passive`` in a configuration."""
    if isinstance(config, dict):
        checks = config.get("health_checks")
        if isinstance(checks, dict) and isinstance(checks.get("passive"), dict):
            yield checks["passive"]
        for each in config.values():
            yield from _passive(each)
    elif isinstance(config, list):
        for each in config:
            yield from _passive(each)
