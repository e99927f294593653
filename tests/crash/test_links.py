"""Link faults end by themselves when nobody of the run is left: the proxy itself holds the lease."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any

import pytest

from agent.proxy.client import ProxyClient

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Stage


@pytest.mark.parametrize("kind", ["partition", "refuse"])
def test_when_everything_but_the_proxy_is_killed_the_link_heals_by_its_lease(
    stage: Stage, kind: str, until: Callable[..., Any]
) -> None:
    """No reaper, no parent, no child; the next `gameday heal` finds it gone and closes the book."""
    with socket.create_server(("127.0.0.1", 0)) as upstream:
        where = f"127.0.0.1:{upstream.getsockname()[1]}"
        link = f"db=127.0.0.1:0->{where}"
        proxy = stage.start("agent.proxy", "--home", str(stage.home), "--link", link)
        state = until(lambda: stage.home.joinpath("proxy.json").exists() and _state(stage))
        client = ProxyClient(api=state["api"], token=state["token"])
        act = {"type": "python", "module": "agent.faults.links", "func": kind, "arguments": {"link": "db"}}
        method = [{"name": "cut", "type": "action", "provider": act, "pauses": {"after": 25}}]
        stage.start("agent", "run", str(stage.experiment(method=method)), "--json")
        until(lambda: [i for i in stage.open_injections() if i.landed])
        assert client.links()[0]["toxics"]
        stage.kill_all(but=(proxy.pid,))
        until(lambda: not client.links()[0]["toxics"])
        assert stage.open_injections()
        code, _, errors = stage.gameday("heal")
        assert code == 0, errors
        assert stage.open_injections() == ()


def _state(stage: Stage) -> dict[str, Any]:
    state: dict[str, Any] = json.loads(stage.home.joinpath("proxy.json").read_text())
    return state
