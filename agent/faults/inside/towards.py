"""What an injector in each near pod is ordered to do to the packets towards the far ends."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from agent import settings as settings_of
from agent.clients import kubernetes
from agent.faults.inside.injectors import Kit
from agent.faults.inside.placing import Inside, put_inside
from agent.injector.orders import Cut, Hold
from agent.model import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from agent.clients.kubernetes import Api
    from agent.faults.cluster.pod_choice import Target
    from agent.faults.inside.far import Far
    from agent.faults.inside.follow import Near
    from agent.injector.orders import Scoped
    from agent.model import Json


def cut(fault: str, near: Near, far: Far, *, loss_fraction: float, max_duration_s: float) -> dict[str, Json]:
    """Lose *loss_fraction* of the packets between the near pods and the far ends."""

    def order_of(given: dict[str, Any]) -> Cut:
        return Cut(loss_fraction=loss_fraction, **given)

    return _towards(fault, near, far, order_of, {"loss_fraction": loss_fraction}, max_duration_s)


def hold(
    fault: str, near: Near, far: Far, *, toxic: dict[str, Any], established: str, max_duration_s: float
) -> dict[str, Json]:
    """Put *toxic* on the connections between the near pods and the far ends.

    Raises:
        UsageError: What is to become of *established* ones is unknown.
    """
    if established not in ("reset", "keep"):
        raise UsageError(f"established: {established!r} is neither reset nor keep")
    ways = ("netem", "proxy") if toxic["kind"] == "delay" else ("proxy",)

    def order_of(given: dict[str, Any]) -> Hold:
        return Hold(toxic=toxic, ways=ways, resets=established == "reset", **given)

    return _towards(fault, near, far, order_of, {**toxic, "established": established}, max_duration_s)


def _towards(
    fault: str,
    near: Near,
    far: Far,
    order_of: Callable[[dict[str, Any]], Scoped],
    asked: dict[str, Json],
    max_duration_s: float,
) -> dict[str, Json]:
    lease_s = settings_of.current().lease_s
    with kubernetes.connect() as api:
        scope = far.scope(api, near.namespace)

        def order(api: Api, _: Target, table: str) -> Scoped:
            times = {"lease_s": lease_s, "max_duration_s": max_duration_s}
            now = replace(scope, networks=far.networks(api, near.namespace)) if near.follow else scope
            return order_of({"table": table, "scope": now, "hosts": far.hosts, **times})

        inside = Inside(
            fault=fault,
            near=near,
            kit=Kit(image=settings_of.current().image, capabilities=("NET_ADMIN",)),
            asked={**asked, "direction": far.direction, "towards": list(far.victims(scope))},
            max_duration_s=max_duration_s,
            order_of=order,
            peers=(lambda api: far.networks(api, near.namespace)) if far.moves else None,
        )
        return put_inside(api, inside)
