"""Where activities, controls and providers stand in a definition that may be wrong anywhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from agent.catalog.problem import Where

HYPOTHESIS = "steady-state-hypothesis"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """A mapping in a definition, and the way to it.

    ``section`` is ``hypothesis``, ``tolerance``, ``method`` or ``rollbacks`` for activities, and
    ``controls`` for controls.
    """

    section: str
    where: Where
    body: Mapping[str, Any]

    def text(self, key: str) -> str | None:
        """Return the value at *key* if it is a text."""
        value = self.body.get(key)
        return value if isinstance(value, str) else None

    @property
    def provider(self) -> Mapping[str, Any]:
        """The provider, or nothing where it is not a mapping."""
        return mapping(self.body.get("provider"))


def mapping(value: Any) -> Mapping[str, Any]:
    """Return *value* if it is a mapping, else an empty one."""
    return value if isinstance(value, dict) else {}


def listed(value: Any) -> list[Any]:
    """Return *value* if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def activities(definition: Mapping[str, Any]) -> Iterator[Spot]:
    """Yield every activity: hypothesis, the probes in its tolerances, method, rollbacks."""
    probes = mapping(definition.get(HYPOTHESIS)).get("probes")
    for spot in _spots("hypothesis", (HYPOTHESIS, "probes"), probes):
        yield spot
        tolerance = mapping(spot.body.get("tolerance"))
        if tolerance.get("type") == "probe":
            yield Spot(section="tolerance", where=(*spot.where, "tolerance"), body=tolerance)
    for section in ("method", "rollbacks"):
        yield from _spots(section, (section,), definition.get(section))


def controls(definition: Mapping[str, Any]) -> Iterator[tuple[Where, tuple[Spot, ...]]]:
    """Yield each place that has controls, the whole experiment first, with its controls."""
    holders: list[tuple[Where, Mapping[str, Any]]] = [((), definition)]
    holders.append(((HYPOTHESIS,), mapping(definition.get(HYPOTHESIS))))
    holders.extend((spot.where, spot.body) for spot in activities(definition))
    for where, holder in holders:
        if spots := tuple(_spots("controls", (*where, "controls"), holder.get("controls"))):
            yield where, spots


def gameday(definition: Mapping[str, Any]) -> tuple[Where, Mapping[str, Any]] | None:
    """Return gameday's extension and where it stands."""
    for i, extension in enumerate(listed(definition.get("extensions"))):
        if mapping(extension).get("name") == "gameday":
            return ("extensions", i), extension
    return None


def number(value: Any) -> float | None:
    """Return *value* if it is a number."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _spots(section: str, where: Where, value: Any) -> Iterator[Spot]:
    for i, body in enumerate(listed(value)):
        if isinstance(body, dict):
            yield Spot(section=section, where=(*where, i), body=body)
