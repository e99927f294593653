"""What a storm that ``agent.faults.storms`` provoked in this run showed; before that it showed nothing."""

from __future__ import annotations

import json
from typing import Any

from agent import settings as settings_of
from agent.model import NoEvidence
from agent.safety.context import current_run
from agent.store import Store
from probes.traffic import success_ratio

RESULT = "storm.json"
NONE = "none"
SAMPLES_MIN = 10


def complaint(*, survives_rps: float | None = None) -> str:
    """Return what a storm showed that must not be, as a sentence, or ``none``; before one also ``none``.

    One load: anything but a recovery within the action's ``prompt_s``.  A sweep: an outage that stays at
    *survives_rps* or below, or else at the lowest load tried.

    Args:
        survives_rps: The load that the service has to survive; after one load alone it says nothing.

    Raises:
        NoEvidence: A storm was provoked, and it shows nothing.
    """
    path = current_run().folder / RESULT
    if not path.exists():
        return NONE
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if found["hysteresis"] is not None:
        return _of_sweep(found, survives_rps)
    if found["outcome"] == "inconclusive":
        raise NoEvidence(found["answer"])
    return NONE if found["outcome"] == "recovered" else f"{found['outcome']}: {found['answer'].rstrip('.')}"


def _of_sweep(found: dict[str, Any], survives_rps: float | None) -> str:
    survived, failed = found["hysteresis"]["survives_rps"], found["hysteresis"]["fails_rps"]
    if survived is None and failed is None:
        raise NoEvidence(found["answer"])
    wanted = survives_rps if survives_rps is not None else found["levels"][0]["rate_rps"]
    if survived is not None and survived >= wanted:
        return NONE
    if failed is not None and failed <= wanted:
        return str(found["answer"]).rstrip(".")
    raise NoEvidence(f"{found['answer']} Whether it survives {wanted:g} rps was not tried")


def bears_it(*, window_s: float, good_share: float = 0.9, samples_min: int = SAMPLES_MIN) -> bool:
    """Return whether the goodput is as it should be; true as long as this run has broken nothing.

    What a service does with nothing wrong is the action's to tell: it looks at a whole baseline, and a
    service that trips by itself is an answer of its own.  From the first injection on, the share of the
    last *window_s* seconds counts, so that the watch can end what goes on for too long.

    Args:
        window_s: Requests that completed in this many last seconds.
        good_share: 0 to 1.
        samples_min: With fewer requests there is no answer.

    Raises:
        NoEvidence: Too few requests, or no traffic at all.
    """
    store = Store(settings_of.current().home)
    try:
        touched = bool(store.injections(current_run().id))
    finally:
        store.close()
    ratio = success_ratio(window_s=window_s, samples_min=samples_min)
    return not touched or ratio >= good_share


def outcome_is(*, outcome: str) -> bool:
    """Return whether the last load that was tried came out as *outcome*, such as ``recovered``.

    Raises:
        NoEvidence: No storm was provoked, or it shows nothing.
    """
    path = current_run().folder / RESULT
    if not path.exists():
        raise NoEvidence("no storm was provoked in this run")
    found = json.loads(path.read_text(encoding="utf-8"))["outcome"]
    if found == "inconclusive":
        raise NoEvidence("the storm showed nothing")
    return bool(found == outcome)
