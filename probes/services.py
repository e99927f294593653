"""Services of a Kubernetes namespace: who stands behind them, and whether they answer."""

from __future__ import annotations

from agent.clients.kubernetes import KubernetesError, NotThere
from agent.model import NoEvidence
from probes.cluster import CORE, DISCOVERY, asking


def has_endpoints(*, namespace: str, name: str, count_min: int = 1) -> bool:
    """Return whether at least *count_min* addresses of *name* are ready to serve.

    Raises:
        NoEvidence: There is no such Service.
    """
    ready: set[str] = set()
    with asking() as api:
        api.get(f"{CORE}/namespaces/{namespace}/services/{name}")
        slices = f"{DISCOVERY}/namespaces/{namespace}/endpointslices"
        for each in api.items(slices, selector=f"kubernetes.io/service-name={name}"):
            for endpoint in each.get("endpoints") or ():
                if (endpoint.get("conditions") or {}).get("ready", True):
                    ready.update(endpoint["addresses"])
    return len(ready) >= count_min


def responds(*, namespace: str, name: str, port: int | str, path: str = "/", timeout_s: float = 2.0) -> bool:
    """Return whether *name* answers an HTTP request below status 500 within *timeout_s*.

    The API server asks on our behalf (its proxy), so this works from outside the cluster, and what it
    sees is one ready pod at a time.

    Args:
        namespace: Where.
        name: The Service.
        port: Its port, by number or name.
        path: What to ask for, beginning with ``/``.
        timeout_s: Seconds until no answer is an answer.

    Raises:
        NoEvidence: There is no such Service, or no right to ask through the API server.
    """
    where = f"{CORE}/namespaces/{namespace}/services/{name}"
    with asking() as api:
        api.get(where)
        try:
            api.raw(f"{where}:{port}/proxy{path}", timeout_s=timeout_s)
        except NotThere:
            return True  # the Service exists, so this is the answer of who stands behind it
        except KubernetesError as error:
            if error.status in (401, 403) and error.body.get("kind") == "Status":
                raise NoEvidence(str(error)) from error
            return error.status is not None and error.status < 500
        return True
