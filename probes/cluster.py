"""How every Kubernetes probe asks: what the API server did not tell is no evidence, and never an answer."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from agent.clients import kubernetes
from agent.model import NoEvidence, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.clients.kubernetes import Api

CORE = "/api/v1"
APPS = "/apis/apps/v1"
POLICY = "/apis/policy/v1"
AUTOSCALING = "/apis/autoscaling/v2"
DISCOVERY = "/apis/discovery.k8s.io/v1"


@contextmanager
def asking() -> Iterator[Api]:
    """Open the cluster of the environment; whatever it refuses in here is raised as NoEvidence."""
    try:
        with kubernetes.connect() as api:
            yield api
    except kubernetes.KubernetesError as error:
        raise NoEvidence(str(error)) from error


def read(group: str, plural: str, namespace: str, name: str) -> dict[str, Any]:
    """Return one object.

    Raises:
        NoEvidence: It is not there, or the API server did not tell.
    """
    with asking() as api:
        return api.get(f"{group}/namespaces/{namespace}/{plural}/{name}")


def check_selector(selector: str) -> None:
    """Refuse an empty selector.

    Raises:
        UsageError: There is nothing in it.
    """
    if not selector.strip(" ,"):
        raise UsageError('selector: say which, such as "app=gateway"; an empty one would mean all')
