"""Peers by name, asked of the pod's own resolver, again and again, since addresses of a name move."""

from __future__ import annotations

import socket
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

from agent.faults.kernel.scope import parse
from agent.injector.orders import Scoped
from agent.model import NoTargets

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.faults.kernel.scope import Network
    from agent.injector.orders import Order

EVERY_S = 5.0
FIRST_WITHIN_S = 4.0


class Peers:
    """The peers of an order: those that were named by address, and the hosts as they resolve by now."""

    def __init__(self, order: Order) -> None:
        self._named: tuple[Network, ...] = order.scope.networks if isinstance(order, Scoped) else ()
        self._hosts = order.hosts if isinstance(order, Scoped) else ()
        self._addresses: dict[str, tuple[str, ...]] = {}
        self._told: frozenset[Network] = frozenset()
        self._first = threading.Event()

    def placed[T: Order](self, order: T) -> T:
        """Return *order* with its hosts' addresses among its peers.

        Raises:
            NoTargets: A host has no address, or the resolver does not answer.
        """
        if not self._hosts or not isinstance(order, Scoped):
            return order
        threading.Thread(target=self._ask, daemon=True, name="hosts").start()
        self._first.wait(FIRST_WITHIN_S)
        if missing := [host for host in self._hosts if not self._addresses.get(host)]:
            raise NoTargets(f"peers: host/{missing[0]} has no address, as this pod's resolver sees it")
        networks = self._now()
        self._told = frozenset(networks)
        return replace(order, scope=replace(order.scope, networks=networks))

    def named(self, networks: Sequence[Network]) -> tuple[Network, ...]:
        """Take over the peers that are named by address; return all."""
        self._named = tuple(networks)
        self._told = frozenset(self._now())
        return self._now()

    def changed(self) -> tuple[Network, ...] | None:
        """Return all peers if the hosts' addresses are others than at the last call, else None."""
        now = self._now()
        if not self._hosts or frozenset(now) == self._told:
            return None
        self._told = frozenset(now)
        return now

    def _now(self) -> tuple[Network, ...]:
        of_hosts = [address for host in self._hosts for address in self._addresses.get(host, ())]
        return tuple(dict.fromkeys([*self._named, *parse(of_hosts)]))

    def _ask(self) -> None:
        """Resolve for ever; a name that does not resolve any more keeps its last addresses."""
        while True:
            for host in self._hosts:
                if found := _addresses(host):
                    self._addresses[host] = found
            self._first.set()
            threading.Event().wait(EVERY_S)


def _addresses(host: str) -> tuple[str, ...]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return ()
    return tuple(sorted({str(each[4][0]).partition("%")[0] for each in found}))
