"""The JSON Schema of the format, and its guide."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from chaoslib.control.python import _level_mapping

from agent.catalog.calls import CONTROL_FUNCTIONS
from agent.catalog.problem import Problem, dotted
from agent.catalog.read import read
from agent.catalog.shape import schema

if TYPE_CHECKING:
    from agent.catalog.modules import Modules
    from tests.catalog.conftest import Bench

GUIDE = Path(__file__).parents[2] / "docs" / "writing-an-experiment.md"
OURS = ("GamedayKeys", "ScheduleKeys", "RadiusKeys", "WatchKeys", "DuringKeys")


@pytest.mark.parametrize("part", OURS)
def test_every_key_of_the_extension_is_described(part: str) -> None:
    """The schema describes each key of the gameday extension."""
    properties = schema()["$defs"][part]["properties"]
    assert all(about.get("description") for about in properties.values())


def test_every_key_of_the_format_is_described_and_none_is_unknown() -> None:
    """Every mapping of the format is closed, except other tools' extensions, and each key described."""
    definitions = {**schema()["$defs"], "top": schema()}
    for name, part in definitions.items():
        assert part["additionalProperties"] is (name == "OtherExtension"), name
        assert all("description" in about for about in part["properties"].values()), name


def test_the_schema_is_json() -> None:
    """The schema can be written as JSON and asks for what a file needs."""
    top = json.loads(json.dumps(schema()))
    assert top["required"] == ["title", "description", "steady-state-hypothesis", "method"]


@pytest.mark.parametrize("part", OURS)
def test_the_guide_names_every_key_of_the_extension(part: str) -> None:
    """The guide has a row for each key of the extension."""
    guide = GUIDE.read_text(encoding="utf-8")
    for key in schema()["$defs"][part]["properties"]:
        assert re.search(rf"`(\w+\.)?{key}`", guide), key


def test_the_guides_example_can_be_read(bench: Bench, known_modules: Modules) -> None:
    """The full example of the guide is a good experiment."""
    (text,) = re.findall(r"```yaml\n(version:.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    assert read(bench.write(text), modules=known_modules).definition == yaml.safe_load(text)


def test_control_functions_are_chaos_toolkits() -> None:
    """The functions that are checked are those that Chaos Toolkit passes a control's arguments to."""
    named = {name for level, name in _level_mapping.items() if not level.startswith("loader")}
    assert set(CONTROL_FUNCTIONS) == named | {"configure_control"}


def test_a_problem_is_one_line() -> None:
    """A problem reads as file, line, column, place, what is wrong, what to write."""
    where: Any = dotted(("method", 0, "provider", "func"))
    problem = Problem(
        file="a.yaml", line=3, column=7, where=where, says="is wrong", instead="did you mean x?"
    )
    assert str(problem) == "a.yaml:3:7: method[0].provider.func: is wrong; did you mean x?"
