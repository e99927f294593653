"""Five services in front of one dependency with a capacity, each with the outcome that is known of it.

The dependency bears 100 requests a second, 75 calls a second are offered, and the service waits 0.2 s for
it: half the size of the measurement the outcomes come from, with the same utilisation and the same queue
(20 requests) at which answers come too late.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from agent.proxy.client import ProxyClient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Stage

LONGEST_S = 270.0
pytestmark = [pytest.mark.targets, pytest.mark.timeout(LONGEST_S + 30)]

SERVICE = {"timeout_s": 0.2, "retries": 3, "threshold": 5, "open_s": 1.0}


@dataclass(frozen=True, slots=True)
class Stormed:
    """What came of a storm: the exit code, the answer, and the dependency's own record of its queue."""

    code: int
    told: dict[str, Any]
    log: Path

    def phase(self, name: str) -> dict[str, Any]:
        """Return a phase of the last load that was tried."""
        found: dict[str, Any] = next(
            each for each in self.told["levels"][-1]["phases"] if each["name"] == name
        )
        return found

    def queued(self, since: float, until: float) -> list[int]:
        """Return the lengths of the queue that the dependency wrote down between two monotonic moments."""
        rows = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [row["queued"] for row in rows if since <= row["at"] <= until]


@pytest.fixture
def storm(stage: Stage, targets: Any, until: Callable[..., Any]) -> Iterator[Callable[..., Stormed]]:
    """Start dependency, link and service, provoke a storm, and return what came of it."""
    started: list[Any] = []

    def play(order: str, *more: str, dependency: dict[str, Any] | None = None, **service: Any) -> Stormed:
        behind = targets.start("queueing", folder=stage.folder / "dependency", **(dependency or {}))
        started.append(behind)
        link = f"dependency=127.0.0.1:0->{behind.address}"
        stage.start("agent.proxy", "--home", str(stage.home), "--link", link)
        state = until(lambda: (stage.home / "proxy.json").exists() and _state(stage))
        listen = ProxyClient(api=state["api"], token=state["token"]).links()[0]["listen"]
        options = {**SERVICE, "order": order, **service}
        target = targets.start("own", listen, folder=stage.folder / "service", **options)
        started.append(target)
        _warm(target.url)
        asked = ["breaker", "storm", "--entry", f"{target.url}/call?key=a", "--rate", "75", "--json"]
        asked += ["--baseline-s", "6", "--watch-s", "12", *more]
        code, told, errors = stage.gameday(*asked, timeout_s=LONGEST_S)
        assert told is not None, errors
        return Stormed(code, told, behind.log)

    yield play
    for each in reversed(started):
        each.end()


def _warm(url: str) -> None:
    """Ask a few times, one after the other: a cold start alone would set off what retries keep going."""
    with httpx.Client() as client:
        for _ in range(50):
            client.get(f"{url}/call?key=a")


def _state(stage: Stage) -> dict[str, Any]:
    state: dict[str, Any] = json.loads((stage.home / "proxy.json").read_text())
    return state


def test_retries_alone_make_an_outage_that_stays(storm: Callable[..., Stormed]) -> None:
    """Metastable: the queue is longer than the patience, so that all that is done is done in vain."""
    came = storm("retries", dependency={"queue_max": 400})
    assert came.told["outcome"] == "metastable", came.told["answer"]
    assert (came.code, came.told["verdict"]) == (1, "DEVIATED")
    assert came.phase("watch")["goodput"]["high"] < 0.1
    assert came.phase("watch")["amplification"]["low"] > 2
    assert came.phase("baseline")["amplification"]["high"] < 1.1
    watch = came.phase("watch")
    assert min(came.queued(watch["began"] + 1, watch["ended"])) > 20


def test_without_retries_a_queue_drains_slowly(storm: Callable[..., Stormed]) -> None:
    """Three times the load for 3 s leaves more than ten seconds of work, and nothing keeps it going."""
    came = storm("plain", "--trigger", "surge", "--surge-factor", "3", "--rate-max", "225", "--watch-s", "25")
    assert came.told["outcome"] == "slow-drain", came.told["answer"]
    assert (came.code, came.told["verdict"]) == (1, "DEVIATED")
    watch = came.phase("watch")
    assert watch["amplification"]["high"] < 1.1
    queued = came.queued(watch["began"], watch["ended"])
    assert queued[0] > 200
    assert queued[-1] < 20


def test_a_breaker_without_retries_recovers(storm: Callable[..., Stormed]) -> None:
    """Soon after the trigger is gone, whatever it was."""
    came = storm("breaker")
    assert came.told["outcome"] == "recovered", came.told["answer"]
    assert (came.code, came.told["verdict"]) == (0, "HELD"), came.told["reason"]


def test_a_breaker_around_retries_trips_by_itself(storm: Callable[..., Stormed]) -> None:
    """Nothing is done to it: at three quarters of the capacity its own timeouts open it, and that is said."""
    came = storm("breaker-around-retries", dependency={"spread": "exponential"}, timeout_s=0.08)
    assert came.told["outcome"] == "tripped-by-itself", came.told["answer"]
    assert (came.code, came.told["verdict"]) == (3, "INCONCLUSIVE")
    assert "It trips by itself at 75 rps" in came.told["reason"]
    assert came.told["run"]["injections"] == []


def test_retries_around_a_breaker_recover(storm: Callable[..., Stormed]) -> None:
    """The breaker ends what the retries would keep going."""
    came = storm("retries-around-breaker")
    assert came.told["outcome"] == "recovered", came.told["answer"]
    assert (came.code, came.told["verdict"]) == (0, "HELD"), came.told["reason"]


def test_a_sweep_tells_at_which_load_the_outage_begins_to_stay(storm: Callable[..., Stormed]) -> None:
    """Four requests for each call are more than 100 a second from 25 calls a second on; 75 are surely."""
    sweep = ("--sweep", "15:75", "--watch-s", "8")
    came = storm("retries", *sweep, dependency={"queue_max": 400})
    found = came.told["hysteresis"]
    assert found["survives_rps"] is not None, came.told["answer"]
    assert 15 <= found["survives_rps"] < found["fails_rps"] <= 60
    outcomes = {level["rate_rps"]: level["outcome"] for level in came.told["levels"]}
    assert outcomes[15] == "recovered"
    assert outcomes[75] == "metastable"
    assert (came.code, came.told["verdict"]) == (0, "HELD"), came.told["reason"]  # it bears its lowest load
