"""Cuts the network of pods, towards named peers, from inside the pods themselves."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from agent import settings as settings_of
from agent.clients import kubernetes, nft
from agent.faults import pod_streams
from agent.faults.packet_cuts import DNS_PORT, GRAIN
from agent.faults.packet_scope import check_duration, scope
from agent.faults.pod_choice import candidates
from agent.faults.pod_peers import addresses_of, api_server
from agent.injector.orders import Cut
from agent.model import Call, UsageError
from agent.safety.door import inject
from agent.safety.targets import choose

if TYPE_CHECKING:
    from agent.clients.kubernetes import Api
    from agent.faults.packet_scope import Scope
    from agent.model import Json

__all__ = ["IN_A_JOB", "drop", "partition"]

IN_A_JOB = True
"""The stream, the lease and the kernel of the pod that is hit end every cut."""


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
    max_duration_s: float = 60.0,
) -> dict[str, Json]:
    """Lose every packet between pods and *peers*, established connections included.

    An ephemeral container with NET_ADMIN, of the agent's own image, does it in the pod's network: no
    mesh, no feature of the network plugin, no change to the application.  It stays listed in the pod,
    ended; nothing listens in the pod.  DNS and the API server pass unless they are named.

    Args:
        namespace: Where; it has to be in ``GAMEDAY_NAMESPACES``.
        selector: Label selector of the pods whose network is cut; never empty.
        peers: Addresses, networks, ``service/NAME`` or ``pods/SELECTOR`` of the same namespace,
            looked up once; none means everybody, and then *port* is needed.
        port: Only packets with this port at either end, as the pod sees them: a Service's own port on
            the way to a Service.
        protocol: ``tcp``, ``udp`` or ``any``.
        direction: ``egress`` (packets that leave the pod), ``ingress`` or ``both``.
        quantity: How many pods; give this or *fraction*, or neither for one.
        fraction: Which share of the matching pods, rounded down.
        seed: Repeats the choice.
        allow_bare: Also choose pods that nothing replaces; nothing has to replace them here.
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
    return _cut(
        "pods.partition",
        _Victims(namespace, selector, quantity, fraction, seed, allow_bare),
        _Far(peers, port, protocol, direction),
        loss_fraction=1.0,
        max_duration_s=max_duration_s,
    )


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
    return _cut(
        "pods.drop",
        _Victims(namespace, selector, quantity, fraction, seed, allow_bare),
        _Far(peers, port, protocol, direction),
        loss_fraction=loss_fraction,
        max_duration_s=max_duration_s,
    )


@dataclass(frozen=True, slots=True)
class _Victims:
    """Whose network, as the arguments of a fault say it."""

    namespace: str
    selector: str
    quantity: int | None
    fraction: float | None
    seed: int | None
    allow_bare: bool


@dataclass(frozen=True, slots=True)
class _Far:
    """Towards whom, as the arguments of a fault say it."""

    peers: list[str] | None
    port: int | None
    protocol: str
    direction: str


def _cut(
    fault: str, near: _Victims, far: _Far, *, loss_fraction: float, max_duration_s: float
) -> dict[str, Json]:
    check_duration(max_duration_s)
    lease_s = settings_of.current().lease_s
    image = settings_of.current().image
    with kubernetes.connect() as api:
        found = candidates(api, near.namespace, near.selector, unready=True, allow_bare=near.allow_bare)
        one = 1 if near.quantity is None and near.fraction is None else near.quantity
        names = choose(list(found.targets), quantity=one, fraction=near.fraction, seed=near.seed)
        pods = {found.targets[name].pod.name: found.targets[name].pod.uid for name in names}
        pod_streams.check_rights(api, near.namespace)
        order = Cut(
            table=nft.PREFIX + uuid.uuid4().hex,
            scope=_scope(api, near.namespace, far),
            loss_fraction=loss_fraction,
            lease_s=lease_s,
            max_duration_s=max_duration_s,
        )
        held: dict[str, Json] = {"table": order.table, "place": api.place.to_json()}
        held |= {"namespace": near.namespace, "pods": dict(pods)}
        calls = pod_streams.__name__
        return inject(
            fault=fault,
            victims=names,
            population=found.population,
            apply=lambda: pod_streams.begin(api, near.namespace, pods, order=order, image=image),
            undo=Call(func=f"{calls}:remove", arguments=held),
            landed_check=Call(func=f"{calls}:landed", arguments={"table": order.table}),
            gone_check=Call(func=f"{calls}:gone", arguments={**held, "lease_s": lease_s}),
            renew=Call(func=f"{calls}:renew", arguments={"table": order.table, "lease_s": lease_s}),
            lease_s=lease_s,
            max_duration_s=max_duration_s,
            asked={
                "loss_fraction": loss_fraction,
                "direction": far.direction,
                "towards": list(order.scope.victims),
            },
        )


def _scope(api: Api, namespace: str, far: _Far) -> Scope:
    """Return the packets meant, sparing DNS and the API server unless they are what is named."""
    addresses = addresses_of(api, namespace, far.peers or [])
    meant = scope(peers=addresses, port=far.port, protocol=far.protocol, direction=far.direction)
    wide = [network for network in meant.networks if network.num_addresses > 1]
    spared = api_server(api) if wide or not meant.networks else ()
    kept = tuple(each for each in spared if each not in meant.networks)
    return replace(meant, spared=kept, spares_dns=far.port != DNS_PORT)
