"""What is known about a circuit breaker in this run, once ``agent.faults.breakers`` has exercised it.

Before that, and while it goes on, a breaker has broken no promise, and each predicate holds; afterwards
each answers from the evidence, and says so where that is too little.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from agent.breakers import expect as expectations
from agent.breakers.measures import isolation
from agent.breakers.measures.estimate import Status
from agent.model import NoEvidence
from agent.safety.context import current_run

RESULT = "breaker.json"
NONE = "none"


def complaints(*, expect: str = "") -> str:
    """Return what is wrong with the breaker, as a text: failed expectations and findings, or ``none``.

    Args:
        expect: A YAML or JSON file of expectations (property -> min, max; tolerated_findings).

    Raises:
        UsageError: The file cannot be read, or names what there is not.
        NoEvidence: Nothing is wrong, but too little failed to see it open, or an expectation is undecided.
    """
    wanted = expectations.parse(Path(expect)) if expect else {}
    answer = _answer()
    if answer is None:
        return NONE
    found = expectations.complaints(wanted, answer)
    if not found and (undecided := expectations.undecided(wanted, answer)):
        raise NoEvidence("; ".join(undecided))
    return "; ".join(found) or NONE


def opens_within(*, s: float) -> bool:
    """Whether it opens within *s* seconds of each fault.

    Raises:
        NoEvidence: It was exercised, and that did not show it either way; so do all below.
    """
    return _at_most("time_to_open_s", s)


def closes_within(*, s: float) -> bool:
    """Whether it is closed again within *s* seconds of each fault's end."""
    return _at_most("time_to_close_s", s)


def fails_fast(*, p99_ms: float) -> bool:
    """Whether 99 of 100 rejected calls take at most *p99_ms*."""
    return _at_most("fail_fast_p99_ms", p99_ms)


def leaks_at_most(*, share: float) -> bool:
    """Whether it lets through at most *share* (0 to 1) of the calls while it is open."""
    return _at_most("leak_share", share)


def half_open_budget_at_most(*, calls: int) -> bool:
    """Whether it tries at most so many calls at once while half-open."""
    return _at_most("half_open_budget", calls)


def amplifies_at_most(*, requests: float) -> bool:
    """Whether at most so many requests reach the dependency for a call that is let through under a fault."""
    return _at_most("retry_amplification", requests)


def isolates(*, share: float = 0.05) -> bool:
    """Whether at most *share* (0 to 1) of the calls to others are kept back while one path's calls are."""
    return _at_most(isolation.NAME, share)


def _at_most(name: str, limit: float) -> bool:
    answer = _answer()
    if answer is None:
        return True
    never = any(
        properties.get(name, {}).get("status") == Status.FAIL and properties[name]["estimate"] is None
        for _, properties in expectations.judged(answer)
    )
    found = expectations.held({name: {"max": limit}}, answer)
    if never or any(each["status"] == Status.FAIL for each in found):
        return False
    if undecided := [each["why"] for each in found if each["status"] == Status.INCONCLUSIVE]:
        raise NoEvidence("; ".join(undecided))
    return True


def _answer() -> dict[str, Any] | None:
    path = current_run().folder / RESULT
    if not path.exists():
        return None
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found
