"""The leaderboard in a cluster: what the experiments there break."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.cluster

ASK = """
import json, os, urllib.request
url = f"http://{os.environ['GATEWAY_SERVICE_HOST']}/rank/"
seen = [urllib.request.urlopen(url + str(player), timeout=5) for player in range(60)]
bodies = [(answer.headers.get("x-degraded"), json.load(answer)["shard"]) for answer in seen]
print(json.dumps({"degraded": [b for b in bodies if b[0]], "shards": sorted({b[1] for b in bodies})}))
"""


def ask(cluster: Any, namespace: str, *, of: str = "statefulset/shard") -> Any:
    """Return what players see through the gateway's Service, asked from a pod."""
    words = ("exec", "--namespace", namespace, of, "--", "python", "-c", ASK)
    return json.loads(cluster.kubectl(*words, within_s=60.0))


def test_the_leaderboard_answers_from_every_shard(
    cluster: Any, leaderboard: str, until: Callable[..., Any]
) -> None:
    """Three gateways and three shards, each with a Service, serve every player."""
    until(lambda: not ask(cluster, leaderboard, of="shard-1")["degraded"], within_s=30.0)
    assert ask(cluster, leaderboard, of="shard-1")["shards"] == ["shard-1", "shard-2", "shard-3"]


def test_a_dead_shard_is_an_honest_fallback_and_comes_back(
    cluster: Any, leaderboard: str, until: Callable[..., Any]
) -> None:
    """Only the players of the shard that was killed are told that their rank is unavailable, for a while."""
    until(lambda: not ask(cluster, leaderboard, of="shard-1")["degraded"], within_s=30.0)
    cluster.kubectl(
        "delete", "pod", "shard-2", "--namespace", leaderboard, "--grace-period=0", "--wait=false"
    )
    seen = until(lambda: ask(cluster, leaderboard, of="shard-1")["degraded"], within_s=30.0)
    assert {shard for _, shard in seen} == {"shard-2"}
    until(lambda: not ask(cluster, leaderboard, of="shard-1")["degraded"], within_s=60.0)
