"""What this machine can do, and for what it cannot, why and what to do about it."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.clients import netns, nft, tc
from agent.model import GamedayError, Unsupported
from agent.proxy.client import ProxyClient
from agent.sandbox import state as sandbox_state
from agent.store import Store
from agent.store.shared import Shared

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.settings import Settings

FREE_MIN_BYTES = 100 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at: does it work, and the reason in a sentence."""

    name: str
    ok: bool
    says: str


def examine(settings: Settings) -> tuple[Finding, ...]:
    """Return every finding; none of the checks changes anything but a throw-away network namespace."""
    checks: dict[str, Callable[[Settings], str]] = {
        "python": _python,
        "state folder": _state_folder,
        "kill switch": _kill_switch,
        "ledger": _ledger,
        "shared store": _shared,
        "root": _root,
        "nft (packets)": _nft,
        "netem (packets.delay)": _netem,
        "fault proxy (links)": _proxy,
        "sandbox": _sandbox,
    }
    return tuple(_ask(name, check, settings) for name, check in checks.items())


def _ask(name: str, check: Callable[[Settings], str], settings: Settings) -> Finding:
    try:
        return Finding(name=name, ok=True, says=check(settings))
    except (GamedayError, OSError) as error:
        return Finding(name=name, ok=False, says=str(error))


def _python(_: Settings) -> str:
    return f"{platform.python_version()} on {platform.platform(terse=True)}"


def _state_folder(settings: Settings) -> str:
    Store(settings.home).close()
    free = shutil.disk_usage(settings.home).free
    if free < FREE_MIN_BYTES:
        raise Unsupported(f"{settings.home}: only {free >> 20} MiB are free; reports need some")
    return f"{settings.home} can be written, {free >> 20} MiB free"


def _kill_switch(settings: Settings) -> str:
    store = Store(settings.home)
    try:
        reason = store.halted()
    finally:
        store.close()
    if reason is not None:
        raise Unsupported(f"halted: {reason}; `gameday resume` lifts it")
    return "off"


def _ledger(settings: Settings) -> str:
    store = Store(settings.home)
    try:
        broken = store.injections(open_only=True)
    finally:
        store.close()
    if broken:
        raise Unsupported(f"{len(broken)} injections are open; `gameday ledger` lists them")
    return "nothing is broken"


def _shared(settings: Settings) -> str:
    if settings.store is None:
        raise Unsupported("GAMEDAY_STORE is not set: this agent knows of no other")
    shared = Shared(settings.store)
    try:
        reason = shared.halted()
    finally:
        shared.close()
    if reason is not None:
        raise Unsupported(f"all agents are halted: {reason}; `gameday resume` lifts it")
    return f"{shared.shown} answers"


def _root(_: Settings) -> str:
    if os.geteuid() != 0:
        raise Unsupported("not root, so packets cannot be touched; processes of others neither")
    return "this process is root"


def _linux() -> None:
    if sys.platform != "linux":
        raise Unsupported("packets are Linux only")
    if os.geteuid() != 0:
        raise Unsupported("needs root")


def _nft(_: Settings) -> str:
    _linux()
    if shutil.which("nft") is None:
        raise Unsupported("there is no nft; install nftables")
    ours = [name for name in nft.tables(netns.own()) if name.startswith("gameday")]
    if ours:
        raise Unsupported(f"nft has tables of an injection: {', '.join(ours)}; `gameday ledger` tells whose")
    return "works"


def _netem(_: Settings) -> str:
    _linux()
    if why := tc.why_no_netem():
        raise Unsupported(why)
    return "works"


def _proxy(settings: Settings) -> str:
    client = ProxyClient.of(settings)
    return f"at {client.api}, {len(client.links())} links"


def _sandbox(settings: Settings) -> str:
    running = sandbox_state.read(settings.home)
    if running is None:
        raise Unsupported("none runs in this home; `gameday sandbox up` starts one")
    return f"at {running['url']}"
