"""What the cluster of this environment is, and which faults the rights in it allow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent import settings as settings_of
from agent.clients import kubernetes
from agent.clients.kubernetes import own_namespace
from agent.doctor import Finding
from agent.faults.cluster import standby
from agent.faults.cluster.families import FAMILIES, Where
from agent.faults.cluster.rights import RIGHTS, missing
from agent.model import GamedayError
from agent.safety.kubernetes_guard import forbidden, is_pattern

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agent.clients.kubernetes import Api
    from agent.faults.cluster.families import Family
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
    targets: list[str | None] = [*named] or [None]
    for name, family in FAMILIES.items():
        if family.restorer:
            continue  # another account's
        for namespace in _where(name, family, targets):
            yield from _allowed(api, name, family, namespace)


def _where(name: str, family: Family, targets: Sequence[str | None]) -> Sequence[str | None]:
    """Return where the rights of *family* have to hold; None is everywhere."""
    if family.where is Where.TARGETS:
        return targets
    if family.where is Where.EVERYWHERE:
        return [None]
    if family.where is Where.DEFAULT:
        return ["default"]
    if name == "jobs":
        return [settings_of.current().job_namespace or own_namespace()]
    return [standby.home()]


def _allowed(api: Api, name: str, family: Family, namespace: str | None) -> Iterator[Finding]:
    """Tell of each row whether all it needs is allowed in *namespace*, and which Role would allow it."""
    where = f"in {namespace}" if namespace else "in every namespace"
    for row in family.rows:
        lacking = missing(api, RIGHTS[row], namespace)
        says = f"not allowed {where}: {', '.join(lacking)}; deploy/rights/{name} allows it"
        yield Finding(name=row, ok=not lacking, says=says if lacking else f"allowed {where}")
