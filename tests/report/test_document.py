"""The JSON document and its schema."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.model import RunRecord, UsageError
from agent.report import SCHEMA_ID, from_json, json_text, schema

TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
}


def complaints(value: Any, rule: dict[str, Any], root: dict[str, Any], where: str = "$") -> list[str]:
    """Return what in *value* breaks *rule*: the part of JSON Schema that our schema is written in."""
    if "$ref" in rule:
        return complaints(value, root["$defs"][rule["$ref"].rpartition("/")[2]], root, where)
    if "anyOf" in rule:
        tried = [complaints(value, option, root, where) for option in rule["anyOf"]]
        return [] if [] in tried else tried[0]
    found = []
    if "const" in rule and value != rule["const"]:
        found.append(f"{where}: not {rule['const']!r}")
    if "enum" in rule and value not in rule["enum"]:
        found.append(f"{where}: not one of {rule['enum']}")
    if "type" in rule:
        fits = isinstance(value, TYPES[rule["type"]])
        if not fits or (isinstance(value, bool) and rule["type"] in {"integer", "number"}):
            return [*found, f"{where}: not of type {rule['type']}"]
    return found + inner_complaints(value, rule, root, where)


def inner_complaints(value: Any, rule: dict[str, Any], root: dict[str, Any], where: str) -> list[str]:
    """Return what is wrong inside an object or a list."""
    found: list[str] = []
    if isinstance(value, dict):
        found += [f"{where}: no {name}" for name in rule.get("required", []) if name not in value]
        for name, item in value.items():
            inner = rule.get("properties", {}).get(name, rule.get("additionalProperties", True))
            found += complaints(item, inner, root, f"{where}.{name}") if isinstance(inner, dict) else []
    if isinstance(value, list) and isinstance(rule.get("items"), dict):
        for n, item in enumerate(value):
            found += complaints(item, rule["items"], root, f"{where}[{n}]")
    return found


def test_every_story_keeps_to_the_schema(story: RunRecord) -> None:
    """What is written validates against the schema that is published."""
    assert complaints(json.loads(json_text(story)), schema(), schema()) == []


@pytest.mark.parametrize("name", ["run", "schema", "looks"])
def test_the_schema_notices_what_is_missing(stories: dict[str, RunRecord], name: str) -> None:
    """A document without one of its fields does not validate."""
    data = json.loads(json_text(stories["held"]))
    del data[name]
    assert complaints(data, schema(), schema()) == [f"$: no {name}"]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_record_comes_back_as_it_went(
    any_record: st.SearchStrategy[RunRecord], data: st.DataObject
) -> None:
    """Reading what was written gives the same record, and writing it again the same text."""
    record = data.draw(any_record)
    text = json_text(record)
    assert from_json(text) == record
    assert json_text(from_json(text)) == text


def test_what_json_has_no_word_for_is_replaced(stories: dict[str, RunRecord]) -> None:
    """NaN becomes null and a lone surrogate a question mark, so that every reader accepts the document."""
    record = stories["refused"].with_(title="\ud800", definition={"x": math.nan, "y": [math.inf]})
    read = from_json(json_text(record))
    assert read.title == "?"
    assert read.definition == {"x": None, "y": [None]}


def test_unknown_fields_are_left_out(stories: dict[str, RunRecord]) -> None:
    """A document of a newer version with more fields can still be read."""
    data = json.loads(json_text(stories["held"])) | {"new": 1}
    assert from_json(json.dumps(data)) == stories["held"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not a JSON document"),
        ("[" * 100_000, "not a JSON document"),
        ("[]", "schema is None"),
        ('{"schema": "gameday/run/2"}', "schema is 'gameday/run/2'"),
        (json.dumps({"schema": SCHEMA_ID}), "run: Field required"),
        (json.dumps({"schema": SCHEMA_ID, "run": 1}), "run: Input should be a valid string"),
    ],
)
def test_what_is_no_record_is_refused_with_the_reason(text: str, says: str) -> None:
    """The message names the field or the schema."""
    with pytest.raises(UsageError, match=says.replace("(", r"\(")):
        from_json(text)


def test_the_documentation_names_every_field() -> None:
    """docs/report-schema.md has a line for each field of each part of the schema."""
    text = (Path(__file__).parents[2] / "docs" / "report-schema.md").read_text("utf-8")
    parts = {"": schema(), **schema()["$defs"]}
    names = {name for part in parts.values() for name in part.get("properties", {})}
    assert sorted(name for name in names if f"`{name}`" not in text) == []
