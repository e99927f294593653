"""Rules about names: what is called twice, and what refers to nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent.catalog.outline import activities, controls, listed, mapping
from agent.catalog.problem import Finding, dotted, nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from agent.catalog.outline import Spot


def name_findings(definition: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield what is wrong with the names of activities, controls and extensions."""
    spots = [spot for spot in activities(definition) if spot.section != "tolerance"]
    looked_up = [spot for spot in spots if spot.section != "rollbacks"]
    yield from _doubled(looked_up, "Chaos Toolkit looks activities up by name")
    yield from _doubled([s for s in spots if s.section == "rollbacks"], "reports tell activities by name")
    yield from _references(spots, looked_up)
    yield from _controls(definition)
    yield from _extensions(definition)


def _doubled(spots: Iterable[Spot], reason: str) -> Iterator[Finding]:
    first: dict[str, Spot] = {}
    for spot in spots:
        name = spot.text("name")
        if name is None:
            continue
        if name in first:
            says = f"the name {name} is taken by {dotted(first[name].where)}"
            yield Finding(where=(*spot.where, "name"), says=says, instead=f"choose another; {reason}")
        first.setdefault(name, spot)


def _references(spots: Iterable[Spot], looked_up: Iterable[Spot]) -> Iterator[Finding]:
    named = {spot.text("name"): spot for spot in looked_up if "ref" not in spot.body}
    for spot in spots:
        ref = spot.text("ref")
        if ref is None:
            continue
        where = (*spot.where, "ref")
        if ref not in named:
            says = f"no activity of the method or the hypothesis is called {ref}"
            yield Finding(where=where, says=says, instead=nearest(ref, filter(None, named)))
        elif spot.section == "hypothesis" and named[ref].body.get("type") != "probe":
            yield Finding(where=where, says=f"{ref} is an action", instead="the hypothesis is made of probes")


def _controls(definition: Mapping[str, Any]) -> Iterator[Finding]:
    everywhere = [s for where, spots in controls(definition) if not where for s in spots]
    automatic = any(spot.body.get("automatic", True) for spot in everywhere)
    for where, spots in controls(definition):
        outer = everywhere if where else []
        yield from _doubled([*outer, *spots], "Chaos Toolkit starts one control of a name and drops the rest")
        if where and automatic and len(spots) > 1:
            says = (
                "with several controls here Chaos Toolkit calls those of the whole experiment several times"
            )
            instead = "keep one here, or give those of the whole experiment automatic: false"
            yield Finding(where=(*where, "controls"), says=says, instead=instead)


def _extensions(definition: Mapping[str, Any]) -> Iterator[Finding]:
    seen: set[str] = set()
    for i, extension in enumerate(listed(definition.get("extensions"))):
        name = mapping(extension).get("name")
        if not isinstance(name, str):
            continue
        where = ("extensions", i, "name")
        if name in seen:
            yield Finding(where=where, says=f"there are two extensions called {name}", instead="merge them")
        elif name != "gameday" and nearest(name.lower(), ["gameday"]).startswith("did you"):
            yield Finding(where=where, says=f"unknown extension {name}", instead="did you mean gameday?")
        seen.add(name)
