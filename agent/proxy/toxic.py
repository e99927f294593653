"""Toxics: how a link fails, for how long, and what it came to."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from agent.model import UsageError

KINDS: dict[str, dict[str, float | str | None]] = {
    "delay": {"latency_ms": None, "jitter_ms": 0.0, "direction": "both"},
    "partition": {"direction": "both", "held": "kept"},
    "refuse": {"connections": "reset"},
    "reset": {"on": "connect"},
    "throttle": {"bytes_per_s": None, "direction": "both"},
    "fail_requests": {"status": 503.0, "path": "*", "header": "", "value": "*"},
}
"""Kind -> its fields and their defaults; None must be given."""
DIRECTIONS = {"both", "upstream", "downstream"}
MEASURED_MAX = 20_000
"""How many held chunks keep their measured delay; later ones are counted only."""


@dataclass(slots=True)
class Dose:
    """What a toxic did so far: ``n`` connections, chunks or requests hit, and how long chunks were held."""

    n: int = 0
    bytes: int = 0
    held_ms: list[float] = field(default_factory=list)

    def hold(self, held_ms: float, size: int) -> None:
        """Count one chunk that was held."""
        self.n += 1
        self.bytes += size
        if len(self.held_ms) < MEASURED_MAX:
            self.held_ms.append(held_ms)

    def to_json(self) -> dict[str, Any]:
        """Return the dose so far."""
        ordered = sorted(self.held_ms)
        held = {}
        if ordered:
            held = {
                "held_p50_ms": round(ordered[len(ordered) // 2], 3),
                "held_p99_ms": round(ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))], 3),
            }
        return {"n": self.n, "bytes": self.bytes, **held}


@dataclass(slots=True, kw_only=True)
class Toxic:
    """One toxic on one link.  ``ends_at`` and ``hard_end`` are the loop's monotonic seconds."""

    id: str
    kind: str
    fields: dict[str, Any]
    toxicity: float
    began_at: float
    ends_at: float
    hard_end: float
    dice: random.Random
    dose: Dose = field(default_factory=Dose)

    @classmethod
    def parse(cls, toxic: str, raw: dict[str, Any], *, now: float) -> Toxic:
        """Return the toxic that the API's *raw* asks for.

        Raises:
            UsageError: An unknown kind or field, or a number out of range; says which.
        """
        values = dict(raw)
        kind = values.pop("kind", None)
        if kind not in KINDS:
            raise UsageError(f"kind is one of {', '.join(KINDS)}, not {kind!r}")
        toxicity = _number(values, "toxicity", 1.0, low=0.0, high=1.0)
        seed = values.pop("seed", None)
        lease_s = _number(values, "lease_s", None, low=0.05, high=3600.0)
        hard_s = _number(values, "max_duration_s", None, low=0.05, high=86400.0)
        return cls(
            id=toxic,
            kind=kind,
            fields=_fields(kind, values),
            toxicity=toxicity,
            began_at=now,
            ends_at=min(now + lease_s, now + hard_s),
            hard_end=now + hard_s,
            dice=random.Random(seed),
        )

    def renew(self, lease_s: float, *, now: float) -> None:
        """Extend the lease, never beyond the hard end."""
        self.ends_at = min(now + lease_s, self.hard_end)

    def hits(self) -> bool:
        """Throw the dice for one connection (or one request)."""
        return self.dice.random() < self.toxicity

    def covers(self, direction: str) -> bool:
        """Whether this toxic touches bytes that flow in *direction* (``upstream`` or ``downstream``)."""
        return self.fields.get("direction") in ("both", direction)

    def matches(self, path: str, headers: bytes) -> bool:
        """Whether a request is one of those that should fail."""
        if not fnmatchcase(path, self.fields["path"]):
            return False
        wanted = self.fields["header"]
        if not wanted:
            return True
        for line in headers.decode("latin-1").split("\r\n"):
            name, _, value = line.partition(":")
            if name.strip().lower() == wanted.lower() and fnmatchcase(value.strip(), self.fields["value"]):
                return True
        return False

    def to_json(self, now: float) -> dict[str, Any]:
        """Return what the API shows."""
        return {
            "found": True,
            "id": self.id,
            "kind": self.kind,
            **self.fields,
            "toxicity": self.toxicity,
            "lasted_s": round(now - self.began_at, 3),
            "left_s": round(max(0.0, self.ends_at - now), 3),
            "dose": self.dose.to_json(),
        }


def _fields(kind: str, values: dict[str, Any]) -> dict[str, Any]:
    known = KINDS[kind]
    for name in values:
        if name not in known:
            raise UsageError(f"{kind} has no field {name!r}; it has {', '.join(known) or 'none'}")
    fields: dict[str, Any] = {}
    for name, default in known.items():
        if isinstance(default, str):
            fields[name] = str(values.get(name, default))
        else:
            fields[name] = _number(values, name, default, low=0.0, high=1e12)
    if fields.get("direction", "both") not in DIRECTIONS:
        raise UsageError(f"direction is one of {', '.join(sorted(DIRECTIONS))}, not {fields['direction']!r}")
    if fields.get("on", "connect") not in ("connect", "request"):
        raise UsageError(f"on is connect or request, not {fields['on']!r}")
    if fields.get("held", "kept") not in ("kept", "lost"):
        raise UsageError(f"what is held is kept or lost, not {fields['held']!r}")
    if fields.get("connections", "kept") not in ("kept", "reset"):
        raise UsageError(f"connections are kept or reset, not {fields['connections']!r}")
    if kind == "throttle" and fields["bytes_per_s"] < 1:
        raise UsageError("bytes_per_s must be at least 1; use partition for silence")
    return fields


def _number(values: dict[str, Any], name: str, default: float | None, *, low: float, high: float) -> float:
    value = values.pop(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise UsageError(f"{name} is a number from {low:g} to {high:g}, not {value!r}")
    return float(value)
