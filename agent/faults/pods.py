"""Kills pods, each only while its owner can spare it; uses up their resources; fills their volumes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Literal

from agent import settings as settings_of
from agent.clients import kubernetes
from agent.faults.cluster import pod_kills
from agent.faults.cluster.pod_choice import Spared, candidates, check_minimum, spared
from agent.faults.durations import check_duration, check_grace_period, check_wait
from agent.faults.inside import resources as pod_resources
from agent.faults.inside.follow import Near
from agent.faults.inside.injectors import Kit
from agent.faults.inside.placing import Inside, put_inside
from agent.model import Call, UsageError
from agent.safety.door import inject
from agent.safety.targets import Choice

if TYPE_CHECKING:
    from agent.model import Json

IN_A_JOB = True
"""Whoever died: the owner's controller replaces the pods, and the stream's end heals what is inside them."""


def kill(
    *,
    namespace: str,
    selector: str,
    quantity: int | None = None,
    fraction: float | None = None,
    seed: int | None = None,
    by: Literal["eviction", "delete"] = "eviction",
    grace_period_s: int | None = None,
    min_ready: int = 1,
    min_ready_fraction: float | None = None,
    wait_s: float = 10.0,
    unready: bool = False,
    allow_bare: bool = False,
    max_duration_s: float = 120.0,
) -> dict[str, Json]:
    """Kill pods one after the other, by the eviction API, so that PodDisruptionBudgets hold.

    Before each kill the ready pods of the owner are counted again; two agents that choose the same
    pod cannot both kill it.  Never hit: a pod that is ending or has ended, and what is exempt
    (docs/kubernetes.md).

    Args:
        namespace: Where; it has to be in ``GAMEDAY_NAMESPACES``.
        selector: Label selector, such as ``app=gateway``; never empty.
        quantity: How many pods; give this or *fraction*, or neither for one.
        fraction: Which share of the matching pods, rounded down.
        seed: Repeats the choice.
        by: ``eviction``, or ``delete``, which no PodDisruptionBudget stops.
        grace_period_s: Seconds between SIGTERM and SIGKILL, >= 0; None leaves it to the pod.
        min_ready: So many pods of an owner are ready after each kill, >= 0.
        min_ready_fraction: The same as a share of the replicas that the owner wants, rounded up.
        wait_s: How long one kill may wait for a budget or for the minimum, 0 <= wait_s <= 600.
        unready: Also choose among pods that are not ready.
        allow_bare: Also choose pods that nothing replaces; they stay away.
        max_duration_s: The owner may take so long to have its replicas ready again; after that the
            fault counts as not recovered.

    Returns:
        ``{"victims": ["shop/gateway-7d4b9-x2x1"], "landed": true, "dose": {"measured": {"pods": 1}}}``

    Raises:
        UsageError: An argument makes no sense.  Nothing was killed.
        NoTargets: Too few pods match, or what matches may not be hit.  Nothing was killed.
        Refused: A namespace, a budget, the minimum, a right or the radius says no to the first kill.
            Nothing was killed.
        PartlyKilled: Some were killed and then one was refused, or nobody knows whether an order was
            carried out; says which and why.

    Undo:
        Nothing can bring the very pod back: the owner replaces it.  Healed is when the owner has as
        many ready pods again as before (or as it wants by now, if that is less), or is gone itself.

    Dead man:
        The owner's own controller in the cluster, which needs nobody of this agent; a bare pod has
        none, and so needs *allow_bare*.
    """
    if by not in ("eviction", "delete"):
        raise UsageError(f"by: {by!r} is neither eviction nor delete")
    check_grace_period(grace_period_s)
    check_wait(wait_s)
    check_duration(max_duration_s)
    floor = check_minimum(min_ready, min_ready_fraction)
    with kubernetes.connect() as api:
        found = candidates(api, namespace, selector, unready=unready, allow_bare=allow_bare)
        names = Choice(quantity=quantity, fraction=fraction, seed=seed).of(list(found.targets))
        victims = [found.targets[name] for name in names]
        owners = spared(api, victims, floor)
        order = pod_kills.Order(
            by=by, grace_period_s=grace_period_s, floor=floor, unready=unready, wait_s=wait_s
        )
        held: dict[str, Json] = {"place": api.place.to_json(), "namespace": namespace}
        waiting = wait_s * len(victims) + max_duration_s
        return inject(
            fault="pods.kill",
            victims=names,
            population=found.population,
            apply=lambda: pod_kills.kill_each(api, victims, order),
            undo=Call(func=f"{pod_kills.__name__}:nothing_to_undo"),
            landed_check=Call(
                func=f"{pod_kills.__name__}:are_dying",
                arguments={**held, "victims": {each.pod.name: each.pod.uid for each in victims}},
            ),
            gone_check=Call(
                func=f"{pod_kills.__name__}:are_replaced",
                arguments={**held, "owners": _owners(owners), "by": time.time() + waiting},
            ),
            max_duration_s=max_duration_s,
            asked={"pods": len(victims), "by": by},
        )


def stress(
    *,
    namespace: str,
    selector: str,
    cpu_fraction: float | None = None,
    cores: float | None = None,
    memory_fraction: float | None = None,
    memory_bytes: int | None = None,
    quantity: int | None = None,
    fraction: float | None = None,
    seed: int | None = None,
    allow_bare: bool = True,
    follow: bool = False,
    max_duration_s: float = 60.0,
) -> dict[str, Json]:
    """Use up processor time and memory inside pods, up to a share of their limits.

    Processes in an ephemeral container do it, and that has a cgroup of its own inside the pod's: what is
    used counts against the pod's limit, not against that of one container.  The kernel knows a limit of a
    pod only where each of its containers has one.  If the memory runs out, the kernel ends the stress
    first (its ``oom_score_adj`` is 1000), which is told as a missed dose.

    Args:
        namespace: Where; it has to be in ``GAMEDAY_NAMESPACES``.
        selector: Label selector of the pods; never empty.
        cpu_fraction: Share of the pod's CPU limit to use, above 0 and at most 1.
        cores: The same as an absolute number, for pods without a limit; then it presses on the node.
        memory_fraction: Share of the pod's memory limit to take, above 0 and at most 1; what the pod itself
            uses comes on top.
        memory_bytes: The same as an absolute number.
        quantity: How many pods; give this or *fraction*, or neither for one.
        fraction: Which share of the matching pods, rounded down.
        seed: Repeats the choice.
        allow_bare: Also choose pods that nothing replaces; nothing has to replace them here.
        follow: Whether pods that come in the place of victims are hit, within the radius.
        max_duration_s: The fault ends after this, whatever happens.

    Returns:
        ``{"victims": [...], "landed": true, "dose": {"measured": {"cores": 0.41}}}``

    Raises:
        UsageError: An argument makes no sense.  Nothing was injected.
        NoTargets: No pod may be hit, or one has no limit to take a share of.  Nothing was injected.
        Refused: A namespace, a right or the radius says no.  Nothing was injected.
        Unsupported: The namespace admits no such container.  Nothing was injected.
        NoInjector: The container did not come up, or got nothing; what was in was taken out again.

    Undo:
        Tells the injectors to end their processes; the kernel takes time and memory back.

    Dead man:
        The stream from this process: its end heals at once.  Silence heals after the lease, by the
        injector, and without it each process ends itself.
    """
    share = pod_resources.Share(
        cpu_fraction=cpu_fraction, cores=cores, memory_fraction=memory_fraction, memory_bytes=memory_bytes
    )
    share.check()
    choice = Choice(quantity=quantity, fraction=fraction, seed=seed)
    near = Near(namespace=namespace, selector=selector, choice=choice, allow_bare=allow_bare, follow=follow)
    with kubernetes.connect() as api:
        inside = Inside(
            fault="pods.stress",
            near=near,
            kit=Kit(image=settings_of.current().image, capabilities=()),
            asked=share.to_json(),
            max_duration_s=max_duration_s,
            order_of=lambda api, target, table: pod_resources.stress(
                api, target, share, table=table, max_duration_s=max_duration_s
            ),
        )
        return put_inside(api, inside)


def fill_disk(
    *,
    namespace: str,
    selector: str,
    volume: str,
    used_fraction: float,
    quantity: int | None = None,
    fraction: float | None = None,
    seed: int | None = None,
    allow_bare: bool = True,
    follow: bool = False,
    max_duration_s: float = 60.0,
) -> dict[str, Json]:
    """Fill a volume of pods until *used_fraction* of its file system is used.

    A file without a name does it, so that its blocks are free again when the process that holds it
    is gone, whatever ended it.  Only a volume with a file system of its own can be filled: an emptyDir of
    ``medium: Memory``, or a claim.  Another emptyDir, and what a container writes beside its volumes, are
    folders on the node's disk: filling them would hit every pod of the node, and the kubelet, which
    measures them by adding up names, would not see the file.

    Args:
        namespace: Where; it has to be in ``GAMEDAY_NAMESPACES``.
        selector: Label selector of the pods; never empty.
        volume: Name of the volume in the pod's specification.
        used_fraction: How full, above 0 and at most 1; what is there already counts.
        quantity: How many pods; give this or *fraction*, or neither for one.
        fraction: Which share of the matching pods, rounded down.
        seed: Repeats the choice.
        allow_bare: Also choose pods that nothing replaces; nothing has to replace them here.
        follow: Whether pods that come in the place of victims are hit, within the radius.
        max_duration_s: The fault ends after this, whatever happens.

    Returns:
        ``{"victims": [...], "landed": true, "dose": {"measured": {"used_fraction": 0.95}}}``

    Raises:
        UsageError: An argument makes no sense.  Nothing was injected.
        NoTargets: No pod may be hit, or one has no such volume.  Nothing was injected.
        Refused: A namespace, a right or the radius says no.  Nothing was injected.
        Unsupported: The volume is a folder on the node's disk.  Nothing was injected.
        NoInjector: The file system cannot be filled; what was in was taken out again.

    Undo:
        Tells the injectors to let go of their files; the kernel frees the blocks.

    Dead man:
        The stream from this process: its end heals at once.  Silence heals after the lease, by the
        injector, and its end, however it comes, frees the file.
    """
    if not 0 < used_fraction <= 1:
        raise UsageError(f"used_fraction: {used_fraction!r} is not above 0 and at most 1")
    choice = Choice(quantity=quantity, fraction=fraction, seed=seed)
    near = Near(namespace=namespace, selector=selector, choice=choice, allow_bare=allow_bare, follow=follow)
    path = pod_resources.VOLUME
    with kubernetes.connect() as api:
        inside = Inside(
            fault="pods.fill_disk",
            near=near,
            kit=Kit(
                image=settings_of.current().image, capabilities=("DAC_OVERRIDE",), mounts=((volume, path),)
            ),
            asked={"volume": volume, "used_fraction": used_fraction},
            max_duration_s=max_duration_s,
            order_of=lambda api, target, table: pod_resources.fill(
                api, target, volume, used_fraction, table=table, max_duration_s=max_duration_s
            ),
        )
        return put_inside(api, inside)


def _owners(owners: list[Spared]) -> list[Json]:
    return [
        {"kind": each.owner.kind, "name": each.owner.name, "uid": each.owner.uid, "ready": each.ready}
        for each in owners
    ]
