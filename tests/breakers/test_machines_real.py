"""Real services whose machines are known: each is called by its name, and its states are not made up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.targets, pytest.mark.timeout(240)]

DESIGNS: dict[str, tuple[str, dict[str, Any], str]] = {
    "ten-trials": ("own", {"budget": 10, "successes": 5}, "breaker"),
    "gradual": ("own", {"bug": "gradual-recovery"}, "gradual"),
    "throttle": ("own", {"bug": "adaptive-throttle"}, "throttle"),
    "none": ("none", {}, "none"),
    "sliding": ("sliding", {}, "sliding"),
    "bucket": ("bucket", {"threshold": 8}, "rate-limiter"),
    "bulkhead": ("bulkhead", {}, "bulkhead"),
}
"""What is started, its options -> what it has to be called; breakers with a bug are in test_targets.py.

Left out, and said in docs/breakers.md: replicas, which are read as one breaker where the fault was short.
"""


@pytest.mark.parametrize("design", DESIGNS)
def test_a_machine_is_called_by_its_name(exercise: Callable[..., Any], design: str) -> None:
    """Whatever stands before the dependency, and no bug is found that its machine cannot have."""
    name, options, kind = DESIGNS[design]
    # What is no breaker leaves the claim about one undecided.
    came = exercise(name, kinds="error,hang", ends=(0, 1, 3), **{"timeout_s": 0.5, **options})
    machine = came.answer["streams"][0]["machine"]
    assert machine["kind"] == kind, machine["why"]
    assert came.bugs == ({"never-opens"} if kind == "none" else set()), came.answer["answer"]
