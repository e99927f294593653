"""Makes links of the fault proxy fail: slow, silent, refused, reset, narrow, or wrong answers."""

from __future__ import annotations

import socket
import time
import uuid
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from agent import settings as settings_of
from agent.model import Call, Fact, NoTargets
from agent.proxy.client import ProxyClient, ProxyGone
from agent.safety.door import inject
from agent.safety.targets import Choice

if TYPE_CHECKING:
    from agent.model import Json

CONNECT_WITHIN_S = 1.0


def delay(
    *,
    link: str,
    latency_ms: float,
    jitter_ms: float = 0.0,
    direction: str = "downstream",
    toxicity: float = 1.0,
    quantity: int | None = None,
    fraction: float | None = None,
    seed: int | None = None,
    proxy: str | None = None,
    max_duration_s: float = 60.0,
) -> dict[str, Json]:
    """Hold every chunk that crosses *link* for *latency_ms*, plus or minus *jitter_ms*.

    Args:
        link: Name or glob of links of the fault proxy.
        latency_ms: Delay of each chunk, > 0.
        jitter_ms: Half-width of a uniform spread, 0 <= jitter_ms <= latency_ms.
        direction: ``downstream`` (towards the client), ``upstream`` or ``both``.
        toxicity: The share of connections that are hit, 0 to 1.
        quantity: How many of the matching links; give this or *fraction*, or neither for one.
        fraction: Which share of the matching links, rounded down.
        seed: Repeats the choice of links and connections.
        proxy: The proxy's API; default: the setting, else the proxy of this home.
        max_duration_s: The fault ends after this, whatever happens.

    Returns:
        ``{"victims": [...], "landed": true, "dose": {"asked": {"latency_ms": 80.0}, ...}}``

    Raises:
        NoTargets: No link matches.  Nothing was injected.
        RadiusExceeded: More links match than the run may hit.  Nothing was injected.
        ProxyUnreachable: Nobody answers at the proxy's API.  Nothing was injected.

    Undo:
        Takes the toxic off the link; harmless if it is not there.

    Dead man:
        The reaper, and the lease that the proxy itself holds.
    """
    fields: dict[str, Json] = {"latency_ms": latency_ms, "jitter_ms": jitter_ms, "direction": direction}
    return _inject("delay", link, fields, toxicity, quantity, fraction, seed, proxy, max_duration_s)


def partition(
    *,
    link: str,
    direction: str = "both",
    lost: bool = False,
    toxicity: float = 1.0,
    quantity: int | None = None,
    fraction: float | None = None,
    seed: int | None = None,
    proxy: str | None = None,
    max_duration_s: float = 60.0,
) -> dict[str, Json]:
    """Let nothing cross *link*: connections stay open and silent, as behind a cut cable.

    Args, Returns and Raises as for :func:`delay`; *direction* cuts one side only.  Where what is held is
    *lost*, the connections that it was held on stay silent afterwards, until one side ends them: so they do
    where the far end was started anew and knows nothing of them.

    Undo:
        Takes the toxic off the link, and what was held goes on, as TCP would, unless it is to be lost;
        harmless if not there.

    Dead man:
        The reaper, and the lease that the proxy itself holds.
    """
    fields: dict[str, Json] = {"direction": direction, "held": "lost" if lost else "kept"}
    return _inject("partition", link, fields, toxicity, quantity, fraction, seed, proxy, max_duration_s)


def refuse(
    *,
    link: str,
    keep_open: bool = False,
    quantity: int | None = None,
    fraction: float | None = None,
    seed: int | None = None,
    proxy: str | None = None,
    max_duration_s: float = 60.0,
) -> dict[str, Json]:
    """Refuse connections to *link* and reset those that are open, as when the process behind it is gone.

    Args, Returns and Raises as for :func:`delay`; *keep_open* leaves open connections alone.

    Undo:
        Takes the toxic off the link, which listens again; harmless if it is not there.

    Dead man:
        The reaper, and the lease that the proxy itself holds.
    """
    fields: dict[str, Json] = {"connections": "kept" if keep_open else "reset"}
    return _inject("refuse", link, fields, 1.0, quantity, fraction, seed, proxy, max_duration_s)


def reset(
    *,
    link: str,
    on: str = "connect",
    toxicity: float = 1.0,
    quantity: int | None = None,
    fraction: float | None = None,
    seed: int | None = None,
    proxy: str | None = None,
    max_duration_s: float = 60.0,
) -> dict[str, Json]:
    """Reset connections of *link*, old and new: at once, or each with its next request.

    Args, Returns and Raises as for :func:`delay`; *on* is ``connect`` (at once) or ``request``.

    Undo:
        Takes the toxic off the link; harmless if it is not there.

    Dead man:
        The reaper, and the lease that the proxy itself holds.
    """
    fields: dict[str, Json] = {"on": on}
    return _inject("reset", link, fields, toxicity, quantity, fraction, seed, proxy, max_duration_s)


def throttle(
    *,
    link: str,
    bytes_per_s: float,
    direction: str = "downstream",
    toxicity: float = 1.0,
    quantity: int | None = None,
    fraction: float | None = None,
    seed: int | None = None,
    proxy: str | None = None,
    max_duration_s: float = 60.0,
) -> dict[str, Json]:
    """Let each connection of *link* carry *bytes_per_s* at most, >= 1.

    Args, Returns and Raises as for :func:`delay`.

    Undo:
        Takes the toxic off the link; harmless if it is not there.

    Dead man:
        The reaper, and the lease that the proxy itself holds.
    """
    fields: dict[str, Json] = {"bytes_per_s": bytes_per_s, "direction": direction}
    return _inject("throttle", link, fields, toxicity, quantity, fraction, seed, proxy, max_duration_s)


def fail_requests(
    *,
    link: str,
    status: int = 503,
    path: str = "*",
    header: str = "",
    value: str = "*",
    toxicity: float = 1.0,
    quantity: int | None = None,
    fraction: float | None = None,
    seed: int | None = None,
    proxy: str | None = None,
    max_duration_s: float = 60.0,
) -> dict[str, Json]:
    """Answer HTTP requests on *link* with *status* in the upstream's place; it never sees them.

    Args:
        link: Name or glob of links of the fault proxy.
        status: 400 to 599.
        path: Glob; only requests whose path matches.
        header: Only requests that carry this header, with a value that matches the glob *value*.
        value: See *header*.
        toxicity: The share of matching requests that fail, 0 to 1.
        quantity: As for :func:`delay`, and so are the rest, Returns and Raises.
        fraction: See :func:`delay`.
        seed: See :func:`delay`.
        proxy: See :func:`delay`.
        max_duration_s: See :func:`delay`.

    Undo:
        Takes the toxic off the link; harmless if it is not there.

    Dead man:
        The reaper, and the lease that the proxy itself holds.
    """
    fields: dict[str, Json] = {"status": status, "path": path, "header": header, "value": value}
    return _inject("fail_requests", link, fields, toxicity, quantity, fraction, seed, proxy, max_duration_s)


def _inject(
    kind: str,
    link: str,
    fields: dict[str, Json],
    toxicity: float,
    quantity: int | None,
    fraction: float | None,
    seed: int | None,
    proxy: str | None,
    max_duration_s: float,
) -> dict[str, Json]:
    settings = settings_of.current()
    client = ProxyClient.of(settings, proxy)
    links = {each["name"]: each for each in client.links()}
    matching = [name for name in links if fnmatchcase(name, link)]
    if not matching:
        raise NoTargets(f"no link of the proxy at {client.api} matches {link!r}; it has {', '.join(links)}")
    victims = Choice(quantity=quantity, fraction=fraction, seed=seed).of(matching)
    toxic, lease_s = uuid.uuid4().hex, settings.lease_s
    asked: dict[str, Json] = {"kind": kind, **fields, "toxicity": toxicity}
    if seed is not None:
        asked["seed"] = seed

    def apply() -> None:
        for name in victims:
            client.put_toxic(name, toxic, **asked, lease_s=lease_s, max_duration_s=max_duration_s)

    place: dict[str, Json] = {"api": client.api, "links": list(victims), "toxic": toxic}
    addresses: dict[str, Json] = {name: links[name]["listen"] for name in victims}
    return inject(
        fault=f"links.{kind}",
        victims=victims,
        population=len(links),
        apply=apply,
        undo=Call(func=f"{__name__}:remove", arguments={**place, "needs_traffic": kind != "refuse"}),
        landed_check=Call(
            func=f"{__name__}:is_in",
            arguments={**place, "refused": addresses if kind == "refuse" else {}},
        ),
        gone_check=Call(func=f"{__name__}:is_out", arguments={**place, "addresses": addresses}),
        renew=Call(func=f"{__name__}:renew", arguments={**place, "lease_s": lease_s}),
        lease_s=lease_s,
        max_duration_s=max_duration_s,
        asked={key: each for key, each in asked.items() if key != "kind"},
    )


# undo and checks: what the ledger names


def remove(*, api: str, links: list[str], toxic: str, needs_traffic: bool) -> Fact | None:
    """Take the toxic off *links* and return the dose over its life; None if it was not there."""
    client = _proxy(api)
    try:
        taken = [gone for name in links if (gone := client.delete_toxic(name, toxic))["found"]]
    except ProxyGone:
        return None
    if not taken:
        return None
    measured: dict[str, Json] = {"lasted_s": max(each["lasted_s"] for each in taken)}
    doses = [each["dose"] for each in taken]
    for name in ("n", "bytes"):
        measured[name] = sum(dose[name] for dose in doses)
    for name in ("held_p50_ms", "held_p99_ms"):
        if held := [dose[name] for dose in doses if name in dose]:
            measured[name] = min(held)  # of several links, the one that was held least
    missed = needs_traffic and not any(each["dose"]["n"] for each in taken)
    return Fact(holds=not missed, says="it met no traffic" if missed else "", measured=measured)


def is_in(*, api: str, links: list[str], toxic: str, refused: dict[str, str]) -> Fact:
    """Tell whether every link has the toxic and, for a refusal, whether it really refuses."""
    client = _proxy(api)
    missing = [name for name in links if not client.get_toxic(name, toxic)["found"]]
    if missing:
        return Fact(holds=False, says=f"no toxic on {', '.join(missing)}")
    accepting = [name for name, address in refused.items() if _accepts(address)]
    return Fact(holds=not accepting, says=f"{', '.join(accepting)} still accepts" if accepting else "")


def is_out(*, api: str, links: list[str], toxic: str, addresses: dict[str, str]) -> Fact:
    """Tell whether no link has the toxic and every link accepts connections."""
    client = _proxy(api)
    try:
        still = [name for name in links if client.get_toxic(name, toxic)["found"]]
    except ProxyGone:
        return Fact(holds=True, says="the proxy is gone, and its toxics with it")
    if still:
        return Fact(holds=False, says=f"the toxic is still on {', '.join(still)}")
    deaf = [name for name, address in addresses.items() if not _accepts(address)]
    return Fact(holds=not deaf, says=f"{', '.join(deaf)} does not accept connections" if deaf else "")


def renew(*, api: str, links: list[str], toxic: str, lease_s: float) -> None:
    """Extend the lease; a toxic that ended is left alone."""
    client = _proxy(api)
    for name in links:
        client.renew_toxic(name, toxic, lease_s)


def _proxy(api: str) -> ProxyClient:
    """Return the proxy at *api*; its token is looked up anew, so that no record ever holds it."""
    return ProxyClient.of(settings_of.current(), api)


def _accepts(address: str) -> bool:
    host, _, port = address.rpartition(":")
    deadline = time.monotonic() + CONNECT_WITHIN_S
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=deadline - time.monotonic()):
            return True
    except OSError:
        return False
