"""Cuts and slows the network of pods, towards named peers, from inside the pods themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from agent.faults.inside.far import Far
from agent.faults.inside.follow import Near
from agent.faults.inside.towards import cut, hold
from agent.faults.kernel.cuts import GRAIN
from agent.faults.kernel.scope import check_delay
from agent.model import UsageError
from agent.safety.targets import Choice

if TYPE_CHECKING:
    from typing import Any

    from agent.model import Json

__all__ = ["IN_A_JOB", "delay", "drop", "fail_requests", "partition"]

IN_A_JOB = True
"""The stream, the lease and the kernel of the pod that is hit end every fault here."""
DOWNSTREAM = "downstream"
"""Towards whoever opened a connection: held once a round trip, as netem holds it."""


def partition(
    *,
    namespace: str,
    selector: str,
    peers: list[str] | None = None,
    port: int | None = None,
    protocol: str = "any",
    direction: str = "both",
    quantity: int | None = None,
    fraction: float | None = None,
    seed: int | None = None,
    allow_bare: bool = True,
    follow: bool = False,
    max_duration_s: float = 60.0,
) -> dict[str, Json]:
    """Lose every packet between pods and *peers*, established connections included.

    An ephemeral container with NET_ADMIN, of the agent's own image, does it in the pod's network: no
    mesh, no feature of the network plugin, no change to the application.  It stays listed in the pod,
    ended; nothing listens in the pod.  DNS and the API server pass unless they are named.

    Args:
        namespace: Where; it has to be in ``GAMEDAY_NAMESPACES``.
        selector: Label selector of the pods whose network is cut; never empty.
        peers: Addresses, networks, ``service/NAME`` or ``pods/SELECTOR`` of the same namespace, or
            ``host/NAME`` as the pod's own resolver sees it; none means everybody, and then *port* is
            needed.
        port: Only packets with this port at either end, as the pod sees them: a Service's own port on
            the way to a Service.
        protocol: ``tcp``, ``udp`` or ``any``.
        direction: ``egress`` (packets that leave the pod), ``ingress`` or ``both``.
        quantity: How many pods; give this or *fraction*, or neither for one.
        fraction: Which share of the matching pods, rounded down.
        seed: Repeats the choice.
        allow_bare: Also choose pods that nothing replaces; nothing has to replace them here.
        follow: While it lasts, hit pods that came in the place of victims or that a *fraction* of more
            pods asks for, within the radius, and look peers up again.  Hosts are looked up again anyway.
        max_duration_s: The fault ends after this, whatever happens; 0 < max_duration_s <= 86400.

    Returns:
        ``{"victims": ["shop/shard-2"], "landed": true, "dose": {"measured": {...}}}``; the packets are
        counted when it is healed.

    Raises:
        UsageError: An argument makes no sense.  Nothing was injected.
        NoTargets: No pod may be hit, or a peer has no address.  Nothing was injected.
        Refused: A namespace, a right or the radius says no.  Nothing was injected.
        Unsupported: The namespace admits no NET_ADMIN.  Nothing was injected.
        NoInjector: The container did not come up or refused; what was in was taken out again.

    Undo:
        Tells the injectors to take their rules out, or takes them out by a command; harmless where
        there are none.  A pod that is gone is healed.

    Dead man:
        The stream from this process: its end heals at once.  Silence heals after the lease, by the
        injector, and without it by the kernel, whose set elements time out.
    """
    choice = Choice(quantity=quantity, fraction=fraction, seed=seed)
    near = Near(namespace=namespace, selector=selector, choice=choice, allow_bare=allow_bare, follow=follow)
    far = Far(peers=tuple(peers or ()), port=port, protocol=protocol, direction=direction)
    return cut("pods.partition", near, far, loss_fraction=1.0, max_duration_s=max_duration_s)


def drop(
    *,
    namespace: str,
    selector: str,
    loss_fraction: float,
    peers: list[str] | None = None,
    port: int | None = None,
    protocol: str = "any",
    direction: str = "both",
    quantity: int | None = None,
    fraction: float | None = None,
    seed: int | None = None,
    allow_bare: bool = True,
    follow: bool = False,
    max_duration_s: float = 60.0,
) -> dict[str, Json]:
    """Lose *loss_fraction* of the packets between pods and *peers*, each by chance.

    Args:
        namespace: As for :func:`partition`, like everything below but *loss_fraction*.
        selector: Whose network.
        loss_fraction: The share of packets, 0.0001 to 1.
        peers: Towards whom.
        port: Only packets with this port at either end.
        protocol: ``tcp``, ``udp`` or ``any``.
        direction: ``egress``, ``ingress`` or ``both``.
        quantity: How many pods.
        fraction: Which share of the matching pods.
        seed: Repeats the choice of pods.
        allow_bare: Also choose pods that nothing replaces.
        follow: Whether pods and peers that come later are hit.
        max_duration_s: The fault ends after this, whatever happens.

    Returns:
        As :func:`partition`.

    Raises:
        UsageError: An argument makes no sense.  Nothing was injected.
        NoTargets: As for :func:`partition`, like everything below.
        Refused: The same.
        Unsupported: The same.
        NoInjector: The same.

    Undo:
        As for :func:`partition`.

    Dead man:
        As for :func:`partition`.
    """
    if not 1 / GRAIN <= loss_fraction <= 1:
        raise UsageError(f"loss_fraction: {loss_fraction!r} is not between 0.0001 and 1")
    choice = Choice(quantity=quantity, fraction=fraction, seed=seed)
    near = Near(namespace=namespace, selector=selector, choice=choice, allow_bare=allow_bare, follow=follow)
    far = Far(peers=tuple(peers or ()), port=port, protocol=protocol, direction=direction)
    return cut("pods.drop", near, far, loss_fraction=loss_fraction, max_duration_s=max_duration_s)


def delay(
    *,
    namespace: str,
    selector: str,
    latency_ms: float,
    jitter_ms: float = 0.0,
    peers: list[str] | None = None,
    port: int | None = None,
    protocol: str = "any",
    direction: str = "both",
    established: Literal["reset", "keep"] = "reset",
    quantity: int | None = None,
    fraction: float | None = None,
    seed: int | None = None,
    allow_bare: bool = True,
    follow: bool = False,
    max_duration_s: float = 60.0,
) -> dict[str, Json]:
    """Make each round trip between pods and *peers* take *latency_ms* longer, plus or minus *jitter_ms*.

    By netem where the node's kernel has it.  Else TCP connections are led through a proxy in the same
    container, which holds what goes back to whoever opened one; what is open already is reset, so that
    it comes again through the proxy, and what goes through it ends when the fault is healed.  With a
    proxy, a connection itself comes up at once, and one that a peer opens seems to come from the pod's
    own address.  The dose says ``by`` which it was.

    Args:
        namespace: As for :func:`partition`, like everything below but what is told here.
        selector: Whose network.
        latency_ms: 0 < latency_ms <= 60000.
        jitter_ms: Half-width of a uniform spread, 0 <= jitter_ms <= latency_ms.
        peers: Towards whom.
        port: The port of the end that listens: of the peer for what the pod opens (``egress``), of the
            pod for what a peer opens (``ingress``).
        protocol: ``tcp``, ``udp`` or ``any``; a proxy holds TCP only.
        direction: Who opens the connection: the pod (``egress``), a peer (``ingress``), or ``both``.
        established: ``keep`` leaves open connections alone; netem holds them all the same.
        quantity: How many pods.
        fraction: Which share of the matching pods.
        seed: Repeats the choice of pods.
        allow_bare: Also choose pods that nothing replaces.
        follow: Whether pods and peers that come later are hit.
        max_duration_s: The fault ends after this, whatever happens.

    Returns:
        As :func:`partition`; measured are ``by``, ``own_round_trip_ms`` or ``round_trip_ms``, and when it
        is healed ``packets_delayed``, or ``connections``, ``held``, ``held_p50_ms``, ``held_p99_ms``.

    Raises:
        UsageError: An argument makes no sense.  Nothing was injected.
        NoTargets: As for :func:`partition`, like everything below.
        Refused: The same.
        Unsupported: The same.
        NoInjector: The same; also where a pod can neither netem nor redirect.

    Undo:
        As for :func:`partition`.

    Dead man:
        As for :func:`partition`: rules of the kernel's that end with their lease give packets to netem or
        lead connections to the proxy.
    """
    check_delay(latency_ms, jitter_ms)
    toxic: dict[str, Any] = {"kind": "delay", "latency_ms": float(latency_ms), "jitter_ms": float(jitter_ms)}
    toxic |= {"direction": DOWNSTREAM}
    choice = Choice(quantity=quantity, fraction=fraction, seed=seed)
    near = Near(namespace=namespace, selector=selector, choice=choice, allow_bare=allow_bare, follow=follow)
    far = Far(peers=tuple(peers or ()), port=port, protocol=protocol, direction=direction)
    return hold("pods.delay", near, far, toxic=toxic, established=established, max_duration_s=max_duration_s)


def fail_requests(
    *,
    namespace: str,
    selector: str,
    status: int = 503,
    path: str = "*",
    header: str = "",
    value: str = "*",
    toxicity: float = 1.0,
    peers: list[str] | None = None,
    port: int | None = None,
    direction: str = "both",
    established: Literal["reset", "keep"] = "reset",
    quantity: int | None = None,
    fraction: float | None = None,
    seed: int | None = None,
    allow_bare: bool = True,
    follow: bool = False,
    max_duration_s: float = 60.0,
) -> dict[str, Json]:
    """Answer HTTP/1.1 requests between pods and *peers* with *status* in the upstream's place.

    A proxy in the pod does it, as for :func:`delay`; what is no plain HTTP/1.1 passes.

    Args:
        namespace: As for :func:`delay`, like everything below but what is told here.
        selector: Whose network.
        status: 100 <= status <= 599.
        path: Only requests whose target matches this pattern.
        header: Only requests with this header, whose value matches *value*.
        value: The pattern for *header*.
        toxicity: The share of matching requests, 0 to 1.
        peers: Towards whom.
        port: The port of the end that listens.
        direction: Who opens the connection.
        established: ``keep`` leaves open connections alone.
        quantity: How many pods.
        fraction: Which share of the matching pods.
        seed: Repeats the choice of pods, and of requests.
        allow_bare: Also choose pods that nothing replaces.
        follow: Whether pods and peers that come later are hit.
        max_duration_s: The fault ends after this, whatever happens.

    Returns:
        As :func:`delay`; ``failed`` requests are counted when it is healed.

    Raises:
        UsageError: An argument makes no sense.  Nothing was injected.
        NoTargets: As for :func:`partition`, like everything below.
        Refused: The same.
        Unsupported: The same.
        NoInjector: The same.

    Undo:
        As for :func:`partition`.

    Dead man:
        As for :func:`delay`.
    """
    if not 100 <= status <= 599:
        raise UsageError(f"status: {status!r} is not between 100 and 599")
    if not 0 <= toxicity <= 1:
        raise UsageError(f"toxicity: {toxicity!r} is not between 0 and 1")
    toxic: dict[str, Any] = {"kind": "fail_requests", "status": float(status), "path": path}
    toxic |= {"header": header, "value": value, "toxicity": toxicity}
    toxic |= {} if seed is None else {"seed": seed}
    choice = Choice(quantity=quantity, fraction=fraction, seed=seed)
    near = Near(namespace=namespace, selector=selector, choice=choice, allow_bare=allow_bare, follow=follow)
    far = Far(peers=tuple(peers or ()), port=port, protocol="tcp", direction=direction)
    return hold(
        "pods.fail_requests", near, far, toxic=toxic, established=established, max_duration_s=max_duration_s
    )
