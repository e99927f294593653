"""What an experiment needs from where it runs: variables of the environment, programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent.catalog.outline import activities, mapping

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from agent.catalog.problem import Where


def needs(definition: Mapping[str, Any]) -> Iterator[tuple[Where, dict[str, str], str]]:
    """Yield where a need stands, what it is (the fields of a ``Need``), and what to do about it."""
    for name, value in mapping(definition.get("configuration")).items():
        if mapping(value).get("type") == "env":
            yield from _variable(("configuration", name), value)
    for group, entries in mapping(definition.get("secrets")).items():
        for name, value in mapping(entries).items():
            if mapping(value).get("type") == "env":
                yield from _variable(("secrets", group, name), value)
    for spot in activities(definition):
        path = spot.provider.get("path")
        if spot.provider.get("type") == "process" and isinstance(path, str):
            yield (*spot.where, "provider", "path"), {"program": path}, "install it or write its whole path"


def _variable(where: Where, value: Mapping[str, Any]) -> Iterator[tuple[Where, dict[str, str], str]]:
    if "default" in value:
        return
    kind = str(value.get("env_var_type", "str"))
    yield where, {"variable": str(value["key"]), "kind": kind}, "set it, or give it a default"
