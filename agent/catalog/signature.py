"""What a function takes, as JSON, and whether a value from a file fits it."""

from __future__ import annotations

import collections.abc
import inspect
import types
import typing
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

type Shape = str | dict[str, Any]
"""``any``, ``null``, ``bool``, ``int``, ``float``, ``str``, or one of ``{"either": [...]}``,
``{"list": shape}``, ``{"mapping": shape}``, ``{"one of": values}``."""

_PLAIN = {bool: "bool", int: "int", float: "float", str: "str", None: "null", types.NoneType: "null"}
_NAMES = {**vars(typing), **vars(collections.abc)}
"""For annotations whose names were imported for a type checker only."""
_DEPTH_MAX = 6
_INDEFINITE = {"bool": "true or false", "int": "a whole number", "float": "a number", "str": "a text"}


def signature_of(function: Callable[..., Any]) -> dict[str, Any] | None:
    """Return *function*'s parameters and whether it takes any keyword; None if it does not tell."""
    try:
        signature = inspect.signature(function)
    except (ValueError, TypeError, NameError):
        return None
    hints = inspect.unwrap(function)
    parameters = []
    for name, parameter in signature.parameters.items():
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        parameters.append(
            {
                "name": name,
                "required": parameter.default is parameter.empty,
                "by_keyword": parameter.kind is not parameter.POSITIONAL_ONLY,
                "shape": shape_of(_resolved(parameter.annotation, hints)),
            }
        )
    kinds = {parameter.kind for parameter in signature.parameters.values()}
    return {"parameters": parameters, "open": inspect.Parameter.VAR_KEYWORD in kinds}


def _resolved(annotation: Any, function: Callable[..., Any]) -> Any:
    if not isinstance(annotation, str):
        return annotation
    scope = {**_NAMES, **getattr(function, "__globals__", {})}
    try:
        return eval(annotation, scope)  # noqa: S307 - an annotation of a module that was just imported
    except Exception:  # noqa: BLE001 - foreign text; what cannot be evaluated is not checked
        return Any


def shape_of(annotation: Any, depth: int = 0) -> Shape:
    """Return the shape of the JSON values that *annotation* admits; ``any`` where that is unclear."""
    if isinstance(annotation, typing.TypeAliasType):
        annotation = annotation.__value__
    if isinstance(annotation, collections.abc.Hashable) and annotation in _PLAIN:
        return _PLAIN[annotation]
    origin, arguments = typing.get_origin(annotation) or annotation, typing.get_args(annotation)
    if origin is typing.Literal:
        return {"one of": list(arguments)}
    return (
        "any" if depth > _DEPTH_MAX else _built(origin, [shape_of(inner, depth + 1) for inner in arguments])
    )


def _built(origin: Any, inner: list[Shape]) -> Shape:
    """Return the shape of a type that is built from others."""
    if origin is typing.Annotated:
        return inner[0]
    if origin in (typing.Union, types.UnionType):
        return "any" if "any" in inner else {"either": inner}
    if not isinstance(origin, type) or issubclass(origin, str | bytes):
        return "any"
    if issubclass(origin, collections.abc.Mapping):
        return {"mapping": inner[1] if len(inner) == 2 else "any"}
    if issubclass(origin, collections.abc.Iterable) and _is_abstract_or_builtin(origin):
        return {"list": inner[0] if len(inner) == 1 and origin is not tuple else "any"}
    return "any"


def _is_abstract_or_builtin(origin: type) -> bool:
    return origin.__module__ in ("builtins", "collections.abc", "typing")


def fits(value: Any, shape: Shape) -> bool:
    """Return whether a JSON *value* may be passed where *shape* is asked for; ``...`` always may."""
    if value is ...:
        return True
    if isinstance(shape, dict):
        return _fits_one(value, shape)
    if isinstance(value, bool):
        return shape in ("any", "bool")
    kinds: Mapping[str, Any] = {"int": int, "float": (int, float), "str": str, "null": types.NoneType}
    return shape == "any" or (shape in kinds and isinstance(value, kinds[shape]))


def _fits_one(value: Any, shape: dict[str, Any]) -> bool:
    if "either" in shape:
        return any(fits(value, inner) for inner in shape["either"])
    if "one of" in shape:
        return any(value == one and type(value) is type(one) for one in shape["one of"])
    if "list" in shape:
        return isinstance(value, list) and all(fits(item, shape["list"]) for item in value)
    return isinstance(value, dict) and all(fits(item, shape["mapping"]) for item in value.values())


def said(shape: Shape) -> str:
    """Return *shape* in words."""
    if isinstance(shape, str):
        return _INDEFINITE.get(shape, "nothing" if shape == "null" else "anything")
    if "either" in shape:
        return " or ".join(said(inner) for inner in shape["either"])
    if "one of" in shape:
        return f"one of {', '.join(map(str, shape['one of']))}"
    kind, inner = next(iter(shape.items()))
    of = "" if inner == "any" else f" of which each is {said(inner)}"
    return f"a {kind}{of}"
