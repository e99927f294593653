"""Finds and mends what carries a run's label in the cluster, even when the ledger is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from agent.clients import kubernetes
from agent.clients.kubernetes import own_namespace
from agent.faults.cluster import isolation, node_checks, rights, standby
from agent.jobs.adopting import lives_in_a_job
from agent.model import UsageError
from agent.safety import owner
from agent.safety.kubernetes_guard import forbidden, is_pattern, nothing_touched_yet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.clients.kubernetes import Api
    from agent.settings import Settings
    from agent.store import Store

log = structlog.get_logger()


def sweep(store: Store, settings: Settings) -> list[str]:
    """Take out labelled leftovers in ``GAMEDAY_NAMESPACES``, put changed values back; return what was found.

    What belongs to a run of this ledger that is still going on is left alone; what belongs to a run
    that this ledger does not know is taken out, so another agent's running fault ends early.

    Raises:
        UsageError: ``GAMEDAY_NAMESPACES`` is not set.
        Refused: A right is missing.  Nothing was swept.
    """
    patterns = settings.namespaces
    if not patterns:
        raise UsageError("--sweep looks in GAMEDAY_NAMESPACES, which is not set")
    opened = store.runs(open_only=True)
    alive = [row.id for row in opened if owner.is_alive(row) or lives_in_a_job(store.home, row)]
    with kubernetes.connect() as api:
        named = _named(api, patterns)
        _check(api, named, nodes=bool(settings.nodes))
        found = standby.sweep(api, standby.home(), alive=alive) if _has_restorers(api) else []
        found += node_checks.sweep(api, alive=alive) if settings.nodes else []
        return found + [each for name in named for each in isolation.sweep(api, name, alive=alive)]


@nothing_touched_yet()
def _named(api: Api, patterns: Sequence[str]) -> list[str]:
    """Return the namespaces that *patterns* mean; only for a wildcard all of them have to be listed."""
    named = [each for each in patterns if not is_pattern(each)]
    if len(named) == len(patterns):
        return named
    everywhere = [each["metadata"]["name"] for each in api.items("/api/v1/namespaces")]
    return [each for each in everywhere if forbidden(each, patterns, own_namespace()) is None]


def _check(api: Api, named: Sequence[str], *, nodes: bool) -> None:
    """Refuse to sweep half of it.

    Raises:
        Refused: A right is missing.
    """
    for name in named:
        rights.check(api, "heal --sweep", name)
    if nodes:
        rights.check(api, "nodes.cordon, nodes.taint", None)


def _has_restorers(api: Api) -> bool:
    """Whether values may have been changed by this account at all: it has no right of the row where not.

    Raises:
        Refused: It has some of them, and one is missing.
    """
    row = "heal --sweep of changed values"
    if len(rights.missing(api, rights.RIGHTS[row], standby.home())) == len(rights.RIGHTS[row]):
        log.warning("changed_values_not_swept", namespace=standby.home(), why=f"no right of {row}")
        return False
    rights.check(api, row, standby.home())
    return True
