"""Reading a file: from a path to an experiment."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING

import pytest
import yaml
from chaoslib.experiment import ensure_experiment_is_valid

from agent.catalog.experiment import After, During, Fault, Schedule, Watch
from agent.catalog.problem import InvalidExperiment
from agent.catalog.read import discover, problems, read
from agent.model import Call, Radius

if TYPE_CHECKING:
    from agent.catalog.modules import Modules
    from tests.catalog.conftest import Bench

REAL = """\
title: There is a root folder
description: The simplest experiment there is.
extensions: [{name: gameday, timeout_s: 5}]
steady-state-hypothesis:
  title: There is a root folder
  probes:
    - name: root
      type: probe
      tolerance: true
      provider: {type: python, module: os.path, func: exists, arguments: {path: /}}
method: []
"""


def test_an_experiment_is_read(bench: Bench, example: str, known_modules: Modules) -> None:
    """A good file becomes its definition, its allowance, and its faults with values filled in."""
    experiment = read(bench.write(example), modules=known_modules, environ={})

    assert experiment.title == "The leaderboard survives a killed shard"
    assert experiment.description.startswith("One of three shards dies")
    assert experiment.allowance.timeout_s == 60
    assert experiment.allowance.blast_radius == Radius(count=1, fraction=0.34)
    assert experiment.allowance.watch == Watch(every_s=0.2, abort_after_s=5, look_timeout_s=2)
    assert experiment.allowance.during == During(unsteady_s_max=3)
    assert experiment.allowance.recover_within_s == 15
    assert experiment.allowance.schedule == Schedule(
        cron="0 10 * * mon-thu", timezone="Europe/Berlin", jitter_s=600
    )
    assert experiment.allowance.tags == ("sandbox", "shard", "kill")
    assert experiment.allowance.owner == "leaderboard"
    call = Call(func="agent.faults.processes:kill", arguments={"selector": "sandbox/shard-*", "quantity": 1})
    assert experiment.faults == (Fault(name="kill-a-shard", call=call, where="method[0]"),)
    assert [probe["name"] for probe in experiment.probes] == ["success-ratio"]
    assert experiment.longest_s == 60 + 30 + 15


def test_after_which_rollouts_it_runs(bench: Bench, example: str, known_modules: Modules) -> None:
    """Workloads, namespace and times are read; undoing the rollout is off unless it is said."""
    after = "    after: {workloads: [deployment/gateway], namespace: shop, settle_s: 5}\n"
    text = example.replace("    recover_within_s", after + "    recover_within_s", 1)
    found = read(bench.write(text), modules=known_modules, environ={}).allowance.after
    assert found == After(workloads=("deployment/gateway",), namespace="shop", settle_s=5, debounce_s=300)
    text = text.replace("settle_s: 5", "on_deviated: rollback")
    found = read(bench.write(text), modules=known_modules, environ={}).allowance.after
    assert found is not None
    assert found.rollback


def test_the_definition_is_what_chaos_toolkit_reads(
    bench: Bench, example: str, known_modules: Modules
) -> None:
    """The definition equals what Chaos Toolkit's own YAML reader makes of the file."""
    assert read(bench.write(example), modules=known_modules).definition == yaml.safe_load(example)


def test_json_and_yaml_are_the_same_experiment(bench: Bench, example: str, known_modules: Modules) -> None:
    """The same experiment can be written as YAML or as JSON."""
    text = json.dumps(yaml.safe_load(example), indent=2)
    from_json = read(bench.write(text, "claim.json"), modules=known_modules)
    assert from_json.definition == read(bench.write(example), modules=known_modules).definition


def test_what_is_accepted_is_valid_to_chaos_toolkit(bench: Bench) -> None:
    """With real modules, a file that is read is valid to Chaos Toolkit too."""
    experiment = read(bench.write(REAL))
    ensure_experiment_is_valid(dict(experiment.definition))


def test_defaults_of_the_allowance(bench: Bench) -> None:
    """What a file leaves out has the documented defaults."""
    allowance = read(bench.write(REAL)).allowance
    assert allowance.blast_radius is None
    assert allowance.watch == Watch(every_s=0.5, abort_after_s=5, look_timeout_s=2)
    assert allowance.during == During(unsteady_s_max=0)
    assert allowance.recover_within_s == 10
    assert allowance.schedule is None


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("during: {unsteady_s_max: 12}", 12),
        ("during: {unsteady_s_max: 2}", 5),
        ("watch: {abort_after_s: 1}", 1),
        ("watch: {abort_after_s: null}", None),
    ],
)
def test_the_watch_has_as_much_patience_as_the_allowance(bench: Bench, keys: str, expected: object) -> None:
    """The watch aborts after 5 s, or after the allowance if that is longer, unless the file says."""
    text = REAL.replace("timeout_s: 5", "timeout_s: 5, " + keys)
    assert read(bench.write(text)).allowance.watch.abort_after_s == expected


def test_variables_take_the_type_of_what_they_replace(
    bench: Bench, example: str, known_modules: Modules
) -> None:
    """A variable replaces a declared value and is converted to its type."""
    path = bench.write(
        example.replace("killed shard", "killed shard of ${gateway}").replace("count: 1", "count: 2")
    )
    experiment = read(path, variables={"gateway": "http://b", "victims": "2"}, modules=known_modules)
    assert experiment.definition["configuration"] == {"gateway": "http://b", "victims": 2}
    assert experiment.title == "The leaderboard survives a killed shard of http://b"
    assert experiment.faults[0].call.arguments["quantity"] == 2


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"gatway": "x"}, "the variable gatway is not declared; did you mean gateway?"),
        ({"victims": "many"}, "the variable victims does not fit"),
        ({"victims:int": "1.5"}, "the variable victims does not fit"),
        ({"victims:json": "{"}, "the variable victims does not fit"),
        ({"victims:bool": "perhaps"}, "neither true nor false"),
        ({"victims:str": "1"}, "quantity must be a whole number or nothing, not '1'"),
    ],
)
def test_variables_that_do_not_fit_are_refused(
    bench: Bench, example: str, variables: dict[str, str], says: str
) -> None:
    """A variable that is not declared, or of the wrong type, is a mistake."""
    errors = bench.errors(example, variables=variables)
    assert says in "\n".join(map(str, errors))


def test_what_the_environment_lacks_is_told_before_a_run(bench: Bench) -> None:
    """A variable without default, or a program, that is missing is no mistake of the file."""
    text = REAL + (
        "configuration: {port: {type: env, key: PORT, env_var_type: int}}\n"
        "secrets: {board: {admin: {type: env, key: ADMIN}}}\n"
        "rollbacks: [{name: tidy, type: action, provider: {type: process, path: no-such, timeout: 1}}]\n"
        "runtime: {rollbacks: {strategy: always}}\n"
    )
    experiment = read(bench.write(text), environ={})
    assert [p.where for p in experiment.unmet({})] == [
        "configuration.port",
        "secrets.board.admin",
        "rollbacks[0].provider.path",
    ]
    lacks = experiment.unmet({"PORT": "x", "ADMIN": "hunter2", "PATH": os.environ["PATH"]})
    assert [p.where for p in lacks] == ["configuration.port", "rollbacks[0].provider.path"]
    assert experiment.secret_values({"ADMIN": "hunter2"}) == {"hunter2"}


def test_a_reference_is_the_probe_it_names(bench: Bench) -> None:
    """A probe of the method that the hypothesis refers to is one of the probes, with its tolerance."""
    definition = yaml.safe_load(REAL)
    probe = definition["steady-state-hypothesis"]["probes"][0]
    del probe["tolerance"]
    definition["method"] = [probe]
    definition["steady-state-hypothesis"]["probes"] = [{"ref": "root", "tolerance": True}]
    assert read(bench.write(definition)).probes == ({**probe, "tolerance": True},)


def test_all_problems_come_at_once_in_file_order(bench: Bench, example: str) -> None:
    """Every mistake is named with its line and its place, from the top of the file to its end."""
    text = (
        example.replace("quantity:", "quantty:")
        .replace("title: Players", "titel: Players")
        .replace("0.99, 1.0", "1, 0.5")
    )
    errors = bench.errors(text)
    lines = text.splitlines()
    assert [error.where for error in errors] == [
        "steady-state-hypothesis",
        "steady-state-hypothesis.titel",
        "steady-state-hypothesis.probes[0].tolerance.range",
        "method[0].provider.arguments.quantty",
    ]
    assert "titel" in lines[errors[1].line - 1]
    assert "range" in lines[errors[2].line - 1]
    assert lines[errors[3].line - 1][errors[3].column - 1 :].startswith("quantty")


def test_problems_of_a_good_file_are_none(bench: Bench) -> None:
    """A file that can be run has no problems; one that cannot has those that reading it raises."""
    assert problems(bench.write(REAL)) == ()
    assert [p.where for p in problems(bench.write(REAL + "foo: 1\n"))] == ["foo"]


def test_files_are_discovered_below_folders(bench: Bench) -> None:
    """Folders are searched for experiments, hidden files are left out, each file comes once."""
    (bench.folder / "b" / ".hidden").mkdir(parents=True)
    for name in ("a.yaml", "b/c.yml", "b/d.json", "b/e.txt", "b/.f.yaml", "b/.hidden/g.yaml"):
        bench.write("x", name)
    found = discover([bench.folder, bench.folder / "a.yaml"])
    assert [str(path.relative_to(bench.folder)) for path in found] == ["a.yaml", "b/c.yml", "b/d.json"]


def test_a_path_that_is_not_there_is_refused(bench: Bench) -> None:
    """A missing path is the user's mistake, not an empty list."""
    with pytest.raises(InvalidExperiment, match="there is no such file"):
        discover([bench.folder / "nowhere"])


def test_a_hundred_experiments_are_read_quickly(bench: Bench, example: str, known_modules: Modules) -> None:
    """Reading a hundred files takes seconds at most, imports aside."""
    paths = [bench.write(example, f"{i}.yaml") for i in range(100)]
    started = time.monotonic()
    for path in paths:
        read(path, modules=known_modules)
    assert time.monotonic() - started < 20
