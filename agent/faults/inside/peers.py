"""What the peers of a pod are called, as addresses: those of pods, of Services, and of the API server."""

from __future__ import annotations

from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

from agent.clients.kubernetes import KubernetesError, NotThere
from agent.clients.pods import ALIVE
from agent.model import NoTargets, Refused, UsageError
from agent.safety.kubernetes_guard import check_selector, nothing_touched_yet

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from agent.clients.kubernetes import Api
    from agent.faults.kernel.scope import Network

SERVICE, PODS, HOST = "service/", "pods/", "host/"
OF_SERVICE = "kubernetes.io/service-name"


@nothing_touched_yet()
def addresses_of(api: Api, namespace: str, peers: Sequence[str]) -> list[str]:
    """Return *peers* with every ``service/NAME`` and ``pods/SELECTOR`` replaced by addresses.

    A packet to a Service carries the Service's address as far as its pod is concerned, and the answer
    too; so a Service stands for its own addresses and those of its endpoints, and pods stand for their
    own and those of Services that lead to nobody else.

    Raises:
        UsageError: It is no list.
        Refused: A right to look is missing.
        NoTargets: There is no such Service, or no such pod has an address.
    """
    if isinstance(peers, str):
        raise UsageError(f"peers: write a list, [{peers!r}]")
    found: list[str] = []
    for peer in peers:
        if peer.startswith(SERVICE):
            found += _of_service(api, namespace, peer.removeprefix(SERVICE))
        elif peer.startswith(PODS):
            found += _of_pods(api, namespace, peer.removeprefix(PODS))
        else:
            found.append(peer)
    return list(dict.fromkeys(found))


def api_server(api: Api) -> tuple[Network, ...]:
    """Return the addresses at which pods reach the API server.

    Raises:
        Refused: They cannot be read, so it could not be spared.
    """
    try:
        found = _of_service(api, "default", "kubernetes")
    except (KubernetesError, NoTargets) as error:
        raise Refused(f"the API server could not be spared: {error}; name single peers") from error
    return tuple(ip_network(address) for address in found)


def _of_service(api: Api, namespace: str, name: str) -> list[str]:
    try:
        service = api.get(f"/api/v1/namespaces/{namespace}/services/{name}")
    except NotThere:
        raise NoTargets(f"there is no Service {namespace}/{name}; nothing was injected") from None
    found = [*_cluster_addresses(service), *_endpoints(api, namespace, name)]
    if not found:
        raise NoTargets(f"Service {namespace}/{name} has no address and no endpoint; nothing was injected")
    return found


def _of_pods(api: Api, namespace: str, selector: str) -> list[str]:
    check_selector(selector)
    listed = api.items(f"/api/v1/namespaces/{namespace}/pods", selector=selector, fields=ALIVE)
    found = [each["ip"] for pod in listed for each in pod["status"].get("podIPs", ())]
    if not found:
        raise NoTargets(f"peers: no pod of {namespace} with {selector} has an address; nothing was injected")
    for service in api.items(f"/api/v1/namespaces/{namespace}/services"):
        behind = set(_endpoints(api, namespace, service["metadata"]["name"]))
        if behind and behind <= set(found):
            found += _cluster_addresses(service)
    return found


def _cluster_addresses(service: dict[str, Any]) -> Iterable[str]:
    return [address for address in service["spec"].get("clusterIPs", ()) if address != "None"]


def _endpoints(api: Api, namespace: str, service: str) -> list[str]:
    path = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
    slices = api.items(path, selector=f"{OF_SERVICE}={service}")
    return [
        address
        for each in slices
        for endpoint in each.get("endpoints") or ()
        for address in endpoint["addresses"]
    ]
