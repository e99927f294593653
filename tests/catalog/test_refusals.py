"""Everything Chaos Toolkit lets through is refused, with the place and what to write instead."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.catalog.conftest import Bench

SSH = "steady-state-hypothesis"
PROBE = "steady-state-hypothesis.probes[0]"
URL = {"type": "http", "url": "http://127.0.0.1:1", "timeout": 1}
LIST = {"type": "process", "path": "ls", "timeout": 1}
HEAL = {
    "name": "heal",
    "type": "action",
    "provider": {"type": "python", "module": "agent.faults", "func": "heal"},
}
KILL = {"type": "python", "module": "agent.faults.processes", "func": "kill", "arguments": {"selector": "*"}}
RATIO = {"type": "python", "module": "probes.traffic", "func": "success_ratio", "arguments": {"window_s": 3}}
PICKY = {"type": "python", "module": "controls.picky"}
UNSET = object()


def step(provider: dict[str, Any], **keys: Any) -> dict[str, Any]:
    """Return an action called ``extra``."""
    return {"name": "extra", "type": "action", "provider": provider, **keys}


type Case = tuple[str, Any, str, str]
"""Where to break the example, with what, which place is named, and a part of what is said."""

CASES: list[Case] = [
    # unknown keys, with the nearest known one
    ("titel", "x", "titel", "did you mean title?"),
    ("dry", "actions", "dry", "use gameday run --leash"),
    (f"{SSH}.probs", [], f"{SSH}.probs", "did you mean probes?"),
    ("method.0.nam", "x", "method[0].nam", "did you mean name?"),
    ("method.0.timeout", 3, "method[0].timeout", "never enforces it"),
    ("method.0.tolerance", True, "method[0].tolerance", "never looks at it"),
    ("method.0.dry", "actions", "method[0].dry", "--leash"),
    ("method.0.pauses", {"befor": 1}, "method[0].pauses.befor", "did you mean before?"),
    ("method.0.provider.modul", "x", "method[0].provider.modul", "did you mean module?"),
    ("method.0.provider.timeout", 3, "method[0].provider.timeout", "nobody enforces it"),
    (f"{SSH}.probes.0.background", True, f"{PROBE}.background", "always waited for"),
    (f"{SSH}.probes.0.pauses", {"after": 1}, f"{PROBE}.pauses", "does not pause"),
    (f"{SSH}.probes.0.tolerance.min", 1, f"{PROBE}.tolerance.min", "unknown key min"),
    ("controls.0.scop", "before", "controls[0].scop", "did you mean scope?"),
    ("controls.0.ref", "x", "controls[0].ref", "does not accept it"),
    ("controls.0.provider.func", "x", "controls[0].provider.func", "unknown key func"),
    ("extensions.0.timeout", 1, "extensions[0].timeout", "did you mean timeout_s?"),
    ("extensions.0.watch.every", 1, "extensions[0].watch.every", "did you mean every_s?"),
    ("runtime.rollback", {}, "runtime.rollback", "did you mean rollbacks?"),
    ("runtime.python", {}, "runtime.python", "its own environment"),
    ("configuration.gateway.ky", "x", "configuration.gateway.ky", "did you mean key?"),
    (
        "secrets.board",
        {"admin": {"type": "env", "key": "K", "default": "x"}},
        "secrets.board.admin.default",
        "unknown key",
    ),
    # wrong types, missing keys
    ("title", 3, "title", "must be a text, not a number (3)"),
    ("title", "  ", "title", "is empty"),
    ("title", UNSET, "", "the key title is missing"),
    ("description", UNSET, "", "the key description is missing"),
    ("method", UNSET, "", "the key method is missing"),
    ("method", {}, "method", "must be a list, not a mapping"),
    ("method.0", "kill", "method[0]", "must be a mapping, not a text ('kill')"),
    ("method.0.type", "akcion", "method[0].type", "did you mean action?"),
    ("method.0.provider", None, "method[0].provider", "must be a mapping, not nothing"),
    ("method.0.provider.type", "pyton", "method[0].provider.type", "did you mean python?"),
    ("method.0.provider.type", UNSET, "method[0].provider", "the key type is missing"),
    ("method.0.provider.module", "a-b", "method[0].provider.module", "not a name that Python can import"),
    ("method.0.background", "yes", "method[0].background", "must be true or false"),
    ("tags", ["", 3], "tags[0]", "is empty"),
    (SSH, UNSET, "", f"the key {SSH} is missing"),
    (f"{SSH}.probes", [], f"{SSH}.probes", "at least 1 item"),
    (f"{SSH}.probes.0.tolerance", UNSET, PROBE, "the key tolerance is missing"),
    ("controls.0.provider.type", "http", "controls[0].provider.type", "known here: python"),
    ("controls.0.scope", "during", "controls[0].scope", "known here: after, before"),
    # strategies
    ("runtime.rollbacks.strategy", "alwys", "runtime.rollbacks.strategy", "write always"),
    ("runtime.rollbacks.strategy", "default", "runtime.rollbacks.strategy", "write always"),
    ("runtime", UNSET, "rollbacks", "runtime: {rollbacks: {strategy: always}}"),
    ("runtime.hypothesis", {"strategy": "continuous"}, "runtime.hypothesis.strategy", "write default"),
    # names and references
    ("method.+", {"ref": "kil-a-shard"}, "method[1].ref", "did you mean kill-a-shard?"),
    ("rollbacks.+", {"ref": "heal"}, "rollbacks[1].ref", "no activity of the method or the hypothesis"),
    ("rollbacks.+", {"ref": "nothing"}, "rollbacks[1].ref", "is called nothing"),
    ("method.+", {"ref": "kill-a-shard", "name": "x"}, "method[1].name", "unknown key name"),
    ("method.+", step(RATIO, type="probe", name="success-ratio"), "method[1].name", f"taken by {PROBE}"),
    ("rollbacks.+", HEAL, "rollbacks[1].name", "taken by rollbacks[0]"),
    (f"{SSH}.probes.+", {"ref": "kill-a-shard", "tolerance": 1}, f"{SSH}.probes[1].ref", "is an action"),
    ("controls.+", {"name": "traffic", "provider": PICKY}, "controls[1].name", "drops the rest"),
    (
        "method.0.controls",
        [{"name": "traffic", "provider": PICKY}],
        "method[0].controls[0].name",
        "drops the rest",
    ),
    (
        "method.0.controls",
        [{"name": n, "provider": PICKY} for n in "ab"],
        "method[0].controls",
        "several times",
    ),
    ("extensions.+", {"name": "gamday"}, "extensions[1].name", "did you mean gameday?"),
    ("extensions.+", {"name": "gameday", "timeout_s": 1}, "extensions[1].name", "two extensions"),
    # references to values
    (
        "method.0.provider.arguments.selector",
        "${shrd}",
        "method[0].provider.arguments.selector",
        "stands for nothing",
    ),
    (
        "method.0.provider.arguments.quantity",
        "${victim}",
        "method[0].provider.arguments.quantity",
        "did you mean ${victims}?",
    ),
    (
        "controls.0.provider.arguments.url",
        "${gatway}/x",
        "controls[0].provider.arguments.url",
        "did you mean ${gateway}?",
    ),
    ("title", "${nothing}", "title", "stands for nothing"),
    ("title", "of ${admin}", "title", "shows the secret admin"),
    ("method.0.name", "kill-${victims}", "method[0].name", "is not replaced here"),
    ("configuration.other", "${victims}", "configuration.other", "is not replaced here"),
    ("method.+", step({**LIST, "path": "${gateway}"}), "method[1].provider.path", "is not replaced here"),
    ("method.+", step({**LIST, "arguments": ["${a-b}"]}), "method[1].provider.arguments[0]", "write $${"),
    (
        "method.+",
        step({**URL, "headers": {"${victims}": "x"}}),
        "method[1].provider.headers.${victims}",
        "a key is not replaced",
    ),
    # configuration and secrets
    ("configuration.x", {"type": "evn", "key": "X"}, "configuration.x.type", "did you mean env?"),
    (
        "configuration.x",
        {"type": "env", "key": "X", "env_var_type": "itn"},
        "configuration.x.env_var_type",
        "did you mean int?",
    ),
    (
        "configuration.x",
        {"type": "env", "key": "X", "default": 5},
        "configuration.x.default",
        "add env_var_type: int",
    ),
    (
        "configuration.x",
        {"type": "env", "key": "X", "env_var_type": "int", "default": "x"},
        "configuration.x.default",
        "is not of env_var_type int",
    ),
    ("configuration.x", {"type": "probe", "name": "x", "provider": RATIO}, "configuration.x", "silently"),
    ("secrets.flat", {"type": "env", "key": "X"}, "secrets.flat", "group"),
    ("secrets.flat", "x", "secrets.flat", "must be a mapping"),
    ("secrets.kept", {"type": "vault", "path": "x"}, "secrets.kept", "chaostoolkit-lib[vault]"),
    ("method.0.provider.secrets", ["bord"], "method[0].provider.secrets[0]", "did you mean board?"),
    ("method.0.provider.secrets", ["board"], "method[0].provider.secrets", "no argument secrets"),
    # providers
    ("method.+", step({**LIST, "arguments": "-l | wc"}), "method[1].provider.arguments", "must be a list"),
    ("method.+", step({**LIST, "arguments": {"-l": ""}}), "method[1].provider.arguments", "must be a list"),
    ("method.+", step({**LIST, "arguments": [""]}), "method[1].provider.arguments[0]", "leaves it out"),
    ("method.+", step({"type": "process", "path": "ls"}), "method[1].provider", "the key timeout is missing"),
    ("method.+", step({"type": "http", "url": "x"}), "method[1].provider", "the key timeout is missing"),
    ("method.+", step({**URL, "timeout": 0}), "method[1].provider.timeout", "must be seconds above 0"),
    (
        "method.+",
        step({**URL, "timeout": [1, 2, 3]}),
        "method[1].provider.timeout",
        "must be seconds above 0",
    ),
    ("method.+", step({**URL, "timeout": True}), "method[1].provider.timeout", "must be seconds above 0"),
    ("method.+", step({**URL, "method": "GTE"}), "method[1].provider.method", "is not GET"),
    ("method.+", step({**URL, "url": "ftp://x"}), "method[1].provider.url", "http://"),
    ("method.+", step({**URL, "headers": {"x": 1}}), "method[1].provider.headers.x", "must be a text"),
    ("method.0.pauses", {"before": -1}, "method[0].pauses.before", "at least 0"),
    ("method.0.pauses", {"before": "soon"}, "method[0].pauses.before", "must be seconds"),
    ("method.0.pauses", {"before": "${gateway}"}, "method[0].pauses.before", "must be seconds"),
    # calls
    ("method.0.provider.module", "agent.faults.proceses", "method[0].provider.module", "cannot be imported"),
    ("method.0.provider.func", "kil", "method[0].provider.func", "did you mean kill?"),
    (
        "method.0.provider.arguments.selecter",
        "x",
        "method[0].provider.arguments.selecter",
        "did you mean selector?",
    ),
    ("method.0.provider.arguments", {}, "method[0].provider", "needs the argument selector, a text"),
    (
        "method.0.provider.arguments.selector",
        3,
        "method[0].provider.arguments.selector",
        "must be a text, not 3",
    ),
    (
        "method.0.provider.arguments.quantity",
        1.5,
        "method[0].provider.arguments.quantity",
        "must be a whole number or nothing",
    ),
    (
        "method.0.provider.arguments.quantity",
        True,
        "method[0].provider.arguments.quantity",
        "must be a whole number",
    ),
    (
        "method.0.provider.arguments.fraction",
        "half",
        "method[0].provider.arguments.fraction",
        "must be a number or nothing",
    ),
    (
        "method.0.provider.arguments.restart",
        [1],
        "method[0].provider.arguments.restart",
        "a list of which each is a text",
    ),
    (
        "configuration.victims",
        {"type": "env", "key": "X"},
        "method[0].provider.arguments.quantity",
        "a text, which is what ${victims} will be",
    ),
    (
        "method.0.provider.arguments.quantity",
        "${gateway}",
        "method[0].provider.arguments.quantity",
        "a whole number or nothing, not 'http",
    ),
    (
        "method.+",
        step({**RATIO, "func": "needs_secrets", "arguments": {}}),
        "method[1].provider",
        "name its groups",
    ),
    (
        "controls.0.provider.module",
        "agent.controls.trafic",
        "controls[0].provider.module",
        "cannot be imported",
    ),
    (
        "controls.0.provider.module",
        "probes.traffic",
        "controls[0].provider.module",
        "none of a control's functions",
    ),
    (
        "controls.0.provider.arguments.rate_rps",
        "fast",
        "controls[0].provider.arguments.rate_rps",
        "must be a number",
    ),
    ("controls.0.provider.module", "controls.picky", "controls[0].provider.arguments.url", "no argument url"),
    ("controls.0.provider.module", "controls.configured", "controls[0].provider.arguments.url", "unreplaced"),
    # tolerances
    (f"{SSH}.probes.0.type", "action", f"{PROBE}.type", "made of probes"),
    (f"{SSH}.probes.0.tolerance", 0.5, f"{PROBE}.tolerance", "{type: range, range: [0.5, 0.5]}"),
    (f"{SSH}.probes.0.tolerance", None, f"{PROBE}.tolerance", "must be a value"),
    (f"{SSH}.probes.0.tolerance", [2, 1], f"{PROBE}.tolerance", "at least 2 and at most 1"),
    (f"{SSH}.probes.0.tolerance", ["a", "b"], f"{PROBE}.tolerance", "lowest and highest"),
    (f"{SSH}.probes.0.tolerance", [], f"{PROBE}.tolerance", "at least 1 item"),
    (f"{SSH}.probes.0.tolerance", {"type": "rang"}, f"{PROBE}.tolerance.type", "did you mean range?"),
    (f"{SSH}.probes.0.tolerance.range", [1, 0], f"{PROBE}.tolerance.range", "write [0, 1]"),
    (f"{SSH}.probes.0.tolerance.range", [1], f"{PROBE}.tolerance.range", "at least 2 items"),
    (f"{SSH}.probes.0.tolerance.range", ["${victims}", 2], f"{PROBE}.tolerance.range[0]", ""),
    (
        f"{SSH}.probes.0.tolerance",
        {"type": "regex", "pattern": "("},
        f"{PROBE}.tolerance.pattern",
        "not a regular expression",
    ),
    (
        f"{SSH}.probes.0.tolerance",
        {"type": "jsonpath", "path": "$.x"},
        f"{PROBE}.tolerance",
        "chaostoolkit-lib[jsonpath]",
    ),
    (
        f"{SSH}.probes.0.tolerance",
        {"type": "probe", "name": "x", "provider": {**RATIO, "func": "good_enough", "arguments": None}},
        f"{PROBE}.tolerance.provider",
        "",
    ),
    (
        f"{SSH}.probes.0.tolerance",
        {"type": "probe", "name": "x", "provider": {**RATIO, "arguments": {"window_s": 1}}},
        f"{PROBE}.tolerance.provider",
        "takes no argument value",
    ),
    # faults
    ("rollbacks", UNSET, "", "nothing heals them first"),
    ("rollbacks", [], "", "nothing heals them first"),
    ("rollbacks.0", step(LIST), "rollbacks[0]", "nothing heals them first"),
    ("rollbacks.0.background", True, "rollbacks[0].background", "nobody waits"),
    ("rollbacks.+", step(KILL), "rollbacks[1]", "faults stand in the method"),
    ("rollbacks.+", {"ref": "kill-a-shard"}, "rollbacks[1]", "faults stand in the method"),
    (f"{SSH}.probes.0.provider", KILL, PROBE, "faults stand in the method"),
    ("method.0.type", "probe", "method[0].type", "a fault is an action"),
    (
        "method.0.provider.arguments.quantity",
        2,
        "method[0].provider.arguments.quantity",
        "more than blast_radius.count",
    ),
    # the extension
    ("extensions", UNSET, "", "has no gameday extension"),
    ("extensions", [{"name": "other", "x": 1}], "", "timeout_s: 60"),
    ("extensions.0.timeout_s", UNSET, "extensions[0]", "the key timeout_s is missing"),
    ("extensions.0.timeout_s", 0, "extensions[0].timeout_s", "greater than 0"),
    ("extensions.0.timeout_s", "60", "extensions[0].timeout_s", "must be a number"),
    ("extensions.0.timeout_s", 1e9, "extensions[0].timeout_s", "less than or equal to 86400"),
    ("extensions.0.watch.every_s", 0, "extensions[0].watch.every_s", "greater than or equal to 0.05"),
    ("extensions.0.watch.abort_after_s", -1, "extensions[0].watch.abort_after_s", "greater than 0"),
    ("extensions.0.watch.look_timeout_s", 0, "extensions[0].watch.look_timeout_s", "greater than 0"),
    (
        "extensions.0.during.unsteady_s_max",
        -1,
        "extensions[0].during.unsteady_s_max",
        "greater than or equal to 0",
    ),
    ("extensions.0.recover_within_s", -1, "extensions[0].recover_within_s", "greater than or equal to 0"),
    ("extensions.0.blast_radius", {}, "extensions[0].blast_radius", "needs count, fraction, or both"),
    ("extensions.0.blast_radius.count", 0, "extensions[0].blast_radius.count", "greater than or equal to 1"),
    (
        "extensions.0.blast_radius.fraction",
        1.5,
        "extensions[0].blast_radius.fraction",
        "less than or equal to 1",
    ),
    ("extensions.0.schedule.cron", "0 10 * * 1", "extensions[0].schedule.cron", "a day off"),
    ("extensions.0.schedule.cron", UNSET, "extensions[0].schedule", "the key cron is missing"),
    (
        "extensions.0.schedule.timezone",
        "Europe/Berln",
        "extensions[0].schedule.timezone",
        "did you mean Europe/Berlin?",
    ),
    (
        "extensions.0.after",
        {"workloads": ["gateway"], "namespace": "shop"},
        "extensions[0].after.workloads[0]",
        "deployment",
    ),
    (
        "extensions.0.after",
        {"workloads": [], "namespace": "shop"},
        "extensions[0].after.workloads",
        "at least 1",
    ),
    (
        "extensions.0.after",
        {"workloads": ["deployment/gateway"]},
        "extensions[0].after",
        "namespace is missing",
    ),
    ("method.0.pauses", {"after": 60}, "extensions[0].timeout_s", "the pauses of the method take 60 s"),
]


def broken(definition: Any, way: str, value: Any) -> Any:
    """Return *definition* with *value* at *way*; ``+`` appends to a list."""
    *before, last = (int(part) if part.isdigit() else part for part in way.split("."))
    holder = definition
    for part in before:
        holder = holder[part]
    if last == "+":
        holder.append(value)
    elif value is UNSET:
        del holder[last]
    else:
        holder[last] = value
    return definition


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}: {case[3]}")
def test_it_is_refused(bench: Bench, definition: dict[str, Any], case: Case) -> None:
    """What Chaos Toolkit accepts and does not do is refused at its place with the reason."""
    way, value, where, says = case
    errors = bench.errors(broken(definition, way, value), environ={})
    assert [e for e in errors if e.where == where and says in f"{e.says}; {e.instead}"], errors


@pytest.mark.parametrize("suffix", [".yaml", ".json"])
def test_every_problem_has_a_line(bench: Bench, definition: dict[str, Any], suffix: str) -> None:
    """A problem of a file that can be read names a line and a column."""
    del definition["title"]
    definition["method"][0]["type"] = "x"
    if suffix == ".json":
        errors = bench.errors(json.dumps(definition), "claim.json")
    else:
        errors = bench.errors(definition)
    assert len(errors) == 2
    assert all(error.line >= 1 and error.column >= 1 for error in errors)
