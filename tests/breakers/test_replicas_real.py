"""Several processes of a service behind HAProxy, each with a breaker: the states of each, by its own log."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Stage

pytestmark = [pytest.mark.targets, pytest.mark.timeout(300)]

TOLERANCE_S = 0.015
RULES = {"timeout_s": 0.6, "threshold": 5, "open_s": 1.5}


class Fleet:
    """Processes of a service, who they are on the link, and what was told of them."""

    def __init__(
        self, answer: dict[str, Any], truth: dict[str, list[Any]], recorded: tuple[float, float]
    ) -> None:
        self.answer, self._truth = answer, truth
        (self.stream,) = answer["streams"]
        self.sources = {each["source"]: each for each in self.stream["sources"]}
        # When all is over the link goes, and the traffic's last calls open them once more.
        self.since, self.until = recorded

    def moves(self, name: str) -> list[Any]:
        """Return what the process at one address did, by its own log."""
        return [move for move in self._truth[name] if self.since <= move.at <= self.until]

    def wrong(self) -> list[Any]:
        """Return the sources that are told otherwise than they were; of those with times left out none."""
        return [
            (name, source["sequence"], [move.to for move in self.moves(name)])
            for name, source in self.sources.items()
            if "unknown" not in source["sequence"]
            and source["sequence"] != ["closed", *(move.to for move in self.moves(name))]
        ]

    def misplaced(self) -> list[Any]:
        """Return the transitions outside of their brackets."""
        return [
            (name, step["from"], step["to"], step["after"] - move.at, step["before"] - move.at)
            for name, source in self.sources.items()
            if "unknown" not in source["sequence"]
            for step, move in zip(source["transitions"], self.moves(name), strict=True)
            if not step["after"] - TOLERANCE_S <= move.at <= step["before"] + TOLERANCE_S
        ]


@pytest.fixture
def fleet(stage: Stage, targets: Any) -> Iterator[Callable[..., Fleet]]:
    """Start so many processes behind a balancer, exercise their breakers, and return what came of it."""
    started: list[Any] = []

    def play(
        name: str, addresses: list[str], *, balance: str, faults: str = "error,hang", **options: Any
    ) -> Fleet:
        for tool in (name, "balancer"):
            if reason := targets.skip_reason(tool):
                pytest.skip(f"{reason}; `make test-breakers` installs what can be installed")
        dependency = targets.start("dependency", folder=stage.folder / "dependency")
        started.append(dependency)
        listen = f"127.0.0.1:{targets.free_port()}"
        processes = []
        for number, address in enumerate(addresses):
            folder = stage.folder / f"replica-{number}"
            processes.append(targets.start(name, listen, folder=folder, source=address, **RULES | options))
            started.append(processes[-1])
        servers = [each.address for each in processes]
        balancer = targets.start(
            "balancer", folder=stage.folder / "balancer", server=servers, balance=balance
        )
        started.append(balancer)
        words = ["breaker", "test", "--entry", f"{balancer.url}/call?key=a", "--rate", "60", "--json"]
        words += ["--faults", faults, "--seed", "1", "--link", f"dependency={listen}->{dependency.address}"]
        _, told, said = stage.gameday(*words, timeout_s=200.0)
        assert told.get("streams"), (told, said)
        (recorded,) = (stage.home / "runs").glob("*/breaker.recording.json")
        recording = json.loads(recorded.read_text())
        truth = {address: each.truth() for address, each in zip(addresses, processes, strict=True)}
        return Fleet(told, truth, (recording["since"], recording["until"]))

    yield play
    for each in reversed(started):
        each.end()


@pytest.mark.parametrize(
    ("name", "balance"), [("own", "random"), ("own", "roundrobin"), ("circuitbreaker", "random")]
)
def test_each_process_has_the_states_of_its_own_log(
    fleet: Callable[..., Fleet], name: str, balance: str
) -> None:
    """Three of them, each calling the link from an address of its own.

    Those that act in step (in turn, or all let in at once) may be taken for one breaker; then none is told.
    """
    addresses = ["127.0.0.2", "127.0.0.3", "127.0.0.4"]
    came = fleet(name, addresses, balance=balance)
    kind = came.stream["machine"]["kind"]
    if (name, balance) != ("own", "random") and kind == "breaker":
        assert came.sources == {}
        return
    assert kind == "replicas", came.answer["answer"]
    assert set(came.sources) == set(addresses)
    assert came.wrong() == []
    assert came.misplaced() == []
    whole = [each for each in came.sources.values() if each["sequence"] and "unknown" not in each["sequence"]]
    assert len(whole) >= 2, came.answer["answer"]
    for each in whole:
        open_s = each["properties"]["time_to_half_open_s"]
        assert open_s["low"] <= 1.5 <= open_s["high"] + 0.3  # with timeouts some libraries count anew
        assert each["openings"]


def test_behind_one_address_no_states_are_made_up(fleet: Callable[..., Fleet]) -> None:
    """Nobody knows whose call it was: what is told is that there are several, or why nothing is."""
    came = fleet("own", ["127.0.0.1"] * 3, balance="random")
    assert came.sources == {}
    if came.stream["machine"]["kind"] == "replicas":
        assert "one address" in came.stream["sources_why"]
        assert "one address" in came.answer["answer"]
        assert came.stream["sequence"] == []
