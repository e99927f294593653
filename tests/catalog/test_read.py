"""Reading a file: from a path to an experiment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.catalog.read import read
from agent.model import Radius

if TYPE_CHECKING:
    from pathlib import Path

EXAMPLE = """
version: 1.0.0
title: The leaderboard survives a killed shard
description: One of three shards dies; players on the other shards notice nothing.
tags: [sandbox, shard, kill]
extensions:
  - name: gameday
    timeout_s: 60
    blast_radius: {count: 1, fraction: 0.34}
runtime: {rollbacks: {strategy: always}}
steady-state-hypothesis:
  title: Nothing is wrong
  probes:
    - {name: here, type: probe, tolerance: true, provider: {type: python, module: os.path, func: exists, arguments: {path: /}}}
method: []
"""


def test_an_experiment_is_read(tmp_path: Path) -> None:
    """A good file becomes its definition and its allowance."""
    path = tmp_path / "survives.yaml"
    path.write_text(EXAMPLE)

    experiment = read(path)

    assert experiment.title == "The leaderboard survives a killed shard"
    assert experiment.allowance.timeout_s == 60
    assert experiment.allowance.blast_radius == Radius(count=1, fraction=0.34)
    assert experiment.definition["method"] == []
