"""Real services with real breakers, exercised as a user would."""

from __future__ import annotations

import functools
import gzip
import importlib.util
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from agent.breakers.streams import Arrivals, Calls, FaultWindow, Phase, columns
from agent.breakers.view import View, view
from agent.proxy.client import ProxyClient

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from conftest import Stage

ROOT = Path(__file__).parents[2]
CONFORMANCE = ROOT / "experiments" / "breakers" / "conformance.yaml"
STARTER = Path(__file__).parent / "targets" / "starter.py"


def _starter() -> Any:
    """Import what starts the targets; their folder is no package, for each is a program of its own."""
    spec = importlib.util.spec_from_file_location("breaker_targets_starter", STARTER)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


starter = _starter()


SET_CLOCK = """sh -c 'echo "$1" > "$0"'"""


@dataclass(frozen=True, slots=True)
class Recorded:
    """A recording of a service, inferred again; ``truth`` is its own log, if it kept one."""

    view: View
    truth: tuple[tuple[float, str], ...]


@pytest.fixture(scope="session")
def recorded() -> Callable[[Path], Recorded]:
    """Return what infers from the recording in a file (both streams, faults, phases), once each."""
    return functools.cache(_recorded)


def _recorded(path: Path) -> Recorded:
    raw = json.loads(gzip.decompress(path.read_bytes()))
    calls = columns(Calls, _times(raw["calls"], "begun", "ended") | {"key": [0] * len(raw["calls"]["id"])})
    arrivals = columns(
        Arrivals, _times(raw["arrivals"], "at", "ended") | {"source": [0] * len(raw["arrivals"]["id"])}
    )
    assert isinstance(calls, Calls)
    assert isinstance(arrivals, Arrivals)
    faults = [FaultWindow(**each) for each in raw["faults"]]
    seen = view(calls, arrivals, faults, [Phase(**each) for each in raw["phases"]])
    return Recorded(seen, tuple((each["at"], each["to"]) for each in raw.get("truth", ())))


def _times(rows: dict[str, Any], begun: str, ended: str) -> dict[str, Any]:
    took = np.array(rows.pop("took"))
    return rows | {ended: np.array(rows[begun]) + took}


def needed(name: str, *, own_clock: bool = False) -> None:
    """Skip the test where the target *name* cannot run; with ``CI=true`` that is a failure."""
    if reason := starter.skip_reason(name, own_clock=own_clock):
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI has to have everything: {reason}", pytrace=False)
        pytest.skip(f"{reason}; `make test-breakers` installs what can be installed")


@dataclass(frozen=True, slots=True)
class Exercised:
    """What came of an exercise: the answer, the target's own truth, and the run as it was told."""

    answer: dict[str, Any]
    truth: list[Any]
    told: dict[str, Any]
    folder: Path

    @property
    def bugs(self) -> set[str]:
        """The findings by name."""
        return {each["bug"] for each in self.answer["findings"]}

    @property
    def sequence(self) -> list[str]:
        """The states of the whole stream."""
        found: list[str] = self.answer["streams"][0]["sequence"]
        return found

    def misplaced(self, tolerance_s: float = 0.015) -> list[tuple[Any, ...]]:
        """Return the transitions whose real moment lies outside of the bracket, or that differ at all."""
        seen = self.answer["streams"][0]["transitions"]
        pairs = zip(seen, self.truth, strict=False)
        return [
            (real.was, real.to, step["after"] - real.at, step["before"] - real.at)
            for step, real in pairs
            if (step["from"], step["to"]) != (real.was, real.to)
            or not step["after"] - tolerance_s <= real.at <= step["before"] + tolerance_s
        ]


@pytest.fixture
def targets() -> Any:
    """What starts the targets."""
    return starter


@pytest.fixture
def exercise(stage: Stage, until: Callable[..., Any]) -> Callable[..., Exercised]:
    """Start a dependency, a link and a target, exercise its breaker, and return what came of it."""
    started: list[Any] = []

    def play(
        name: str,
        *,
        kinds: str,
        rate_rps: float = 60,
        rate_max_rps: float | None = None,
        seed: int = 1,
        ends: Collection[int] = (0, 1),
        own_clock: bool = False,
        spares: int = 0,
        replicas: int = 0,
        dependency: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Exercised:
        needed(name, own_clock=own_clock)
        behind = starter.start("dependency", folder=stage.folder / "dependency", **(dependency or {}))
        started.append(behind)
        link = f"dependency=127.0.0.1:0->{behind.address}"
        stage.start("agent.proxy", "--home", str(stage.home), "--link", link)
        state = until(lambda: (stage.home / "proxy.json").exists() and _state(stage))
        listen = ProxyClient(api=state["api"], token=state["token"]).links()[0]["listen"]
        settings = {"timeout_s": 0.3, "threshold": 5, "open_s": 1.0} | options
        if replicas:
            settings["path"] = [listen] * replicas
        if spares:
            settings["spare"] = [behind.address] * spares
        folder = stage.folder / "target"
        target = starter.start(name, listen, folder=folder, own_clock=own_clock, **settings)
        started.append(target)
        variables = {
            "entry": f"{target.url}/call?key=a",
            "rate_rps": rate_rps,
            "kinds": kinds,
            "baseline_s": 4.0,
            "rate_max_rps": rate_max_rps or (3 * rate_rps if "burst" in kinds else 0.0),
            "fault_max_s": 10.0,
            "recover_max_s": 12.0,
            "seed": seed,
        }
        if target.clock:
            variables["clock_set"] = f"{SET_CLOCK} {target.clock} {{offset_s}}"
        arguments = [each for key, value in variables.items() for each in ("--var", f"{key}={value}")]
        code, told, errors = stage.gameday("run", str(CONFORMANCE), "--json", *arguments, timeout_s=200.0)
        assert code in ends, errors
        folder = stage.home / "runs" / told["run"]
        answer = json.loads((folder / "breaker.json").read_text())
        return Exercised(answer, target.truth(), told, folder)

    yield play
    for each in reversed(started):
        each.end()


@dataclass(frozen=True, slots=True)
class Tested:
    """What ``gameday breaker test`` said about several paths, and what the service's breakers did."""

    code: int
    answer: dict[str, Any]
    truth: list[Any]
    said: str

    @property
    def bugs(self) -> set[str]:
        """The findings by name."""
        return {each["bug"] for each in self.answer["findings"]}

    @property
    def isolation(self) -> dict[str, Any]:
        """The property."""
        found: dict[str, Any] = self.answer["properties"]["isolation"]
        return found


@pytest.fixture
def over_links(stage: Stage) -> Callable[..., Tested]:
    """Test a service that calls its dependency over several links of the command's own proxy."""
    started: list[Any] = []

    def play(links: Sequence[str], *, keys: Sequence[str] = (), faults: str, **options: Any) -> Tested:
        dependency = starter.start("dependency", folder=stage.folder / "dependency")
        started.append(dependency)
        listens = [f"127.0.0.1:{starter.free_port()}" for _ in links]
        if len(links) == 1:
            options["dependency"] = listens[0]
        elif keys:
            options["shard"] = [f"{key}={listen}" for key, listen in zip(keys, listens, strict=True)]
        else:
            options["path"] = listens
        target = starter.start(
            "own",
            options.pop("dependency", ""),
            folder=stage.folder / "target",
            **{"timeout_s": 0.5, "threshold": 5, "open_s": 1.0} | options,
        )
        started.append(target)
        entry = f"{target.url}/call?key={'{key}' if keys else 'a'}"
        command = ["breaker", "test", "--entry", entry, "--rate", "60", "--faults", faults, "--json"]
        for name, listen in zip(links, listens, strict=True):
            command += ["--link", f"{name}={listen}->{dependency.address}"]
        for key in keys:
            command += ["--key", key]
        code, answer, said = stage.gameday(*command, timeout_s=150.0)
        return Tested(code, answer, target.truth(), said)

    yield play
    for each in reversed(started):
        each.end()


@pytest.fixture
def proxy(stage: Stage, until: Callable[..., Any], upstream: str) -> ProxyClient:
    """A fault proxy with one link to a dependency that is well."""
    link = f"dependency=127.0.0.1:0->{upstream}"
    stage.start("agent.proxy", "--home", str(stage.home), "--link", link)
    state = until(lambda: (stage.home / "proxy.json").exists() and _state(stage))
    return ProxyClient(api=state["api"], token=state["token"])


def _state(stage: Stage) -> dict[str, Any]:
    state: dict[str, Any] = json.loads((stage.home / "proxy.json").read_text())
    return state
