"""Rules about ``${name}``: each has to stand for something, and to stand where it is replaced."""

from __future__ import annotations

import importlib.util
from string import Template
from typing import TYPE_CHECKING, Any

from agent.catalog.outline import activities, controls, mapping
from agent.catalog.problem import Finding, nearest
from agent.catalog.values import convert, names_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from agent.catalog.problem import Where
    from agent.catalog.values import Values

_FREE = frozenset({"description", "contributions", "version"})
"""Words for people; what looks like a reference in them is none."""
_REPLACED_IN_PROVIDER = {
    "python": ("arguments",),
    "process": ("arguments",),
    "http": ("url", "headers", "timeout", "arguments"),
}
_REPLACED_IN_TOLERANCE = ("pattern", "path", "expect")


def substitution_findings(definition: Mapping[str, Any], values: Values) -> Iterator[Finding]:
    """Yield what is wrong with references, configuration and secrets."""
    replaced = frozenset(_replaced(definition))
    for key, value in definition.items():
        if key not in _FREE:
            yield from _walk((key,), value, values, replaced)
    yield from _title(definition, values)
    yield from _defaults(definition)
    yield from _groups(definition)


def _replaced(definition: Mapping[str, Any]) -> Iterator[Where]:
    """Yield the places below which Chaos Toolkit replaces references."""
    yield ("title",)
    for spot in activities(definition):
        for key in _REPLACED_IN_PROVIDER.get(str(spot.provider.get("type")), ()):
            yield (*spot.where, "provider", key)
        yield (*spot.where, "pauses")
        tolerance = spot.body.get("tolerance")
        if isinstance(tolerance, str):
            yield (*spot.where, "tolerance")
        for key in _REPLACED_IN_TOLERANCE:
            yield (*spot.where, "tolerance", key)
    for _, spots in controls(definition):
        for spot in spots:
            yield (*spot.where, "provider", "arguments")


def _walk(where: Where, value: Any, values: Values, replaced: frozenset[Where]) -> Iterator[Finding]:
    if where in replaced:
        yield from _references(where, value, values)
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _walk((*where, key), inner, values, replaced)
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from _walk((*where, i), inner, values, replaced)
    elif isinstance(value, str) and names_in(value):
        says = f"${{{names_in(value)[0]}}} is not replaced here"
        yield Finding(where=where, says=says, instead="write the value itself")


def _references(where: Where, value: Any, values: Values) -> Iterator[Finding]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if names_in(key):
                yield Finding(
                    where=(*where, key), says="a key is not replaced", instead="write the key itself"
                )
            yield from _references((*where, key), inner, values)
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from _references((*where, i), inner, values)
    elif isinstance(value, str):
        yield from _text(where, value, values)


def _text(where: Where, text: str, values: Values) -> Iterator[Finding]:
    for name in dict.fromkeys(names_in(text)):
        groups = values.groups(name)
        if not values.has(name) and not values.open:
            candidates = [*values.configuration, *(n for entries in values.secrets.values() for n in entries)]
            declare = f"declare it: configuration: {{{name}: …}}"
            yield Finding(
                where=where,
                says=f"${{{name}}} stands for nothing",
                instead=_near(name, candidates) or declare,
            )
        elif len(groups) + (name in values.configuration) > 1:
            says = f"${{{name}}} stands for several things: {', '.join(_homes(name, values))}"
            yield Finding(where=where, says=says, instead="rename all but one")
    if any(
        text[m.start() : m.start() + 2] == "${"
        for m in Template.pattern.finditer(text)
        if m["invalid"] is not None
    ):
        says = "has a ${ that is no reference, which are ${name}"
        yield Finding(where=where, says=says, instead="write $${ for the two characters")


def _near(name: str, candidates: list[str]) -> str:
    close = nearest(name, candidates)
    return f"did you mean ${{{close[13:-1]}}}?" if close.startswith("did you mean ") else ""


def _homes(name: str, values: Values) -> list[str]:
    own = [f"configuration.{name}"] if name in values.configuration else []
    return own + [f"secrets.{group}.{name}" for group in values.groups(name)]


def _title(definition: Mapping[str, Any], values: Values) -> Iterator[Finding]:
    title = definition.get("title")
    for name in names_in(title) if isinstance(title, str) else ():
        if name not in values.configuration and values.groups(name):
            yield Finding(where=("title",), says=f"shows the secret {name}", instead="take it out")


def _defaults(definition: Mapping[str, Any]) -> Iterator[Finding]:
    for name, value in mapping(definition.get("configuration")).items():
        if not isinstance(value, dict) or value.get("type") != "env" or "default" not in value:
            continue
        kind, default = str(value.get("env_var_type", "str")), value["default"]
        where = ("configuration", name, "default")
        if isinstance(default, str):
            try:
                convert(kind, default)
            except ValueError as error:
                yield Finding(where=where, says=f"is not of env_var_type {kind}: {error}")
        elif not _same_type(kind, default):
            says = "has another type than the variable would have"
            fitting = {bool: "bool", int: "int", float: "float"}.get(type(default), "json")
            yield Finding(
                where=where, says=says, instead=f"add env_var_type: {fitting}, or quote the default"
            )


def _same_type(kind: str, default: Any) -> bool:
    kinds = {"bool": ("bool",), "int": ("int", "integer", "float", "number"), "float": ("float", "number")}
    return kind == "json" or kind in kinds.get(type(default).__name__, ())


def _groups(definition: Mapping[str, Any]) -> Iterator[Finding]:
    groups = mapping(definition.get("secrets"))
    for spot in activities(definition):
        wanted = spot.provider.get("secrets")
        for i, group in enumerate(wanted if isinstance(wanted, list) else ()):
            if isinstance(group, str) and group not in groups:
                where = (*spot.where, "provider", "secrets", i)
                instead = nearest(group, groups) or f"declare it: secrets: {{{group}: {{…}}}}"
                yield Finding(
                    where=where, says=f"there is no group of secrets called {group}", instead=instead
                )
    needs_vault = [g for g, value in groups.items() if "vault" in _types(value)]
    if needs_vault and importlib.util.find_spec("hvac") is None:
        for group in needs_vault:
            says = "Vault's client is not installed, and Chaos Toolkit would go on without the secret"
            yield Finding(where=("secrets", group), says=says, instead="pip install chaostoolkit-lib[vault]")


def _types(group: Any) -> set[Any]:
    entries = [mapping(group), *map(mapping, mapping(group).values())]
    return {str(entry.get("type")) for entry in entries}
