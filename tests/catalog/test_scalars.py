"""What an unquoted YAML scalar means, and whether the two versions agree about it."""

from __future__ import annotations

import json
import math

import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from agent.catalog import jsontext, yamltext
from agent.catalog.document import Scalar, unfold
from agent.catalog.problem import Unreadable
from agent.catalog.scalars import plain

scalarish = st.text(alphabet="0123456789+-._:eExobaflsnruyENOT~ TZ", min_size=1, max_size=12)


@given(text=scalarish)
def test_what_is_not_in_doubt_is_the_same_to_both_versions(text: str) -> None:
    """A scalar that is accepted has the value that readers of 1.1 and of 1.2 give it."""
    try:
        node = yamltext.parse(text)
    except Unreadable:
        return
    assume(isinstance(node, Scalar) and not node.doubt)
    old = yaml.safe_load(text)
    new = YAML(typ="safe", pure=True).load(text)
    assert (type(old), old) == (type(new), new) == (type(node.value), node.value)


@pytest.mark.parametrize(
    "text",
    [
        "yes",
        "No",
        "on",
        "OFF",
        "010",
        "0o17",
        "0x1F",
        "0b1",
        "1_000",
        "10:30",
        "1e3",
        ".inf",
        "-.INF",
        ".nan",
        "+.5",
        "=",
        "<<",
        "2026-11-23",
        "2026-1-2 10:00:00",
        "08",
        "12e03",
    ],
)
def test_what_the_versions_read_differently_is_in_doubt(text: str) -> None:
    """A scalar whose meaning depends on the reader has to be quoted."""
    assert plain(text)[1]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("~", None),
        ("Null", None),
        ("true", True),
        ("FALSE", False),
        ("0", 0),
        ("-12", -12),
        ("1.", 1.0),
        (".5", 0.5),
        ("1.5e+3", 1500.0),
        ("1.0.0", "1.0.0"),
        ("y", "y"),
        ("a:b", "a:b"),
        ("1 2", "1 2"),
        ("0 10 * * mon", "0 10 * * mon"),
    ],
)
def test_plain_scalars_have_their_values(text: str, value: object) -> None:
    """Numbers, truth values and nulls are recognised; everything else is a text."""
    assert plain(text) == (value, "")


@pytest.mark.parametrize("text", ["9" * 30, "1.0e+999"])
def test_numbers_out_of_bounds_are_in_doubt(text: str) -> None:
    """A number that is too long or too large is refused, not rounded."""
    assert plain(text)[1].startswith("the number")


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**15), 10**15)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(value=json_values, indent=st.sampled_from([None, 0, 2]), ascii_only=st.booleans())
def test_json_is_read_back(value: object, indent: int | None, *, ascii_only: bool) -> None:
    """What is written as JSON is read as the same value."""
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    read = unfold(jsontext.parse(text))
    assert read.findings == ()
    assert read.value == value
    assert math.copysign(1, read.value) == math.copysign(1, value) if isinstance(value, float) else True


@given(value=st.dictionaries(st.text("abc", min_size=1), json_values, max_size=4))
def test_each_value_of_a_json_text_has_its_place(value: dict[str, object]) -> None:
    """The place of a key is where the key is written."""
    text = json.dumps(value, indent=1)
    document = unfold(jsontext.parse(text))
    for key in value:
        place = document.place((key,))
        line = text.split("\n")[place.line - 1]
        assert line[place.column - 1 :].startswith(json.dumps(key))


@given(value=json_values.filter(lambda v: isinstance(v, dict | list)))
def test_yaml_is_read_as_chaos_toolkit_reads_it(value: object) -> None:
    """What Chaos Toolkit's YAML library writes is read as the same value, unless it is in doubt."""
    text = yaml.safe_dump(value, allow_unicode=True)
    try:
        document = unfold(yamltext.parse(text))
    except Unreadable:
        return
    if not document.findings:
        assert document.value == yaml.safe_load(text)
