"""Rules about what is called: modules that can be imported, functions that take what they are given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent.catalog.outline import activities, controls, listed, mapping
from agent.catalog.problem import Finding, nearest
from agent.catalog.signature import fits, said
from agent.catalog.values import Unknown, names_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from agent.catalog.modules import Module, Modules
    from agent.catalog.outline import Spot
    from agent.catalog.problem import Where
    from agent.catalog.values import Values

_MOMENTS = ("experiment", "hypothesis", "method", "rollback", "activity")
_CONFIGURE = "configure_control"
CONTROL_FUNCTIONS = (
    *(f"{when}_{what}_control" for what in _MOMENTS for when in ("before", "after")),
    _CONFIGURE,
)
"""Those of a control's functions that get its arguments.

Source: chaoslib.control.python 1.45.1, ``_level_mapping`` and ``initialize_control``.
"""
_GIVEN_TO_CONTROLS = frozenset(
    {"context", "state", "experiment", "extensions", "settings", "configuration", "secrets", "event_registry"}
)


def call_findings(definition: Mapping[str, Any], values: Values, modules: Modules) -> Iterator[Finding]:
    """Yield what cannot be imported and what would not be accepted."""
    calls = [spot for spot in activities(definition) if spot.provider.get("type") == "python"]
    around = [spot for _, spots in controls(definition) for spot in spots]
    names = {module_of(spot) for spot in (*calls, *around)}
    found = modules(sorted(name for name in names if name and _is_dotted(name)))
    for spot in calls:
        if module := found.get(module_of(spot) or ""):
            yield from _activity(spot, module, values)
    for spot in around:
        if module := found.get(module_of(spot) or ""):
            yield from _control(spot, module, values)


def module_of(spot: Spot) -> str | None:
    """Return the name of the module that a spot's provider calls, if it has one."""
    module = spot.provider.get("module")
    return module if isinstance(module, str) else None


def _is_dotted(name: str) -> bool:
    return all(part.isidentifier() for part in name.split("."))


def _import_finding(spot: Spot, module: Module) -> Finding:
    where = (*spot.where, "provider", "module")
    close = nearest(module.name.rpartition(".")[2], module.siblings)
    instead = close if close.startswith("did you") else "is it installed where gameday runs?"
    return Finding(where=where, says=f"{module.name} cannot be imported: {module.error}", instead=instead)


def _activity(spot: Spot, module: Module, values: Values) -> Iterator[Finding]:
    if module.error:
        yield _import_finding(spot, module)
        return
    func = spot.provider.get("func")
    if not isinstance(func, str):
        return
    if func not in module.functions:
        public = [name for name in module.functions if not name.startswith("_")]
        says = f"{module.name} has no function {func}"
        yield Finding(where=(*spot.where, "provider", "func"), says=says, instead=nearest(func, public))
        return
    signature = module.functions[func]
    if signature is not None:
        implied = {"configuration"} | ({"secrets"} if spot.provider.get("secrets") else set())
        implied |= {"value"} if spot.section == "tolerance" else set()
        yield from _injected(spot, signature)
        yield from _binding((*spot.where, "provider"), spot.provider, signature, implied, values)


def _injected(spot: Spot, signature: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield what Chaos Toolkit would pass and the function does not take."""
    takes = {parameter["name"] for parameter in signature["parameters"]}
    if listed(spot.provider.get("secrets")) and "secrets" not in takes:
        says = "the function has no argument secrets, so it never gets them"
        yield Finding(where=(*spot.where, "provider", "secrets"), says=says, instead="take them out")
    if spot.section == "tolerance" and "value" not in takes and not signature["open"]:
        says = "the function takes no argument value, which is what a tolerance is given"
        yield Finding(where=(*spot.where, "provider"), says=says)


def _binding(
    where: Where, provider: Mapping[str, Any], signature: Mapping[str, Any], implied: set[str], values: Values
) -> Iterator[Finding]:
    """Yield what keeps the provider's arguments from being passed to a function."""
    arguments = mapping(provider.get("arguments"))
    parameters = {p["name"]: p for p in signature["parameters"] if p["by_keyword"]}
    for name, value in arguments.items():
        inner = (*where, "arguments", name)
        if name in parameters:
            shape = parameters[name]["shape"]
            if not fits(_sample(values.fill(value)), shape):
                given = _shown(values.fill(value), value)
                yield Finding(where=inner, says=f"{name} must be {said(shape)}, not {given}")
        elif not signature["open"]:
            known = [p for p in parameters if p not in _GIVEN_TO_CONTROLS]
            yield Finding(
                where=inner, says=f"the function has no argument {name}", instead=nearest(name, known)
            )
    for parameter in signature["parameters"]:
        name = parameter["name"]
        if parameter["required"] and name not in arguments and name not in implied:
            says = f"the function needs the argument {name}, {said(parameter['shape'])}"
            instead = "name its groups in provider.secrets" if name == "secrets" else "add it"
            yield Finding(where=(*where, "arguments") if arguments else where, says=says, instead=instead)


def _sample(value: Any) -> Any:
    """Return *value* with a value of the right type for what is not known yet."""
    if isinstance(value, Unknown):
        return value.sample
    if isinstance(value, dict):
        return {key: _sample(inner) for key, inner in value.items()}
    return [_sample(inner) for inner in value] if isinstance(value, list) else value


def _shown(filled: Any, given: Any) -> str:
    if isinstance(filled, Unknown):
        kinds = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}
        return f"{kinds.get(type(filled.sample), 'that')}, which is what {given} will be"
    text = repr(filled)
    return text if len(text) <= 60 else f"{text[:60]}…"


def _control(spot: Spot, module: Module, values: Values) -> Iterator[Finding]:
    """A control that cannot be imported or called is skipped by Chaos Toolkit without a word."""
    if module.error:
        yield _import_finding(spot, module)
        return
    functions = {name: module.functions[name] for name in CONTROL_FUNCTIONS if name in module.functions}
    if not functions:
        says = f"{module.name} has none of a control's functions"
        instead = "it needs one such as before_experiment_control"
        yield Finding(where=(*spot.where, "provider", "module"), says=says, instead=instead)
    where, seen = (*spot.where, "provider"), set()
    for name, signature in functions.items():
        if signature is None:
            continue
        implied = set(_GIVEN_TO_CONTROLS) - ({"context"} if name == _CONFIGURE else set())
        for finding in _binding(where, spot.provider, signature, implied, values):
            if finding not in seen:
                seen.add(finding)
                yield Finding(where=finding.where, says=f"{name}: {finding.says}", instead=finding.instead)
    yield from _unreplaced(where, spot.provider, functions.get(_CONFIGURE))


def _unreplaced(
    where: Where, provider: Mapping[str, Any], configure: Mapping[str, Any] | None
) -> Iterator[Finding]:
    taken = {parameter["name"] for parameter in (configure or {}).get("parameters", ())}
    for name, value in mapping(provider.get("arguments")).items():
        if name in taken and isinstance(value, str) and names_in(value):
            says = f"{_CONFIGURE} takes {name} and gets it with {value} in it, unreplaced"
            yield Finding(where=(*where, "arguments", name), says=says, instead="write the value itself")
