"""nftables through its own command: a script in, a table out; knows no particular fault."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agent.model import GamedayError, Unsupported

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.clients.netns import Namespace

PREFIX = "gameday_"
"""Every table of this agent starts with this, so that a person and `gameday doctor` know whose it is."""
TIMEOUT_S = 4.0


class NftError(GamedayError):
    """nft said no; its transactions are atomic, so nothing of the script took effect."""


class NotThereError(NftError):
    """The table, set or element is not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table as the kernel holds it now: live elements of its sets, packets of its counters."""

    elements: Mapping[str, frozenset[str]] = field(default_factory=dict)
    packets: Mapping[str, int] = field(default_factory=dict)


def run(space: Namespace, script: str) -> None:
    """Execute *script* in *space* as one transaction.

    Raises:
        NftError: It was refused; nothing of it took effect.
        NamespaceGone: The namespace is gone.
        Unsupported: nft is not installed.
    """
    _nft(space, ["-f", "-"], script)


def check(space: Namespace, script: str) -> None:
    """Let the kernel verify *script* in *space* without executing it.

    Raises:
        Unsupported: nft is missing or may not be used, or this kernel cannot do what the script asks.
    """
    try:
        _nft(space, ["-c", "-f", "-"], script)
    except NftError as error:
        raise Unsupported(f"unsupported: {error}") from error


def table(space: Namespace, name: str) -> Table | None:
    """Return table *name* of *space*, or None when there is none.

    Raises:
        NftError: It cannot be read.
        NamespaceGone: The namespace is gone.
    """
    try:
        listed = _nft(space, ["-j", "list", "table", "inet", name])
    except NotThereError:
        return None
    return parse_table(json.loads(listed))


def tables(space: Namespace) -> tuple[str, ...]:
    """Return the names of this agent's tables in *space*, sorted.

    Raises:
        NftError: They cannot be read.
    """
    listed = json.loads(_nft(space, ["-j", "list", "tables", "inet"]))["nftables"]
    names = (entry["table"]["name"] for entry in listed if "table" in entry)
    return tuple(sorted(name for name in names if name.startswith(PREFIX)))


def delete(space: Namespace, name: str) -> None:
    """Delete table *name* of *space* with all that is in it; harmless when there is none.

    Raises:
        NftError: It is still there.
        NamespaceGone: The namespace is gone, and the table with it.
    """
    run(space, f"add table inet {name}\ndelete table inet {name}\n")


def parse_table(listed: Mapping[str, Any]) -> Table:
    """Return the sets and counters in the JSON that ``nft -j list table`` prints.

    Source:
        libnftables-json(5): an element with a timeout is ``{"elem": {"val": …, "timeout": …}}``.
    """
    elements: dict[str, frozenset[str]] = {}
    packets: dict[str, int] = {}
    for entry in listed["nftables"]:
        if "set" in entry:
            elements[entry["set"]["name"]] = frozenset(_value(e) for e in entry["set"].get("elem", ()))
        elif "counter" in entry:
            packets[entry["counter"]["name"]] = int(entry["counter"]["packets"])
    return Table(elements=elements, packets=packets)


def _value(element: Any) -> str:
    return str(element["elem"]["val"] if isinstance(element, dict) and "elem" in element else element)


def _nft(space: Namespace, arguments: list[str], script: str = "") -> str:
    folders = (*os.get_exec_path(), "/usr/sbin", "/sbin")  # an ordinary user's path leaves them out
    program = next((each for each in map("{}/nft".format, folders) if os.access(each, os.X_OK)), None)
    if program is None:
        raise Unsupported("unsupported: nft is not installed (Debian: apt-get install nftables)")

    def call() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [program, *arguments],
            input=script,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )

    try:
        done = space.inside(call)
    except subprocess.TimeoutExpired:
        raise NftError(f"nft did not answer within {TIMEOUT_S:g} s") from None
    if done.returncode != 0:
        raise _error(done.stderr)
    return done.stdout


def _error(stderr: str) -> NftError:
    says = stderr.strip().partition("\n")[0]
    if "No such file or directory" in stderr:
        return NotThereError(f"nft: {says}")
    if "Operation not permitted" in stderr:
        return NftError("nft needs root (CAP_NET_ADMIN in that network namespace)")
    return NftError(f"nft: {says}")
