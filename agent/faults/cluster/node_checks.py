"""What the ledger names to check faults of nodes, and how a sweep mends a node that no Job knows of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent.clients import kubernetes
from agent.clients.kubernetes import RUN
from agent.faults.cluster.node_choice import NODES
from agent.faults.cluster.pod_kills import lives
from agent.faults.cluster.standby import on_standby
from agent.model import Fact
from agent.restorer.changes import MARK
from agent.restorer.node_changes import Cordoned, Tainted
from agent.restorer.orders import Order
from agent.restorer.restore import is_in, restore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.clients.kubernetes import Api
    from agent.model import Json


def landed(*, place: dict[str, Any], order: dict[str, Any], pods: dict[str, str]) -> Fact:
    """Tell whether every node is as the fault made it, and none of the very *pods* lives any more."""
    told = Order.from_json(order)
    with kubernetes.connect(place) as api:
        missing = [each.name for each in told.changes if not is_in(api, each)]
        alive = [name for name, uid in pods.items() if lives(api, *_parts(name), uid)]
        measured: dict[str, Json] = {
            "nodes": len(told.changes) - len(missing),
            "restorers": on_standby(api, told),
        }
    if pods:
        measured["pods"] = len(pods) - len(alive)
    says = [f"{name} is not as it was made" for name in missing] + [f"{name} still lives" for name in alive]
    return Fact(holds=not says, says="; ".join(says), measured=measured)


def sweep(api: Api, *, alive: Sequence[str]) -> list[str]:
    """Mend every node that carries the label of a run that is not *alive*; return what was found."""
    found: list[str] = []
    for node in list(api.items(NODES, selector=RUN)):
        meta = node["metadata"]
        run, mark = meta["labels"][RUN], (meta.get("annotations") or {}).get(MARK, "")
        if run in alive:
            continue
        known = {"node": meta["name"], "uid": meta["uid"], "mark": mark, "run": run}
        done = [restore(api, each).restored for each in (Cordoned(**known), Tainted(**known, effect=""))]
        found.append(f"node {meta['name']} of run {run}{', put back' if any(done) else ''}")
    return found


def _parts(full_name: str) -> tuple[str, str]:
    namespace, _, name = full_name.partition("/")
    return namespace, name
