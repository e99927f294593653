"""Finds and mends what carries a run's label in the cluster, even when the ledger is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.clients import kubernetes
from agent.clients.kubernetes import own_namespace
from agent.faults import isolation, node_checks, standby
from agent.jobs.adopting import lives_in_a_job
from agent.model import UsageError
from agent.safety import owner
from agent.safety.kubernetes_guard import forbidden, is_pattern

if TYPE_CHECKING:
    from agent.settings import Settings
    from agent.store import Store


def sweep(store: Store, settings: Settings) -> list[str]:
    """Take out labelled leftovers in ``GAMEDAY_NAMESPACES``, put changed values back; return what was found.

    What belongs to a run of this ledger that is still going on is left alone; what belongs to a run
    that this ledger does not know is taken out, so another agent's running fault ends early.

    Raises:
        UsageError: ``GAMEDAY_NAMESPACES`` is not set.
    """
    patterns = settings.namespaces
    if not patterns:
        raise UsageError("--sweep looks in GAMEDAY_NAMESPACES, which is not set")
    opened = store.runs(open_only=True)
    alive = [row.id for row in opened if owner.is_alive(row) or lives_in_a_job(store.home, row)]
    with kubernetes.connect() as api:
        named = [each for each in patterns if not is_pattern(each)]
        if len(named) < len(patterns):
            everywhere = [each["metadata"]["name"] for each in api.items("/api/v1/namespaces")]
            named = [each for each in everywhere if forbidden(each, patterns, own_namespace()) is None]
        found = standby.sweep(api, standby.home(), alive=alive)
        found += node_checks.sweep(api, alive=alive) if settings.nodes else []
        return found + [each for name in named for each in isolation.sweep(api, name, alive=alive)]
