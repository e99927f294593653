"""Lists of many pages, while the cluster goes on."""

from __future__ import annotations

from typing import Any

import pytest

from agent.clients.kubernetes import connect

pytestmark = pytest.mark.cluster


def test_a_list_whose_moment_is_no_longer_kept_goes_on_where_it_was(
    cluster: Any, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two pages etcd is compacted and the API server begins anew: 410, and each is told once."""
    path = f"/api/v1/namespaces/{namespace}/secrets"
    names = [f"secret-{number}" for number in range(5)]
    for name in names:
        cluster.kubectl("--namespace", namespace, "create", "secret", "generic", name)
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))
    with connect() as api:
        listed = api.items(path, page=2)
        found = [next(listed)["metadata"]["name"], next(listed)["metadata"]["name"]]
        cluster.kubectl("--namespace", namespace, "delete", "secret", names[3])
        cluster.compact()
        cluster.restart_api_server()
        found += [each["metadata"]["name"] for each in listed]
    assert found == [name for name in names if name != names[3]]
