"""Queueing disciplines through ``tc`` and ``ip``: what an interface has, and whether netem exists here."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agent.clients import netns
from agent.model import GamedayError, NoTargets, Unsupported

if TYPE_CHECKING:
    from collections.abc import Sequence

TIMEOUT_S = 4.0
DEFAULT_HANDLE = "0:"
"""The handle of a qdisc that the kernel put there by itself (tc(8))."""
_SBIN = os.pathsep.join(("/usr/sbin", "/sbin"))


class TcError(GamedayError):
    """tc or ip said no; of several commands the earlier ones took effect."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Qdisc:
    """One queueing discipline of an interface; *delay_s* is 0 for kinds that have none."""

    kind: str
    handle: str
    is_root: bool = False
    parent: str = ""
    delay_s: float = 0.0
    packets: int = 0


def tc(commands: Sequence[str]) -> None:
    """Execute *commands*, each a line as after ``tc``, in order, in this thread's network namespace.

    Raises:
        TcError: One was refused; the ones before it took effect.
        Unsupported: tc is not installed.
    """
    _call("tc", ["-batch", "-"], "\n".join(commands) + "\n")


def qdiscs(device: str) -> tuple[Qdisc, ...]:
    """Return what *device* of this thread's network namespace has; nothing when there is no such device.

    Raises:
        TcError: It cannot be read.
    """
    try:
        listed = _call("tc", ["-s", "-j", "qdisc", "show", "dev", device])
    except TcError as error:
        if "Cannot find device" in str(error):
            return ()
        raise
    return parse_qdiscs(json.loads(listed or "[]"))


def parse_qdiscs(listed: Sequence[dict[str, Any]]) -> tuple[Qdisc, ...]:
    """Return the JSON that ``tc -j qdisc show`` prints, with or without ``-s``."""
    return tuple(
        Qdisc(
            kind=each["kind"],
            handle=each["handle"],
            is_root=bool(each.get("root")),
            parent=each.get("parent", ""),
            delay_s=float(each.get("options", {}).get("delay", {}).get("delay", 0.0)),
            packets=int(each.get("packets", 0)),
        )
        for each in listed
    )


def delete_root(device: str, handle: str) -> None:
    """Take the root qdisc *handle* with all below it off *device*; harmless if it is not there.

    The kernel compares the handle, so that a qdisc that somebody else put there stays.

    Raises:
        TcError: It is still there.
    """
    try:
        tc([f"qdisc del dev {device} root handle {handle}"])
    except TcError:
        if any(each.handle == handle for each in qdiscs(device)):
            raise


def device_towards(address: str) -> str:
    """Return the interface of this thread's network namespace through which *address* is reached.

    Raises:
        NoTargets: There is no route.
    """
    try:
        routes = json.loads(_call("ip", ["-j", "route", "get", address]))
    except TcError as error:
        raise NoTargets(f"no route to {address}: {error}") from error
    return str(routes[0]["dev"])


def links() -> tuple[str, ...]:
    """Return the interfaces of this thread's network namespace, the loopback left out."""
    listed = json.loads(_call("ip", ["-j", "link", "show"]))
    return tuple(str(each["ifname"]) for each in listed if "LOOPBACK" not in each["flags"])


@functools.cache
def why_no_netem() -> str | None:
    """Return why this machine cannot delay packets, or None when it can.

    Found out by doing it on the loopback of a network namespace that is thrown away; once a process.
    """
    return _why_not(["qdisc add dev lo root netem delay 1ms"], "netem") or _why_not(_TRIAL, "prio or u32")


_TRIAL = (
    "qdisc add dev lo root handle 1: prio bands 4",
    "qdisc add dev lo parent 1:4 handle 2: netem delay 1ms",
    "filter add dev lo parent 1: protocol ip prio 1 u32 match ip dst 127.0.0.1/32 flowid 1:4",
)


def _why_not(commands: Sequence[str], what: str) -> str | None:
    try:
        netns.thrown_away(lambda: tc(commands))
    except Unsupported as error:
        return str(error)
    except TcError as error:
        if "kind is unknown" in str(error):
            return f"unsupported: this kernel has no {what}"
        return f"unsupported: {error}"
    return None


def _call(name: str, arguments: list[str], script: str = "") -> str:
    program = shutil.which(name) or shutil.which(name, path=_SBIN)
    if program is None:
        raise Unsupported(f"unsupported: {name} is not installed (Debian: apt-get install iproute2)")
    try:
        done = subprocess.run(
            [program, *arguments],
            input=script,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
    except subprocess.TimeoutExpired:
        raise TcError(f"{name} did not answer within {TIMEOUT_S:g} s") from None
    if done.returncode != 0:
        raise TcError(f"{name}: {' '.join(done.stderr.split())}")
    return done.stdout
