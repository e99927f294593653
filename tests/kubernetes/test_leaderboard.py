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

def seen(player):
    url = f"http://{os.environ['GATEWAY_SERVICE_HOST']}/rank/{player}"
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.headers.get("x-degraded"), json.load(answer)["shard"]
    except OSError as error:
        return str(error), "none"

found = {}
for degraded, shard in map(seen, range(60)):
    found.setdefault(shard, []).append(degraded is None)
print(json.dumps({shard: sum(answers) for shard, answers in found.items()}))
"""


SHARDS = {"shard-1", "shard-2", "shard-3"}


def answering(cluster: Any, namespace: str) -> set[str]:
    """Return the shards from which some of sixty players get their rank, asked from a pod.

    Some: the gateway waits a fifth of a second for a shard, and this machine may have other work.
    """
    words = ("exec", "--namespace", namespace, "shard-1", "--", "python", "-c", ASK)
    ranked = json.loads(cluster.kubectl(*words, within_s=60.0))
    return {shard for shard, count in ranked.items() if count}


def test_only_the_players_of_a_killed_shard_lose_their_rank_and_get_it_back(
    cluster: Any, leaderboard: str, until: Callable[..., Any]
) -> None:
    """Every shard answers through the gateways; one is killed; the others go on, and it comes back."""
    until(lambda: answering(cluster, leaderboard) == SHARDS, within_s=60.0)
    kill = ("delete", "pod", "shard-2", "--namespace", leaderboard, "--grace-period=0", "--wait=false")
    cluster.kubectl(*kill)
    until(lambda: answering(cluster, leaderboard) == SHARDS - {"shard-2"}, within_s=60.0)
    until(lambda: answering(cluster, leaderboard) == SHARDS, within_s=60.0)
