"""The cluster itself: what the other tests here rely on."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.cluster


def test_a_service_reaches_pods_on_every_node_from_every_node(
    cluster: Any, namespace: str, web: Callable[..., Any], until: Callable[..., Any]
) -> None:
    """Each replica reaches all replicas through their Service, wherever both are."""
    names = ("--namespace", namespace)
    service = {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}
    cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web", "namespace": namespace},
            "spec": service,
        },
        web("web", namespace, replicas=4),
    )
    cluster.kubectl(*names, "rollout", "status", "deployment/web", "--timeout=60s", within_s=70.0)
    pods = cluster.read("pods", *names)["items"]
    address = cluster.read("service/web", *names)["spec"]["clusterIP"]
    assert len({pod["spec"]["nodeName"] for pod in pods}) > 1 or cluster.kind == "existing"
    everyone = {pod["metadata"]["name"] for pod in pods}
    ask = f"for i in $(seq 20); do wget -qO- http://{address}/; done"
    for pod in everyone:
        seen: set[str] = set()

        def all_answered(pod: str = pod, seen: set[str] = seen) -> bool:
            seen.update(
                re.findall(r"hello from (\S+)", cluster.kubectl(*names, "exec", pod, "--", "sh", "-c", ask))
            )
            return seen == everyone

        until(all_answered)


def test_pods_reach_the_api_server(cluster: Any, namespace: str, web: Callable[..., Any]) -> None:
    """An agent that runs inside finds the API server where every pod does."""
    names = ("--namespace", namespace)
    cluster.apply(web("inside", namespace, replicas=1))
    cluster.kubectl(*names, "rollout", "status", "deployment/inside", "--timeout=60s", within_s=70.0)
    script = "echo | nc -w 2 $KUBERNETES_SERVICE_HOST $KUBERNETES_SERVICE_PORT && ls /var/run/secrets/*/*"
    listed = cluster.kubectl(*names, "exec", "deployment/inside", "--", "sh", "-c", script)
    assert {"ca.crt", "namespace", "token"} == set(listed.split())
