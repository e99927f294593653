"""What every fault and every experiment has to keep to."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent.catalog.read import discover, problems

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
MODULES = ("agent.faults.processes", "agent.faults.links", "agent.faults.packets")


def _faults() -> list[Callable[..., object]]:
    found = []
    for name in MODULES:
        module = importlib.import_module(name)
        for _, function in inspect.getmembers(module, inspect.isfunction):
            own = function.__module__ == name and not function.__name__.startswith("_")
            if own and "max_duration_s" in inspect.signature(function).parameters:
                found.append(function)
    return [each for each in found if "undo" in (each.__doc__ or "").lower()]


@pytest.mark.parametrize("fault", _faults(), ids=lambda f: f"{f.__module__}.{f.__name__}")
def test_every_fault_documents_its_undo_and_its_dead_man(fault: Callable[..., object]) -> None:
    """A fault that names no dead man is not accepted."""
    text = inspect.getdoc(fault) or ""
    assert text.partition("Undo:")[2].strip()
    assert text.partition("Dead man:")[2].strip()


@pytest.mark.parametrize("fault", _faults(), ids=lambda f: f"{f.__module__}.{f.__name__}")
def test_every_fault_takes_keywords_only_and_bounds_its_own_life(fault: Callable[..., object]) -> None:
    """A file that names an argument cannot mean another one, and max_duration_s has a default."""
    parameters = inspect.signature(fault).parameters
    assert all(each.kind is inspect.Parameter.KEYWORD_ONLY for each in parameters.values())
    assert parameters["max_duration_s"].default > 0


def test_there_are_faults_to_check() -> None:
    """The two tests above would pass with nothing to look at."""
    names = {f"{each.__module__.rpartition('.')[2]}.{each.__name__}" for each in _faults()}
    assert {"processes.kill", "processes.pause", "links.delay", "links.partition", "packets.drop"} <= names


@pytest.mark.parametrize("path", discover([ROOT / "experiments"]), ids=lambda p: p.stem)
def test_every_experiment_validates(path: Path) -> None:
    """What ships can be run."""
    assert problems(path) == ()
