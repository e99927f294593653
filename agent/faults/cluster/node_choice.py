"""Which nodes may be hit, and how many have to be left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent import settings as settings_of
from agent.clients.kubernetes import RUN
from agent.model import NoTargets, Refused, UsageError
from agent.safety.kubernetes_guard import (
    ENABLED,
    EXEMPT,
    check_selector,
    forbidden_node,
    is_enabled,
    is_exempt,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agent.clients.kubernetes import Api, Object
    from agent.safety.targets import Choice

NODES = "/api/v1/nodes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One node as one answer of the API server showed it."""

    name: str
    uid: str
    labels: Mapping[str, str]
    ready: bool
    cordoned: bool

    @property
    def full_name(self) -> str:
        """What an operator calls it."""
        return f"Node {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The victims, and how many nodes match."""

    victims: tuple[Node, ...]
    population: int

    @property
    def names(self) -> list[str]:
        """What an operator calls the victims."""
        return [each.full_name for each in self.victims]


def node_of(found: Object) -> Node:
    """Return the node that the JSON object *found* describes."""
    conditions = found.get("status", {}).get("conditions") or ()
    return Node(
        name=found["metadata"]["name"],
        uid=found["metadata"]["uid"],
        labels=found["metadata"].get("labels") or {},
        ready=any(each["type"] == "Ready" and each["status"] == "True" for each in conditions),
        cordoned=bool(found["spec"].get("unschedulable")),
    )


def choose_nodes(api: Api, selector: str, choice: Choice, *, nodes_left_min: int) -> Chosen:
    """Return the victims among the nodes that match *selector* and may be hit.

    Raises:
        UsageError: The selector is empty, or *nodes_left_min* below 0.
        NoTargets: Too few match, or nothing of it may be hit; says why.
        Refused: Fewer than *nodes_left_min* nodes would be left that are ready and take pods.
    """
    check_selector(selector)
    if nodes_left_min < 0:
        raise UsageError(f"nodes_left_min: {nodes_left_min} is below 0")
    matching = [node_of(each) for each in api.items(NODES, selector=selector)]
    settings = settings_of.current()
    reasons = {each.name: why_not(each, settings.nodes, opt_in=settings.opt_in) for each in matching}
    may = {each.name: each for each in matching if reasons[each.name] is None}
    if not may:
        said = "; ".join(f"{name} is {why}" for name, why in reasons.items()) or "no node matches"
        raise NoTargets(f"{selector}: {said}; nothing was touched")
    names = choice.of(list(may))
    if why := too_few_left([node_of(each) for each in api.items(NODES)], names, nodes_left_min):
        raise Refused(f"{why}; nothing was touched")
    return Chosen(victims=tuple(may[name] for name in names), population=len(matching))


def why_not(node: Node, patterns: Sequence[str], *, opt_in: bool) -> str | None:
    """Return why *node* may not be hit, None when it may."""
    if why := forbidden_node(node.name, node.labels, patterns):
        return why
    if is_exempt([node.labels]):
        return f"labelled {EXEMPT}=true"
    if not is_enabled([node.labels], opt_in=opt_in):
        return f"without the label {ENABLED}=true that GAMEDAY_OPT_IN asks for"
    if RUN in node.labels:
        return f"under a fault of run {node.labels[RUN]}"
    if not node.ready:
        return "not ready"
    return "cordoned already" if node.cordoned else None


def too_few_left(nodes: Sequence[Node], victims: Sequence[str], least: int) -> str | None:
    """Return why *victims* cannot be spared, None when *least* nodes are left that take pods."""
    left = [each.name for each in nodes if each.ready and not each.cordoned and each.name not in victims]
    if len(left) >= least:
        return None
    return f"{len(left)} nodes would be left that take pods, and nodes_left_min is {least}"
