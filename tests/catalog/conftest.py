"""Experiments to read, and modules that they may call."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from ruamel.yaml import YAML

from agent.catalog.modules import Module
from agent.catalog.problem import InvalidExperiment, Problem
from agent.catalog.read import read
from agent.catalog.signature import signature_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from pathlib import Path

    from agent.catalog.modules import Modules

EXAMPLE = """\
version: 1.0.0
title: The leaderboard survives a killed shard
description: One of three shards dies; players on the other shards notice nothing.
tags: [sandbox, shard, kill]
configuration:
  gateway: {type: env, key: SANDBOX, default: "http://127.0.0.1:1"}
  victims: 1
secrets:
  board: {admin: hunter2-hunter2}
extensions:
  - name: gameday
    owner: leaderboard
    timeout_s: 60
    schedule: {cron: "0 10 * * mon-thu", timezone: Europe/Berlin, jitter_s: 600}
    blast_radius: {count: 1, fraction: 0.34}
    watch: {every_s: 0.2, abort_after_s: 5}
    during: {unsteady_s_max: 3}
    recover_within_s: 15
runtime: {rollbacks: {strategy: always}}
controls:
  - name: traffic
    provider:
      type: python
      module: agent.controls.traffic
      arguments: {url: "${gateway}/rank", rate_rps: 50}
steady-state-hypothesis:
  title: Players get their rank in time
  probes:
    - name: success-ratio
      type: probe
      tolerance: {type: range, range: [0.99, 1.0]}
      provider: {type: python, module: probes.traffic, func: success_ratio, arguments: {window_s: 3}}
method:
  - name: kill-a-shard
    type: action
    provider:
      type: python
      module: agent.faults.processes
      func: kill
      arguments: {selector: "sandbox/shard-*", quantity: "${victims}"}
rollbacks:
  - {name: heal, type: action, provider: {type: python, module: agent.faults, func: heal}}
"""


def success_ratio(window_s: float, *, key: str | None = None, secrets: dict[str, str] | None = None) -> float:
    """Look like a probe."""
    raise NotImplementedError(window_s, key, secrets)


def kill(
    *,
    selector: str,
    quantity: int | None = None,
    fraction: float | None = None,
    restart: list[str] | None = None,
) -> dict[str, Any]:
    """Look like a fault."""
    raise NotImplementedError(selector, quantity, fraction, restart)


def heal() -> dict[str, Any]:
    """Look like the heal."""
    raise NotImplementedError


def good_enough(value: float, least: float = 0.0) -> bool:
    """Look like a tolerance that is a probe."""
    raise NotImplementedError(value, least)


def needs_secrets(secrets: dict[str, str]) -> bool:
    """Look like a probe that cannot do without secrets."""
    raise NotImplementedError(secrets)


def before_experiment_control(context: Any, url: str, rate_rps: float, **others: Any) -> None:
    """Look like a control."""
    raise NotImplementedError(context, url, rate_rps, others)


def after_experiment_control(context: Any, state: Any, **arguments: Any) -> None:
    """Look like a control."""
    raise NotImplementedError(context, state, arguments)


def picky_control(context: Any) -> None:
    """Look like a control function that takes no argument of its own."""
    raise NotImplementedError(context)


_MODULES: dict[str, list[Callable[..., Any]]] = {
    "agent.faults": [heal],
    "agent.faults.processes": [kill],
    "probes.traffic": [success_ratio, good_enough, needs_secrets],
    "agent.controls.traffic": [before_experiment_control, after_experiment_control],
}


def known_modules(names: Collection[str]) -> Mapping[str, Module]:
    """Know a few modules without importing anything."""
    found = {name: Module(name=name, error=f"No module named {name!r}") for name in names}
    for name, functions in _MODULES.items():
        signatures = {function.__name__: signature_of(function) for function in functions}
        found[name] = Module(name=name, functions=signatures)
    picky = {"before_experiment_control": signature_of(picky_control)}
    found["controls.picky"] = Module(name="controls.picky", functions=picky)
    configured = {"configure_control": signature_of(lambda url, rate_rps=1: (url, rate_rps))}
    found["controls.configured"] = Module(name="controls.configured", functions=configured)
    return found


class Bench:
    """A folder to write experiments into and to read them from."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, content: Any, name: str = "claim.yaml") -> Path:
        """Write *content*, data or text or bytes, and return where."""
        path = self.folder / name
        if isinstance(content, dict | list):
            with path.open("w", encoding="utf-8") as file:
                YAML(typ="safe", pure=True).dump(content, file)
        elif isinstance(content, str):
            path.write_text(content, encoding="utf-8")
        else:
            path.write_bytes(content)
        return path

    def good(self) -> dict[str, Any]:
        """Return the good experiment as data that a test may break."""
        loaded: dict[str, Any] = YAML(typ="safe", pure=True).load(EXAMPLE)
        return loaded

    def errors(self, content: Any, name: str = "claim.yaml", **options: Any) -> Sequence[Problem]:
        """Return what is wrong with *content*."""
        return self.errors_of(self.write(content, name), **options)

    def errors_of_value(self, value: Any) -> Sequence[Problem]:
        """Return what is wrong with *value* in a JSON file, whatever it is."""
        return self.errors(json.dumps(value, allow_nan=True), "claim.json")

    def errors_of(self, path: Path, **options: Any) -> Sequence[Problem]:
        """Return what is wrong with the file at *path*."""
        try:
            read(path, modules=known_modules, **options)
        except InvalidExperiment as error:
            return error.errors
        return ()


@pytest.fixture(name="known_modules")
def known_modules_fixture() -> Modules:
    """A few modules that are known without importing anything."""
    return known_modules


@pytest.fixture
def example() -> str:
    """A good experiment, as YAML."""
    return EXAMPLE


@pytest.fixture
def definition(bench: Bench) -> dict[str, Any]:
    """The good experiment as data that a test may break."""
    return bench.good()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A folder to write experiments into."""
    return Bench(tmp_path)
