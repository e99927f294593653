"""The watch: evaluates the steady-state hypothesis at a fixed rate in a process of its own.

It only looks; what a look means is the parent's business, and so is a look that never ends.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import time
from typing import TYPE_CHECKING, Any

from chaoslib import substitute
from chaoslib.activity import run_activity
from chaoslib.configuration import load_configuration
from chaoslib.hypothesis import within_tolerance
from chaoslib.secret import load_secrets

from agent.execution.plain import plain
from agent.model import Look, Reading

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from multiprocessing.connection import Connection


def watch(
    definition: Mapping[str, Any],
    probes: Sequence[Mapping[str, Any]],
    environ: Mapping[str, str],
    *,
    every_s: float,
    looks: Connection,
) -> None:
    """Look every *every_s*, and at once when *looks* says so; ends with its parent.

    Sends the time at which a look begins, then the :class:`Look`.  What the probes have to import is
    imported before the first one: on a busy machine that alone takes longer than a look may, and a watch
    that is replaced for it would never come to look.
    """
    os.setsid()
    os.environ.clear()
    os.environ.update(environ)
    sys.path.insert(0, os.getcwd())
    for fd in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), fd)
    configuration = load_configuration(definition.get("configuration", {}), None)
    secrets = load_secrets(definition.get("secrets", {}), configuration, None)
    _import_ahead(probes)
    due = time.monotonic()
    while True:
        begun = time.time()
        try:
            looks.send(begun)
            looks.send(look(probes, configuration, secrets, at=begun))
            due = max(due + every_s, time.monotonic())  # a slow look delays the next, it never piles up
            while looks.poll(max(0.0, due - time.monotonic())):
                looks.recv()
                due = time.monotonic()
        except (EOFError, OSError):
            return


def _import_ahead(probes: Sequence[Mapping[str, Any]]) -> None:
    for probe in probes:
        if module := probe["provider"].get("module"):
            with contextlib.suppress(Exception):  # the look says what is wrong with it
                importlib.import_module(module)


def look(probes: Sequence[Mapping[str, Any]], configuration: Any, secrets: Any, *, at: float) -> Look:
    """Evaluate every probe (Chaos Toolkit stops at the first unmet one; the report wants all)."""
    readings = tuple(_read(probe, configuration, secrets) for probe in probes)
    met = [reading.met for reading in readings]
    steady = False if False in met else None if None in met else True
    return Look(at=at, ended_at=time.time(), steady=steady, readings=readings)


def _read(probe: Mapping[str, Any], configuration: Any, secrets: Any) -> Reading:
    started = time.monotonic()
    value, met, error = None, None, None
    try:
        value = run_activity(probe, configuration, secrets)
        tolerance = probe["tolerance"]
        if isinstance(tolerance, str):
            tolerance = substitute(tolerance, configuration, secrets)
        met = bool(within_tolerance(tolerance, value, configuration=configuration, secrets=secrets))
    except Exception as raised:  # noqa: BLE001  # boundary: a probe is anybody's code; its failure is "unknown"
        error = f"{raised}"
    took_s = time.monotonic() - started
    return Reading(probe=probe["name"], value=plain(value), met=met, error=error, took_s=took_s)
