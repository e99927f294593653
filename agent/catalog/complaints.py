"""What a file's shape has wrong, said in the words of the file instead of the validator's."""

from __future__ import annotations

import re
import typing
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from agent.catalog.fields import Part
from agent.catalog.outline import mapping
from agent.catalog.problem import Finding, Where, nearest
from agent.catalog.shape import ExperimentFile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic_core import ErrorDetails

_REFUSED_KEYS = {
    ("ExperimentFile", "dry"): "a file cannot be dry, Chaos Toolkit would run it; use gameday run --leash",
    ("Step", "dry"): "Chaos Toolkit would run it all the same; use gameday run --leash",
    ("Probe", "dry"): "Chaos Toolkit would run it all the same; use gameday run --leash",
    ("Step", "timeout"): "Chaos Toolkit never enforces it here; give process and http providers a timeout",
    ("Probe", "timeout"): "Chaos Toolkit never enforces it here; give process and http providers a timeout",
    ("PythonProvider", "timeout"): "nobody enforces it here; give the function an argument for it",
    (
        "Step",
        "tolerance",
    ): "Chaos Toolkit never looks at it here; move the probe into steady-state-hypothesis",
    ("Probe", "background"): "a probe of the hypothesis is always waited for; take it out",
    ("Probe", "pauses"): "the watch does not pause between looks; take it out",
    ("Control", "ref"): "Chaos Toolkit does not accept it; repeat the control under another name",
    ("Runtime", "python"): "gameday runs in its own environment; install the packages there",
}
_TYPES = {
    "string_type": "a text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "none_required": "nothing",
}
_TAG = re.compile(r"<(\w+)>")


def shape_findings(value: Any) -> tuple[ExperimentFile | None, list[Finding]]:
    """Return *value* as a checked file, or everything that is wrong with its shape."""
    try:
        return ExperimentFile.model_validate(value), []
    except ValidationError as error:
        return None, list(_findings(value, error))


def _findings(value: Any, error: ValidationError) -> Iterator[Finding]:
    wanted: dict[Where, list[str]] = {}
    for detail in error.errors(include_url=False):
        where = _where(value, detail["loc"], missing=detail["type"] == "missing")
        if detail["type"] in _TYPES:
            wanted.setdefault(where, []).append(_TYPES[detail["type"]])
        else:
            yield _finding(where, detail)
    for where, kinds in wanted.items():
        found = _at(value, where)
        yield Finding(where=where, says=f"must be {' or '.join(dict.fromkeys(kinds))}, not {_kind(found)}")


def _where(value: Any, loc: tuple[int | str, ...], *, missing: bool) -> Where:
    """Return *loc* without the validator's own steps; the last step is kept if it is *missing*."""
    where: list[int | str] = []
    for i, step in enumerate(loc):
        here = isinstance(value, dict) and step in value
        if here or (isinstance(value, list) and isinstance(step, int) and step < len(value)):
            value = value[step]
            where.append(step)
        elif missing and i == len(loc) - 1:
            where.append(step)
    return tuple(where)


def _at(value: Any, where: Where) -> Any:
    for step in where:
        value = value[step]
    return value


def _finding(where: Where, detail: ErrorDetails) -> Finding:
    kind, given = detail["type"], detail["input"]
    owner, key = _model(detail["loc"][:-1]), str(detail["loc"][-1])
    if kind == "missing":
        description = " ".join((owner.model_fields[_field(owner, key)].description or "").split())
        return Finding(where=where[:-1], says=f"the key {key} is missing", instead=f"add it: {description}")
    if kind == "extra_forbidden":
        refused = _REFUSED_KEYS.get((owner.__name__, key))
        return Finding(where=where, says=f"unknown key {key}", instead=refused or nearest(key, _keys(owner)))
    if kind == "literal_error":
        instead = _literal(re.findall(r"'([^']*)'", str(detail["ctx"]["expected"])), given, where)
        return Finding(where=where, says=f"{_shown(given)} is not known here", instead=instead)
    if kind in ("union_tag_not_found", "union_tag_invalid"):
        return _untagged(where, given)
    if kind == "string_pattern_mismatch":
        return Finding(where=where, says=_pattern(str(given), str(detail.get("ctx", {}).get("pattern"))))
    message = detail["msg"].removeprefix("Value error, ")
    return Finding(where=where, says=message.replace("Input should", "must", 1))


def _literal(expected: list[str], given: Any, where: Where) -> str:
    if where == ("runtime", "rollbacks", "strategy"):
        return "write always: anything else can leave a fault behind"
    if where == ("runtime", "hypothesis", "strategy"):
        return "write default: gameday looks all the time by itself"
    if len(where) > 2 and where[-1] == "type" and where[:2] == ("steady-state-hypothesis", "probes"):
        return "the hypothesis is made of probes; an action belongs into the method"
    return nearest(str(given), expected)


def _untagged(where: Where, given: Any) -> Finding:
    """Say what a part without a known ``type`` could be."""
    if where[-1] == "provider":
        return _bad_type(where, given, ("python", "process", "http"))
    return _bad_tolerance(where, given) if where[-1] == "tolerance" else _bad_value(where, given)


def _bad_tolerance(where: Where, given: Any) -> Finding:
    if isinstance(given, float):
        says = "Chaos Toolkit does not compare with a broken number"
        instead = f"write {{type: range, range: [{given}, {given}]}}, or a range around it"
        return Finding(where=where, says=says, instead=instead)
    if isinstance(given, dict):
        return _bad_type(where, given, ("range", "regex", "jsonpath", "probe"))
    says = f"must be a value, a list, or a mapping with type, not {_kind(given)}"
    return Finding(where=where, says=says)


def _bad_value(where: Where, given: Any) -> Finding:
    """Say what an entry of the configuration or the secrets could be."""
    kind = mapping(given).get("type")
    if kind == "probe":
        says = "Chaos Toolkit drops a looked-up value silently when the probe fails"
        return Finding(where=where, says=says, instead="give the value as {type: env, …} or with --var")
    if where[0] == "secrets" and len(where) == 2 and kind == "env":
        says = "a secret outside a group breaks Chaos Toolkit"
        return Finding(where=where, says=says, instead=f"write it inside one: {{group: {{{where[1]}: …}}}}")
    return _bad_type(where, given, ("env",) if where[0] == "configuration" else ("env", "vault"))


def _bad_type(where: Where, given: Any, known: tuple[str, ...]) -> Finding:
    if not isinstance(given, dict):
        return Finding(where=where, says=f"must be a mapping, not {_kind(given)}")
    if "type" not in given:
        return Finding(where=where, says="the key type is missing", instead=f"add it: {', '.join(known)}")
    kind = given["type"]
    return Finding(
        where=(*where, "type"), says=f"{_shown(kind)} is not known here", instead=nearest(str(kind), known)
    )


def _pattern(given: str, pattern: str) -> str:
    if pattern == r"\S":
        return "is empty"
    if "GET" in pattern:
        return f"{_shown(given)} is not GET, HEAD, OPTIONS, POST, PUT, PATCH or DELETE"
    return f"{_shown(given)} is not a name that Python can import"


def _model(loc: tuple[int | str, ...]) -> type[Part]:
    """Return the part of the format that *loc* is a key of."""
    model: type[Part] = ExperimentFile
    for step in loc:
        if tag := _TAG.fullmatch(str(step)):
            model = _PARTS.get(tag[1], model)
        elif isinstance(step, str) and _field(model, step) in model.model_fields:
            inner = list(_parts_in(model.model_fields[_field(model, step)].annotation))
            model = inner[0] if len(inner) == 1 else model
    return model


def _field(model: type[Part], key: str) -> str:
    """Return the name of the field that *key* is written for."""
    return next((name for name, info in model.model_fields.items() if info.alias == key), key)


def _keys(model: type[Part]) -> list[str]:
    return [info.alias or name for name, info in model.model_fields.items()]


def _parts_in(annotation: Any) -> Iterator[type[Part]]:
    if isinstance(annotation, type) and issubclass(annotation, Part):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from _parts_in(argument)


def _all_parts(part: type[Part]) -> Iterator[type[Part]]:
    for kind in part.__subclasses__():
        yield kind
        yield from _all_parts(kind)


_PARTS = {part.__name__: part for part in _all_parts(Part)}


def _kind(value: Any) -> str:
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    if value is None:
        return "nothing"
    kind = "a text" if isinstance(value, str) else "true or false" if isinstance(value, bool) else "a number"
    return f"{kind} ({_shown(value)})"


def _shown(value: Any) -> str:
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
