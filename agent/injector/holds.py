"""Connections of this pod that are slowed or failed: by netem where the kernel has it, else by a proxy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.model import Unsupported

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agent.faults.kernel.scope import Network
    from agent.injector.breaking import Breaking
    from agent.injector.orders import Hold
    from agent.model import Fact, Json


class Held:
    """A toxic on what the pod says and hears, the first way that works; tells which one it was."""

    def __init__(self, order: Hold) -> None:
        self._order = order
        self._ways: dict[str, Breaking] = {way: _way(way, order) for way in order.ways}
        self._way = order.ways[-1]
        self._why_not: dict[str, Json] = {}

    def check(self) -> None:
        """Refuse if the last way does not work either."""
        for way in self._order.ways[:-1]:
            try:
                self._ways[way].check()
            except Unsupported as error:
                self._why_not[way] = str(error)
        self._ways[self._order.ways[-1]].check()

    def put(self) -> Fact:
        """Put it in by the first way that works."""
        for way in self._order.ways:
            if way in self._why_not:
                continue
            self._way = way
            try:
                return self._told(self._ways[way].put())
            except Unsupported as error:
                if way == self._order.ways[-1]:
                    raise
                self._why_not[way] = str(error)
        raise AssertionError("the last way is always tried")

    def _told(self, fact: Fact) -> Fact:
        from dataclasses import replace  # noqa: PLC0415

        why_not = {"why_not": dict(self._why_not)} if self._why_not else {}
        return replace(fact, measured={"by": self._way, **why_not, **fact.measured})

    def renew(self) -> Fact:
        """Renew it."""
        return self._ways[self._way].renew()

    def change(self, networks: Sequence[Network]) -> None:
        """Hold what goes to *networks*, and to nobody else."""
        self._ways[self._way].change(networks)

    def news(self) -> Mapping[str, Json]:
        """Return what there is to tell with a beat."""
        return self._ways[self._way].news()

    def remove(self) -> Fact | None:
        """Take it out."""
        fact = self._ways[self._way].remove()
        return None if fact is None else self._told(fact)


def _way(way: str, order: Hold) -> Breaking:
    if way == "netem":
        from agent.injector.netem import Netem  # noqa: PLC0415

        return Netem(order)
    from agent.injector.proxied import Proxied  # noqa: PLC0415

    return Proxied(order)
