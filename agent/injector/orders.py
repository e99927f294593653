"""What is said over the stream: one JSON object a line, orders in, facts out."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from agent.clients import nft
from agent.faults.durations import LONGEST_S
from agent.faults.kernel.scope import Scope, parse
from agent.model import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from agent.faults.kernel.scope import Network
    from agent.model import Json

RENEW: dict[str, Json] = {"do": "renew"}
HEAL: dict[str, Json] = {"do": "heal"}
TOXICS: dict[str, Json] = {"do": "toxics"}
SHORTEST_LEASE_S, LONGEST_LEASE_S = 0.2, 60.0
SHORTEST_ID = 12
WAYS = ("netem", "proxy")
_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """The first line: what to do, and for how long.

    ``table`` is the injection's name, ``lease_s`` how long it lasts without a beat,
    ``max_duration_s`` how long at most.
    """

    table: str
    lease_s: float
    max_duration_s: float

    def to_json(self) -> dict[str, Json]:
        """Return the line."""
        raw: dict[str, Any] = {each.name: getattr(self, each.name) for each in fields(self)}
        if isinstance(raw.get("scope"), Scope):
            raw["scope"] = _scope_to_json(raw["scope"])
        return {"do": VERBS[type(self)], **raw}

    def check(self) -> None:
        """Refuse numbers out of range.

        Raises:
            UsageError: One is.
        """
        if not self.table.removeprefix(nft.PREFIX).isalnum() or not self.table.startswith(nft.PREFIX):
            raise UsageError(f"table: {self.table!r} is not one of this agent's")
        if not SHORTEST_LEASE_S <= self.lease_s <= LONGEST_LEASE_S:
            raise UsageError(f"lease_s: {self.lease_s:g} is not {SHORTEST_LEASE_S:g} to {LONGEST_LEASE_S:g}")
        if not 0 < self.max_duration_s <= LONGEST_S:
            raise UsageError("max_duration_s is out of range")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scoped(Order):
    """An order about packets in *scope*; ``hosts`` are peers by name, for the pod's own resolver."""

    scope: Scope
    hosts: tuple[str, ...] = ()

    def check(self) -> None:
        """Refuse what is no name of a host, too."""
        Order.check(self)  # slots make a class anew, which super() does not know
        if bad := [host for host in self.hosts if not _HOST.fullmatch(host)]:
            raise UsageError(f"hosts: {bad[0]!r} is no name")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut(Scoped):
    """Lose *loss_fraction* of the packets in *scope*."""

    loss_fraction: float

    def check(self) -> None:
        """Refuse a share that is none, too."""
        Scoped.check(self)
        if not 0 < self.loss_fraction <= 1:
            raise UsageError("loss_fraction is out of range")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold(Scoped):
    """Put *toxic* on the connections in *scope*, whose direction says who opens them.

    ``ways`` are tried in turn: ``netem`` (which only delays) and ``proxy``.  ``resets`` ends connections that
    are open already, so that they come again through the proxy; netem holds them as they are.
    """

    toxic: dict[str, Any]
    ways: tuple[str, ...] = WAYS
    resets: bool = True

    def check(self) -> None:
        """Refuse ways that do not exist, or that cannot carry the toxic."""
        Scoped.check(self)
        if not self.ways or not set(self.ways) <= set(WAYS):
            raise UsageError(f"ways: {self.ways!r} are not among {', '.join(WAYS)}")
        if "netem" in self.ways and self.toxic.get("kind") != "delay":
            raise UsageError("netem only delays")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lead(Hold):
    """Lead the connections in *scope* through a proxy that holds nothing until it is told to.

    Later lines put toxics on it and take them off, and ask what came over it; the lease is that of all.
    """

    toxic: dict[str, Any] = field(default_factory=dict)
    ways: tuple[str, ...] = ("proxy",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stress(Order):
    """Use *cores* processors and *memory_bytes* of memory."""

    cores: float = 0.0
    memory_bytes: int = 0

    def check(self) -> None:
        """Refuse what is nothing, or more than a machine has."""
        Order.check(self)
        if not 0 <= self.cores <= 1024 or not 0 <= self.memory_bytes <= 1 << 46:
            raise UsageError("cores or memory_bytes is out of range")
        if not self.cores and not self.memory_bytes:
            raise UsageError("neither cores nor memory_bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill(Order):
    """Fill the file system that is mounted at *path* until *used_fraction* of it is used."""

    path: str
    used_fraction: float

    def check(self) -> None:
        """Refuse a share that is none, and a path that is not absolute."""
        Order.check(self)
        if not 0 < self.used_fraction <= 1 or not self.path.startswith("/"):
            raise UsageError("used_fraction or path makes no sense")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill(Order):
    """Send *signal* to the first process of the container that is called *container_id* by its runtime."""

    container_id: str
    signal: int

    def check(self) -> None:
        """Refuse what is no signal, and an id that would match anything."""
        Order.check(self)
        if not 0 < self.signal < 65 or len(self.container_id) < SHORTEST_ID:
            raise UsageError("signal or container_id makes no sense")


VERBS: dict[type[Order], str] = {
    Cut: "cut",
    Hold: "hold",
    Lead: "lead",
    Stress: "stress",
    Fill: "fill",
    Kill: "kill",
}
_KINDS = {verb: kind for kind, verb in VERBS.items()}


def read(line: bytes) -> Order:
    """Return the order in *line*.

    Raises:
        UsageError: It is none; whoever sent it is of another version.
    """
    try:
        raw = dict(json.loads(line))
        kind = _KINDS[raw.pop("do")]
        if "scope" in raw:
            raw["scope"] = _scope(raw["scope"])
        for name in ("hosts", "ways"):
            if name in raw:
                raw[name] = tuple(raw[name])
        order = kind(**raw)
        order.check()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"not an order of this version: {error!r}") from error
    return order


def peers(networks: Iterable[Network]) -> dict[str, Json]:
    """Return the line that says who the peers are by now, hosts apart."""
    return {"do": "peers", "networks": [str(network) for network in networks]}


def put_toxic(name: str, toxic: Mapping[str, Json]) -> dict[str, Json]:
    """Return the line that puts *toxic* on a proxy that connections are led through."""
    return {"do": "put", "name": name, "toxic": dict(toxic)}


def take_toxic(name: str) -> dict[str, Json]:
    """Return the line that takes a toxic off again."""
    return {"do": "take", "name": name}


def arrivals(since: int) -> dict[str, Json]:
    """Return the line that asks what came over the proxy after the entry *since*."""
    return {"do": "arrivals", "since": since}


def _scope_to_json(scope: Scope) -> dict[str, Any]:
    networks = {name: [str(each) for each in getattr(scope, name)] for name in ("networks", "spared")}
    return asdict(scope) | networks


def _scope(raw: Mapping[str, Any]) -> Scope:
    return Scope(
        networks=parse(raw["networks"]),
        spared=parse(raw["spared"]),
        spares_dns=bool(raw["spares_dns"]),
        port=None if raw["port"] is None else int(raw["port"]),
        protocol=str(raw["protocol"]),
        direction=str(raw["direction"]),
    )
