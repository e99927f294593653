"""An answer whose arrivals another clock told is as much less sure."""

from __future__ import annotations

from typing import Any

from agent.breakers.blur import blurred


def _property(low: float | None, high: float | None) -> dict[str, Any]:
    return {"estimate": 1.0, "low": low, "high": high}


def test_brackets_and_times_are_wider_and_the_rest_is_as_it_was() -> None:
    """Transitions by the bound, times between two by twice as much, never below zero; and it is said."""
    properties = {
        "time_to_open_s": _property(0.005, 0.5),
        "time_to_close_s": _property(None, None),
        "leak_share": _property(0.0, 0.1),
    }
    step = {
        "from": "closed",
        "to": "open",
        "after": 10.0,
        "before": 10.5,
        "after_at": 110.0,
        "before_at": 110.5,
    }
    stream = {"key": "", "transitions": [step], "properties": properties, "sources": []}
    found = blurred({"notes": ["one"], "streams": [stream], "properties": properties}, 0.01, {})
    (wide,) = found["streams"][0]["transitions"]
    assert (wide["after"], wide["before"]) == (9.99, 10.51)
    assert (wide["after_at"], wide["before_at"]) == (109.99, 110.51)
    assert found["properties"] == found["streams"][0]["properties"]
    assert found["properties"]["time_to_open_s"] == _property(0.0, 0.52)
    assert found["properties"]["time_to_close_s"] == _property(None, None)
    assert found["properties"]["leak_share"] == properties["leak_share"]
    assert found["notes"][0] == "one"
    assert "10.0 ms" in found["notes"][1]
