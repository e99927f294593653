"""Puts an order into pods by an injector inside each, through the one door."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from agent import settings as settings_of
from agent.clients import nft
from agent.faults.durations import check_duration
from agent.faults.inside import lifelines, opening, streams
from agent.faults.inside.follow import Follower
from agent.model import Call
from agent.safety.context import current_run
from agent.safety.door import heal_one, inject

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from agent.clients.kubernetes import Api
    from agent.faults.cluster.pod_choice import Target
    from agent.faults.inside.follow import Near
    from agent.faults.inside.injectors import Kit
    from agent.faults.kernel.scope import Network
    from agent.injector.orders import Order
    from agent.model import Json

ARRIVALS = "pods.arrivals.jsonl"
LEAST_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Inside:
    """A fault that an injector inside each pod carries out."""

    fault: str
    near: Near
    kit: Kit
    asked: Mapping[str, Json]
    max_duration_s: float
    order_of: Callable[[Api, Target, str], Order]
    """The order for one pod, given the name of the injection's table; asked anew for pods that come later."""
    peers: Callable[[Api], Sequence[Network]] | None = None
    """Who the peers are by now; None where there are none."""


def put_inside(api: Api, inside: Inside) -> dict[str, Json]:
    """Choose pods and put the fault into them; see the faults for what it raises."""
    check_duration(inside.max_duration_s)
    near = inside.near
    found = near.find(api)
    names = near.choice.of(list(found.targets))
    opening.check_rights(api, near.namespace)
    targets = {name: found.targets[name] for name in names}
    table = nft.PREFIX + uuid.uuid4().hex
    networks = inside.peers(api) if inside.peers else ()
    told = _inject(api, inside, targets, table, population=found.population)
    if lifelines.is_held(table):
        until = time.time() + inside.max_duration_s
        follower = Follower(
            near=near,
            place=api.place.to_json(),
            table=table,
            victims={name: target.pod.uid for name, target in targets.items()},
            known=frozenset(target.pod.uid for target in found.targets.values()),
            put=lambda api, target, wanted: _put_one(
                api, _ending(inside, until), target, wanted, found.population
            ),
            take_back=_take_back,
            until=until,
            peers=inside.peers,
        )
        lifelines.watched_by(table, follower)
        follower.start(networks)
    return told


def _ending(inside: Inside, until: float) -> Inside:
    """Return *inside* with what is left of its time, so that who is hit later is healed with the others."""
    return replace(inside, max_duration_s=max(LEAST_S, until - time.time()))


def _take_back(table: str) -> None:
    heal_one(current_run().id, lambda each: each.undo.arguments.get("table") == table)


def _put_one(api: Api, inside: Inside, target: Target, wanted: Callable[[], bool], population: int) -> str:
    table = nft.PREFIX + uuid.uuid4().hex
    _inject(
        api, inside, {target.pod.full_name: target}, table, population=population, wanted=wanted, alone=True
    )
    return table


def _inject(
    api: Api,
    inside: Inside,
    targets: Mapping[str, Target],
    table: str,
    *,
    population: int,
    wanted: Callable[[], bool] = lambda: True,
    alone: bool = False,
) -> dict[str, Json]:
    namespace, lease_s = inside.near.namespace, settings_of.current().lease_s
    pods = {target.pod.name: target.pod.uid for target in targets.values()}
    orders = {
        target.pod.name: replace(inside.order_of(api, target, table), max_duration_s=inside.max_duration_s)
        for target in targets.values()
    }
    held: dict[str, Json] = {"table": table, "place": api.place.to_json()}
    held |= {"namespace": namespace, "pods": dict(pods)}
    calls = streams.__name__
    log = current_run().folder / ARRIVALS
    return inject(
        fault=inside.fault,
        victims=list(targets),
        population=population,
        apply=lambda: opening.begin(
            api, namespace, pods, orders=orders, kit=inside.kit, log=log, wanted=wanted
        ),
        undo=Call(func=f"{calls}:remove", arguments=held),
        landed_check=Call(func=f"{calls}:landed", arguments={"table": table}),
        gone_check=Call(func=f"{calls}:gone", arguments={**held, "lease_s": lease_s}),
        renew=Call(func=f"{calls}:renew", arguments={"table": table, "lease_s": lease_s}),
        lease_s=lease_s,
        max_duration_s=inside.max_duration_s,
        asked=inside.asked,
        alone=alone,
    )
