"""What a function takes, and whether a value from a file fits it."""

from __future__ import annotations

import collections.abc
import typing
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from agent.catalog.signature import fits, said, shape_of, signature_of
from agent.model import Json

ANNOTATIONS = [
    bool,
    int,
    float,
    str,
    None,
    int | None,
    str | None,
    list[int],
    list[str | int],
    dict[str, float],
    list[list[bool]],
    Literal["a", 1, True],
    Literal["a"] | None,
    Annotated[int, "meta"],
    dict[str, list[int] | None],
]
values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(-2, 2) | st.sampled_from(["a", "b", ""]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=2)
    ),
    max_leaves=5,
)


@given(annotation=st.sampled_from(ANNOTATIONS), value=values)
def test_a_value_fits_as_a_strict_validator_says(annotation: Any, value: object) -> None:
    """A value fits an annotation when pydantic, in strict mode, accepts it."""
    try:
        TypeAdapter(annotation).validate_python(value, strict=True)
        accepted = True
    except ValidationError:
        accepted = False
    assert fits(value, shape_of(annotation)) == accepted


@pytest.mark.parametrize(
    ("annotation", "shape"),
    [
        (Any, "any"),
        (object, "any"),
        (Path, "any"),
        (int | Path, "any"),
        (bytes, "any"),
        (tuple[int, str], {"list": "any"}),
        (collections.abc.Sequence[int], {"list": "int"}),
        (collections.abc.Mapping[str, int], {"mapping": "int"}),
        (list, {"list": "any"}),
        (dict, {"mapping": "any"}),
        (typing.TypeVar("T"), "any"),
        (set[str], {"list": "str"}),
    ],
)
def test_shapes(annotation: Any, shape: object) -> None:
    """Abstract containers are what JSON has; what JSON has no word for is not checked."""
    assert shape_of(annotation) == shape


@given(value=values)
def test_json_fits_the_name_for_json(value: object) -> None:
    """The recursive alias for JSON admits all of JSON, however deep."""
    assert fits(value, shape_of(Json))


@given(shape=st.sampled_from(ANNOTATIONS).map(shape_of))
def test_what_is_not_known_yet_fits_everything(shape: Any) -> None:
    """A value that is known at run time only is not held against a file; every shape has words."""
    assert fits(..., shape)
    assert said(shape)


def test_names_imported_for_a_type_checker_only_are_understood() -> None:
    """An annotation that is a text, of names that do not exist at run time, is understood."""

    def function(paths, *, limit, odd):  # noqa: ANN001, ANN202 - annotated below
        return paths, limit, odd

    function.__annotations__ = {"paths": "Sequence[str]", "limit": "Optional[int]", "odd": "NoSuchName"}
    signature = signature_of(function)
    assert signature is not None
    shapes = {p["name"]: p["shape"] for p in signature["parameters"]}
    assert shapes == {"paths": {"list": "str"}, "limit": {"either": ["int", "null"]}, "odd": "any"}


def test_parameters_are_told() -> None:
    """Required, optional, positional-only and open-ended parameters are told apart."""

    def function(a, /, b, c=1, *rest, d, **others):  # noqa: ANN001, ANN002, ANN003, ANN202 - what it has is the test
        return a, b, c, rest, d, others

    signature = signature_of(function)
    assert signature is not None
    assert signature["open"]
    told = [(p["name"], p["required"], p["by_keyword"]) for p in signature["parameters"]]
    assert told == [("a", True, False), ("b", True, True), ("c", False, True), ("d", True, True)]


def test_a_function_that_does_not_tell_is_not_checked() -> None:
    """A builtin without a signature has none."""
    assert signature_of(dict.fromkeys) is None or signature_of(iter) is None
