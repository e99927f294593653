"""Connections of this pod that are led through a proxy for a while, on which toxics come and go."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from agent.injector.proxied import Proxied
from agent.model import Fact

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.clients.nft import Table
    from agent.model import Json

REQUESTS_MAX = 500
"""Entries of the arrival log in one answer: a line has to stay short."""
CONNECTS_WITHIN_S = 1.0


class Led(Proxied):
    """A redirect and a proxy without a toxic; see :class:`~agent.injector.breaking.Leading`.

    What comes over it is told when it is asked for, never with a beat.
    """

    def news(self) -> Mapping[str, Json]:
        """Return nothing."""
        return {}

    def put_toxic(self, name: str, toxic: dict[str, Any]) -> Mapping[str, Json]:
        """Put *toxic* on, with the lease of the whole."""
        self._proxy.add(name, {**toxic, "lease_s": self._order.lease_s})
        if toxic.get("kind") == "refuse" and self._accepts():
            return {"holds": False, "says": "connections are still accepted"}
        return {"holds": True, "says": ""}

    def take_toxic(self, name: str) -> Mapping[str, Json]:
        """Take it off."""
        return {"dose": self._proxy.take(name)}

    def toxics(self) -> Mapping[str, Json]:
        """Return what is on."""
        return {"names": list(self._proxy.toxics())}

    def arrivals(self, since: int) -> Mapping[str, Json]:
        """Return what came, and what is under way at that same moment."""
        entries, seq, unanswered = self._proxy.seen(since, REQUESTS_MAX)
        requests = [each for each in entries if each["kind"] == "request"]
        more = len(entries) == REQUESTS_MAX
        return {"requests": list(requests), "seq": seq, "open": list(unanswered), "more": more}

    def _accepts(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self._proxy.port), timeout=CONNECTS_WITHIN_S).close()
        except OSError:
            return False
        return True

    def _dose(self, table: Table | None, dose: Mapping[str, float], ended: int) -> Fact:  # noqa: ARG002  # its toxics have one each
        measured = self._connections(table, ended)
        says = "" if measured["connections"] else "no connection was led through the proxy"
        return Fact(holds=not says, says=says, measured=measured)
