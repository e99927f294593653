"""What ``${name}`` stands for: configuration, secrets and variables, and where it is replaced."""

from __future__ import annotations

import json
from dataclasses import dataclass
from string import Template
from typing import TYPE_CHECKING, Any

from agent.catalog.fields import REFERENCE
from agent.catalog.outline import mapping
from agent.catalog.problem import Finding, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

_SAMPLES = {"int": 1, "integer": 1, "float": 1.5, "number": 1.5, "bool": True}
_TRUTHS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


@dataclass(frozen=True, slots=True)
class Unknown:
    """A value that is only known when the run starts; ``sample`` has its type, ``...`` for any."""

    sample: Any = ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """What each name stands for; ``open`` when a whole group comes from Vault."""

    configuration: Mapping[str, Any]
    secrets: Mapping[str, Mapping[str, Any]]
    open: bool = False

    def groups(self, name: str) -> list[str]:
        """Return the groups of secrets that have *name*."""
        return [group for group, entries in self.secrets.items() if name in entries]

    def has(self, name: str) -> bool:
        """Return whether *name* stands for something."""
        return name in self.configuration or bool(self.groups(name))

    def of(self, name: str) -> Any:
        """Return what *name* stands for; an :class:`Unknown` where nobody can say yet."""
        if name in self.configuration:
            return self.configuration[name]
        groups = self.groups(name)
        return self.secrets[groups[0]][name] if groups else Unknown()

    def fill(self, data: Any) -> Any:
        """Return *data* with each ``${name}`` replaced as Chaos Toolkit will, as far as known."""
        if isinstance(data, dict):
            return {key: self.fill(value) for key, value in data.items()}
        if isinstance(data, list):
            return [self.fill(value) for value in data]
        if not isinstance(data, str):
            return data
        if REFERENCE.fullmatch(data):
            return self.of(data[2:-1])
        found = {name: self.of(name) for name in _mentioned(data) if self.has(name)}
        if any(isinstance(value, Unknown) for value in found.values()):
            return Unknown("")
        return Template(data).safe_substitute(found)


def names_in(text: str) -> list[str]:
    """Return the names that *text* refers to as ``${name}``."""
    return [match["braced"] for match in Template.pattern.finditer(text) if match["braced"]]


def _mentioned(text: str) -> list[str]:
    """Return the names in *text*, with braces or without: ``$name`` is replaced too if it is declared."""
    return [match["braced"] or match["named"] for match in Template.pattern.finditer(text)]


def known(data: Any, given: Any) -> Any:
    """Return *data* as filled in, with what is unknown as *given* in the file."""
    if isinstance(data, Unknown):
        return given
    if isinstance(data, dict):
        return {key: known(value, given[key]) for key, value in data.items()}
    if isinstance(data, list):
        return [known(value, old) for value, old in zip(data, given, strict=True)]
    return data


def convert(kind: str, text: str) -> Any:
    """Return *text* as a value of *kind*, a type of Chaos Toolkit's variables.

    Raises:
        ValueError: It is not one.
    """
    if kind in ("int", "integer"):
        return int(text)
    if kind in ("float", "number"):
        return float(text)
    if kind == "bool":
        if text.lower() not in _TRUTHS:
            raise ValueError(f"{text!r} is neither true nor false")
        return _TRUTHS[text.lower()]
    return json.loads(text) if kind == "json" else text


def with_variables(
    definition: Mapping[str, Any], variables: Mapping[str, str]
) -> tuple[dict[str, Any], list[Finding]]:
    """Return *definition* with *variables* in its configuration, and what is wrong with them.

    A variable is ``name`` or ``name:type``; without a type it takes that of the declared value.
    """
    configuration = dict(mapping(definition.get("configuration")))
    findings = []
    for given, text in variables.items():
        name, _, kind = given.partition(":")
        if name not in configuration:
            instead = nearest(name, configuration) or f"declare it: configuration: {{{name}: …}}"
            findings.append(Finding(where=(), says=f"the variable {name} is not declared", instead=instead))
            continue
        try:
            configuration[name] = convert(kind or _kind(configuration[name]), text)
        except ValueError as error:
            says = f"the variable {name} does not fit: {error}"
            findings.append(Finding(where=("configuration", name), says=says))
    changed = {"configuration": configuration} if variables and configuration else {}
    return {**definition, **changed}, findings


def _kind(declared: Any) -> str:
    if isinstance(declared, dict) and declared.get("type") == "env":
        return str(declared.get("env_var_type", "str"))
    kinds = {bool: "bool", int: "int", float: "float", str: "str"}
    return kinds.get(type(declared), "json")


def values_of(definition: Mapping[str, Any], environ: Mapping[str, str]) -> Values:
    """Return what each name stands for; secrets stay unknown, so that no message can show one."""
    configured = mapping(definition.get("configuration"))
    groups = {name: mapping(group) for name, group in mapping(definition.get("secrets")).items()}
    vaults = [group for group in groups.values() if group.get("type") == "vault"]
    return Values(
        configuration={name: _configured(value, environ) for name, value in configured.items()},
        secrets={
            group: {
                name: Unknown("" if isinstance(value, dict) else value) for name, value in entries.items()
            }
            for group, entries in groups.items()
            if entries.get("type") != "vault"
        },
        open=bool(vaults),
    )


def _configured(value: Any, environ: Mapping[str, str]) -> Any:
    if not isinstance(value, dict) or "type" not in value:
        return value
    kind = str(value.get("env_var_type", "str"))
    text = environ.get(str(value.get("key")), value.get("default"))
    try:
        return convert(kind, text) if isinstance(text, str) else _typed(kind, text)
    except ValueError:
        return _typed(kind, None)


def _typed(kind: str, value: Any) -> Any:
    if value is not None:
        return value
    return Unknown() if kind == "json" else Unknown(_SAMPLES.get(kind, ""))
