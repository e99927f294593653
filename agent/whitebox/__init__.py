"""Reads what breakers say about themselves, one module a kind.  Nothing here changes what it reads.

What it means beside what is seen from outside is :mod:`agent.breakers.boxes.comparison`'s.
"""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING

from agent.model import UsageError
from agent.whitebox.address import parse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.breakers.boxes.whitebox import Traps
    from agent.whitebox.address import Address
    from agent.whitebox.reader import Reader

KINDS = {
    "resilience4j": "resilience4j",
    "envoy": "envoy",
    "haproxy": "haproxy",
    "nginx": "nginx",
    "caddy": "caddy",
    "opossum": "opossum",
    "hystrix": "hystrix",
    "pybreaker": "pybreaker",
    "aiobreaker": "aiobreaker",
    "purgatory": "purgatory",
    "gobreaker": "gobreaker",
    "prometheus": "prometheus",
    "json": "documents",
}
"""Kind -> its module, which has one function ``reader(address) -> Reader``."""
LATE_MOST_S = 60.0


def open_reader(spec: str, *, links: Sequence[str] = ()) -> tuple[Address, Reader, Traps]:
    """Return the reader of *spec*, ``KIND:URL#options``, with its address and traps; nothing is read yet.

    Options of every kind: ``every_s`` (0.2), ``timeout_s`` (2), ``late_s`` (0: how late a state may be told),
    ``link`` (of several *links*, the one behind the breaker that is read).

    Raises:
        UsageError: There is no such kind, option or link, or an option has a wrong value.
    """
    address = parse(spec)
    if address.kind not in KINDS:
        raise UsageError(f"--whitebox: no kind is called {address.kind!r}; there are {', '.join(KINDS)}")
    reader: Reader = import_module(f"agent.whitebox.{KINDS[address.kind]}").reader(address)
    late_s = address.number("late_s", 0.0, 0.0, LATE_MOST_S)
    traps = replace(reader.traps, late_s=reader.traps.late_s + late_s)
    if address.link and links and address.link not in links:
        raise UsageError(f"--whitebox {address.kind}: no link is called {address.link!r}")
    assert address.every_s > 0
    assert address.timeout_s > 0
    address.check()
    return address, reader, traps
