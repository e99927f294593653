"""Rules about programs and requests: arguments that arrive, addresses, seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent.catalog.fields import REFERENCE
from agent.catalog.outline import activities, listed, mapping
from agent.catalog.problem import Finding
from agent.catalog.signature import fits
from agent.catalog.values import Unknown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from agent.catalog.outline import Spot
    from agent.catalog.problem import Where
    from agent.catalog.values import Values


def outside_findings(definition: Mapping[str, Any], values: Values) -> Iterator[Finding]:
    """Yield what is wrong with process and http providers, and with waits."""
    for spot in activities(definition):
        pauses = mapping(spot.body.get("pauses"))
        for side, seconds in pauses.items():
            yield from _seconds((*spot.where, "pauses", side), seconds, values)
        match spot.provider.get("type"):
            case "process":
                yield from _arguments(spot)
            case "http":
                yield from _seconds(
                    (*spot.where, "provider", "timeout"), spot.provider.get("timeout"), values
                )
                yield from _address(spot, values)


def _arguments(spot: Spot) -> Iterator[Finding]:
    for i, argument in enumerate(listed(spot.provider.get("arguments"))):
        if argument == "":
            where = (*spot.where, "provider", "arguments", i)
            yield Finding(
                where=where, says="is empty, and Chaos Toolkit leaves it out", instead="take it out"
            )


def _address(spot: Spot, values: Values) -> Iterator[Finding]:
    url = values.fill(spot.provider.get("url"))
    if isinstance(url, str) and not url.lower().startswith(("http://", "https://")):
        where = (*spot.where, "provider", "url")
        yield Finding(where=where, says="is not an address", instead="start it with http:// or https://")


def _seconds(where: Where, given: Any, values: Values) -> Iterator[Finding]:
    """A reference keeps the type of its value, and a text is no number of seconds."""
    if isinstance(given, str) and REFERENCE.fullmatch(given):
        value = values.fill(given)
        if not fits(value.sample if isinstance(value, Unknown) else value, "float"):
            says = f"must be seconds, and {given} stands for something else"
            yield Finding(where=where, says=says, instead="give it env_var_type: float, or a number")
