"""What the cluster of this environment is, and which faults the rights in it allow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent import settings as settings_of
from agent.clients import kubernetes
from agent.clients.kubernetes import own_namespace
from agent.doctor import Finding
from agent.faults import standby
from agent.faults.kubernetes_rights import JOBS, OWN, RIGHTS, missing
from agent.model import GamedayError
from agent.safety.kubernetes_guard import forbidden, is_pattern

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.clients.kubernetes import Api
    from agent.settings import Settings


def examine(settings: Settings) -> tuple[Finding, ...]:
    """Return every finding; asks the API server, and changes nothing in it."""
    try:
        with kubernetes.connect() as api:
            return tuple(_findings(api, settings))
    except GamedayError as error:
        return (Finding(name="cluster", ok=False, says=str(error)),)


def _findings(api: Api, settings: Settings) -> Iterator[Finding]:
    version = api.get("/version")["gitVersion"]
    yield Finding(name="cluster", ok=True, says=f"{api.place.server}, Kubernetes {version}")
    patterns = settings.namespaces
    named = [each for each in patterns if not is_pattern(each)]
    why = forbidden("…", (), None) if not patterns else None
    yield Finding(name="GAMEDAY_NAMESPACES", ok=why is None, says=why or ", ".join(patterns))
    wanted: list[str | None] = [*named] or [None]
    for namespace in wanted:
        yield from _allowed(api, namespace)


def _place(row: str, namespace: str | None) -> str | None:
    """Return where a row's rights have to hold, if not in the targets' *namespace*."""
    if row in OWN:
        return standby.home()
    if row in JOBS:
        return settings_of.current().job_namespace or own_namespace()
    return namespace


def _allowed(api: Api, namespace: str | None) -> Iterator[Finding]:
    """Tell of each fault whether all it needs is allowed in *namespace*, or in all of them."""
    for fault, rights in RIGHTS.items():
        place = _place(fault, namespace)
        lacking = missing(api, rights, place)
        where = f"in {place}" if place else "in every namespace"
        says = f"not allowed {where}: {', '.join(lacking)}" if lacking else f"allowed {where}"
        yield Finding(name=fault, ok=not lacking, says=says)
