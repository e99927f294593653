"""Kills single containers of pods, one after the other, and waits for the kubelet to start them again."""

from __future__ import annotations

import signal as signals
import time
import uuid
from typing import TYPE_CHECKING

from agent import settings as settings_of
from agent.clients import kubernetes, nft
from agent.faults.cluster import container_kills
from agent.faults.cluster.pod_choice import candidates, check_minimum, spared
from agent.faults.durations import check_duration, check_wait
from agent.faults.inside import opening
from agent.faults.inside.injectors import Kit
from agent.model import Call, UsageError
from agent.safety.door import inject
from agent.safety.targets import Choice

if TYPE_CHECKING:
    from agent.model import Json

__all__ = ["IN_A_JOB", "kill"]

IN_A_JOB = True
"""The kubelet starts the container again, whoever died."""

KIT = ("SYS_PTRACE", "KILL")


def kill(
    *,
    namespace: str,
    selector: str,
    container: str,
    signal: str = "KILL",
    quantity: int | None = None,
    fraction: float | None = None,
    seed: int | None = None,
    min_ready: int = 1,
    min_ready_fraction: float | None = None,
    wait_s: float = 10.0,
    unready: bool = False,
    allow_bare: bool = True,
    max_duration_s: float = 120.0,
) -> dict[str, Json]:
    """End the first process of *container* in pods, one after the other, as a crash would.

    An ephemeral container of the agent's own image, with SYS_PTRACE, sees the container's processes and
    has the kernel kill the first one; no right on the node is needed.  The pod stays, with its address and
    its volumes; the kubelet starts the container again, each time after a longer pause.

    Args:
        namespace: Where; it has to be in ``GAMEDAY_NAMESPACES``.
        selector: Label selector of the pods; never empty.
        container: Which of their containers.
        signal: ``KILL``, or one that the process handles, such as ``TERM``; others the kernel would ignore.
        quantity: How many pods; give this or *fraction*, or neither for one.
        fraction: Which share of the matching pods, rounded down.
        seed: Repeats the choice.
        min_ready: So many pods of an owner are ready after each kill, >= 0.
        min_ready_fraction: The same as a share of the replicas that the owner wants, rounded up.
        wait_s: How long one kill may wait for the minimum, 0 <= wait_s <= 600.
        unready: Also choose among pods that are not ready.
        allow_bare: Also choose pods that nothing replaces; nothing has to replace them here.
        max_duration_s: The container may take so long to run and be ready again; after that the fault
            counts as not recovered.

    Returns:
        ``{"victims": ["shop/gateway-7d4b9-x2x1"], "landed": true, "dose": {"measured": {"containers": 1,
        "exit_codes": [137]}}}``

    Raises:
        UsageError: An argument makes no sense.  Nothing was killed.
        NoTargets: Too few pods match, or they have no such container that runs.  Nothing was killed.
        Refused: A namespace, the minimum, a right or the radius says no, or nothing would start the
            container again.  Nothing was killed.
        Unsupported: The namespace admits no SYS_PTRACE, or the pod shares its processes with others.
        NoInjector: The signal would be ignored, or the kernel does not let us trace.

    Undo:
        Nothing can bring the very process back: the kubelet starts another.  Healed is when the
        container runs and is ready again, or its pod is gone.

    Dead man:
        The kubelet, which needs nobody of this agent.  The kill itself needs a living stream.
    """
    number = _number(signal)
    check_duration(max_duration_s)
    check_wait(wait_s)
    floor = check_minimum(min_ready, min_ready_fraction)
    with kubernetes.connect() as api:
        found = candidates(api, namespace, selector, unready=unready, allow_bare=allow_bare)
        names = Choice(quantity=quantity, fraction=fraction, seed=seed).of(list(found.targets))
        opening.check_rights(api, namespace)
        victims = [found.targets[name] for name in names]
        spared(api, victims, floor)
        order = container_kills.Order(
            container=container,
            signal=number,
            floor=floor,
            wait_s=wait_s,
            table=nft.PREFIX + uuid.uuid4().hex,
            kit=Kit(image=settings_of.current().image, capabilities=KIT, target=container),
        )
        runs = container_kills.running(api, victims, container)
        held: dict[str, Json] = {"place": api.place.to_json(), "namespace": namespace, "container": container}
        held["was"] = dict(runs)
        calls = container_kills.__name__
        until = time.time() + wait_s * len(victims) + max_duration_s
        return inject(
            fault="containers.kill",
            victims=names,
            population=found.population,
            apply=lambda: container_kills.kill_each(api, victims, runs, order),
            undo=Call(func=f"{calls}:nothing_to_undo"),
            landed_check=Call(func=f"{calls}:have_ended", arguments=held),
            gone_check=Call(func=f"{calls}:are_back", arguments={**held, "by": until}),
            max_duration_s=max_duration_s,
            asked={"containers": len(victims), "signal": signals.Signals(number).name},
        )


def _number(name: str) -> int:
    try:
        return signals.Signals[f"SIG{name.upper().removeprefix('SIG')}"].value
    except KeyError:
        raise UsageError(f"signal: {name!r} is none; write KILL, TERM, INT, HUP, …") from None
