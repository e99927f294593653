"""Rules about faults: where they may stand, how they are healed, how much they may hit, how long."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent.catalog.outline import activities, gameday, listed, mapping, number
from agent.catalog.problem import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from agent.catalog.outline import Spot
    from agent.catalog.problem import Where

FAULTS = "agent.faults"
HEAL = "heal"
_HEAL_FIRST = (
    "start rollbacks with "
    "{name: heal, type: action, provider: {type: python, module: agent.faults, func: heal}}"
)
_EXTENSION = "add extensions: [{name: gameday, timeout_s: 60}]"


def is_fault(provider: Mapping[str, Any]) -> bool:
    """Return whether *provider* is one of the agent's own faults."""
    module = provider.get("module")
    ours = isinstance(module, str) and (module == FAULTS or module.startswith(f"{FAULTS}."))
    return provider.get("type") == "python" and ours and provider.get("func") != HEAL


def faults(definition: Mapping[str, Any]) -> Iterator[Spot]:
    """Yield the activities of the method that are faults, not those that refer to one."""
    return (s for s in activities(definition) if s.section == "method" and is_fault(s.provider))


def fault_steps(definition: Mapping[str, Any]) -> Iterator[tuple[Where, Mapping[str, Any]]]:
    """Yield each time the method of a good definition injects, with the activity it plays."""
    spots = [spot for spot in activities(definition) if spot.section in ("method", "hypothesis")]
    named = {spot.text("name"): spot for spot in spots}
    for spot in spots:
        target = named[spot.text("ref")] if "ref" in spot.body else spot
        if spot.section == "method" and is_fault(target.provider):
            yield spot.where, target.body


def harm_findings(definition: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield what makes a run of this definition unsafe, endless, or sure to be refused."""
    yield from _places(definition)
    yield from _rollbacks(definition)
    ours = gameday(definition)
    if ours is None:
        yield Finding(
            where=(), says="has no gameday extension, so a run has no time limit", instead=_EXTENSION
        )
        return
    yield from _radius(definition, ours[1])
    yield from _pauses(definition, ours)


def _places(definition: Mapping[str, Any]) -> Iterator[Finding]:
    named = {s.text("name"): s for s in activities(definition) if s.section in ("method", "hypothesis")}
    for spot in activities(definition):
        target = named.get(spot.text("ref"), spot) if "ref" in spot.body else spot
        if not is_fault(target.provider):
            continue
        if spot.section != "method":
            says = f"a fault does not belong into the {spot.section}"
            yield Finding(where=spot.where, says=says, instead="faults stand in the method")
        elif spot.body.get("type") == "probe":
            yield Finding(
                where=(*spot.where, "type"), says="a fault is an action", instead="write type: action"
            )


def _rollbacks(definition: Mapping[str, Any]) -> Iterator[Finding]:
    rollbacks = listed(definition.get("rollbacks"))
    if any(True for _ in faults(definition)):
        first = mapping(rollbacks[0]) if rollbacks else {}
        provider = mapping(first.get("provider"))
        if (provider.get("module"), provider.get("func")) != (FAULTS, HEAL):
            where: Where = ("rollbacks", 0) if rollbacks else ()
            yield Finding(
                where=where, says="the method has faults and nothing heals them first", instead=_HEAL_FIRST
            )
        elif first.get("background"):
            says = "nobody waits for a heal in the background"
            yield Finding(where=("rollbacks", 0, "background"), says=says, instead="take it out")
    runtime = mapping(definition.get("runtime"))
    if rollbacks and "rollbacks" not in runtime:
        says = "Chaos Toolkit does not play these after a failure"
        yield Finding(where=("rollbacks",), says=says, instead="add runtime: {rollbacks: {strategy: always}}")


def _radius(definition: Mapping[str, Any], ours: Mapping[str, Any]) -> Iterator[Finding]:
    count = number(mapping(ours.get("blast_radius")).get("count"))
    for spot in faults(definition):
        quantity = number(mapping(spot.provider.get("arguments")).get("quantity"))
        if count is not None and quantity is not None and quantity > count:
            where = (*spot.where, "provider", "arguments", "quantity")
            says = f"{quantity} victims are more than blast_radius.count allows, {count}"
            yield Finding(where=where, says=says, instead="lower the one or raise the other")


def _pauses(definition: Mapping[str, Any], ours: tuple[Where, Mapping[str, Any]]) -> Iterator[Finding]:
    where, extension = ours
    timeout_s = number(extension.get("timeout_s"))
    played = [
        s.body for s in activities(definition) if s.section == "method" and not s.body.get("background")
    ]
    waits = [
        number(mapping(body.get("pauses")).get(side)) or 0.0
        for body in played
        for side in ("before", "after")
    ]
    if timeout_s is not None and sum(waits) >= timeout_s:
        says = f"the pauses of the method take {sum(waits):g} s, the whole run may take {timeout_s:g} s"
        yield Finding(where=(*where, "timeout_s"), says=says, instead="raise timeout_s or shorten the pauses")
