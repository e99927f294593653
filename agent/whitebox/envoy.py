"""Envoy: which hosts outlier detection has ejected; the limits it calls circuit breakers, if asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent.breakers.boxes.whitebox import Sample, Traps
from agent.breakers.courses.states import State
from agent.whitebox.reader import Unreadable
from agent.whitebox.web import Web

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.whitebox.address import Address
    from agent.whitebox.reader import Reader

EJECTION = (
    "there is no half-open: a host is ejected, or back with all of its traffic",
    "a host comes back only at the next sweep (outlier_detection.interval)",
    "in panic mode (healthy_panic_threshold) ejected hosts get traffic all the same: a real phantom",
)
LIMITS = (
    "rq_open and rq_pending_open are concurrency limits: they fall back as soon as the load does",
    "cx_open and cx_pool_open only say that connections are used up, which keeps no call back: never open",
)


def reader(address: Address) -> Reader:
    """Read the admin's ``/clusters`` and ``/stats``.

    Options: ``cluster``; ``host`` (IP:PORT; else all hosts have to be ejected to be open); ``limits=yes``
    counts rq_open and rq_pending_open as open, too.
    """
    cluster = address.required("cluster", "cluster")
    return _Envoy(Web(address), cluster, address.text("host"), limits=address.text("limits") == "yes")


class _Envoy:
    """Ejection of all hosts, or of one."""

    def __init__(self, web: Web, cluster: str, host: str, *, limits: bool) -> None:
        self._web, self._cluster, self._host, self._limits = web, cluster, host, limits
        self.traps = Traps(
            half_open=False, falls_back=limits, notes=EJECTION + LIMITS if limits else EJECTION + LIMITS[1:]
        )

    def read(self) -> Sequence[Sample]:
        """Return whether every host that counts is ejected."""
        page = self._web.get("/clusters?format=json")
        hosts = self._hosts(page.json())
        details: dict[str, Any] = {"ejected": [name for name, ejected in hosts.items() if ejected]}
        is_open = all(hosts.values())
        if self._limits:
            details |= self._gauges()
            is_open |= bool(details["rq_open"] or details["rq_pending_open"])
        state = State.OPEN if is_open else State.CLOSED
        return [Sample(asked=page.asked, read=page.read, state=state, details=details)]

    def _hosts(self, found: Any) -> dict[str, bool]:
        clusters = {each.get("name"): each for each in found.get("cluster_statuses", [])}
        if self._cluster not in clusters:
            raise Unreadable(f"no cluster {self._cluster!r}; there are {', '.join(map(str, clusters))}")
        hosts = {
            _address(each): bool(each.get("health_status", {}).get("failed_outlier_check"))
            for each in clusters[self._cluster].get("host_statuses", [])
        }
        chosen = {name: ejected for name, ejected in hosts.items() if self._host in ("", name)}
        if not chosen:
            raise Unreadable(f"no host {self._host or 'at all'}; there are {', '.join(hosts) or 'none'}")
        return chosen

    def _gauges(self) -> dict[str, int]:
        """Read the limits of the default priority; cx_open is read to be shown, never to decide."""
        prefix = f"cluster.{self._cluster}.circuit_breakers.default."
        page = self._web.get("/stats?filter=circuit_breakers.default")
        lines = dict(line.split(": ", 1) for line in page.text.splitlines() if ": " in line)
        names = ("rq_open", "rq_pending_open", "cx_open")
        return {name: int(lines.get(prefix + name, "0")) for name in names}

    def close(self) -> None:
        """Close the connection."""
        self._web.close()


def _address(host: dict[str, Any]) -> str:
    found = host.get("address", {}).get("socket_address", {})
    return f"{found.get('address')}:{found.get('port_value')}"
