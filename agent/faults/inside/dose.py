"""What the injectors in pods measured: one dose of several, and a log of what came over their proxies."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agent.model import Fact

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from agent.model import Json

LOG_MAX_BYTES = 64 * 1024 * 1024
TOLD_TO = "it was told to"
"""Why an injector ends that ends as it should."""


@dataclass(frozen=True, slots=True)
class ArrivalLog:
    """A bounded file of what came over the proxies in pods, one JSON object a line, each with its pod."""

    path: Path

    def append(self, pod: str, entries: Sequence[Mapping[str, Any]]) -> None:
        """Append *entries*; a full disk loses them and never the fault's lease."""
        if not entries:
            return
        lines = "".join(json.dumps({"pod": pod, **entry}) + "\n" for entry in entries)
        with suppress(OSError):
            if not self.path.exists() or self.path.stat().st_size < LOG_MAX_BYTES:
                with self.path.open("a", encoding="utf-8") as file:
                    file.write(lines)


def merged(said: Mapping[str, Mapping[str, Any]]) -> dict[str, Json]:
    """Return what was *said* by each pod as one dose: whole numbers add up, the rest is told by pod.

    What is the same in all pods is told once.
    """
    of_pods = {pod: dict(answer.get("measured") or {}) for pod, answer in said.items()}
    found: dict[str, Json] = {}
    for name in dict.fromkeys(name for measured in of_pods.values() for name in measured):
        values = {pod: measured[name] for pod, measured in of_pods.items() if name in measured}
        different = {json.dumps(value, sort_keys=True) for value in values.values()}
        if all(isinstance(value, int) and not isinstance(value, bool) for value in values.values()):
            found[name] = sum(values.values())
        else:
            found[name] = next(iter(values.values())) if len(different) == 1 else dict(values)
    return found


def dose(said: Mapping[str, Mapping[str, Any]], became: Mapping[str, Json]) -> Fact:
    """Return the dose over the fault's whole life, and whether it was less than asked for.

    *became* is what became of the pods meanwhile: ``gone``, ``followed``, ``not_followed``.
    """
    listed = became.get("gone")
    gone = [str(each) for each in listed] if isinstance(listed, list) else []
    names = {each.rpartition("/")[2] for each in gone}
    early = {
        pod: answer["why"]
        for pod, answer in said.items()
        if answer.get("why") not in (None, TOLD_TO) and pod not in names
    }
    missed = {pod: answer["says"] for pod, answer in said.items() if answer.get("says")}
    says = ""
    if early:
        says = "ended before it was healed: " + "; ".join(f"{pod}: {why}" for pod, why in early.items())
    elif gone and len(gone) >= len(said) and not became.get("followed"):
        says = f"{', '.join(gone)} went away while it lasted; `follow: true` follows a replacement"
    elif missed and len(missed) == len(said):
        says = "; ".join(dict.fromkeys(missed.values()))
    return Fact(holds=not says, says=says, measured={**merged(said), **became})
