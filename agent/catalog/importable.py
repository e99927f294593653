"""Run as a program: import the modules that were asked for and write down what their functions take.

Importing a module runs its code, which may print, hang, end the process or change it; so this is
never done in the process that asks (see :mod:`agent.catalog.modules`).
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import pkgutil
import sys
from typing import TYPE_CHECKING, Any

from agent.catalog.signature import signature_of

if TYPE_CHECKING:
    from types import ModuleType

FUNCTIONS_MAX = 5_000


def main() -> None:
    """Answer one request on standard input, ``{"path": [...], "modules": [...]}``, a line per module."""
    asked = json.load(sys.stdin)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")  # not inherited by what a module starts
    nothing = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(nothing, fd)
    sys.path[:] = asked["path"]
    sys.argv[:] = [""]
    for name in asked["modules"]:
        answers.write(json.dumps(facts_of(name)) + "\n")
        answers.flush()
    os._exit(0)  # a module's threads and exit functions do not get a say


def facts_of(name: str) -> dict[str, Any]:
    """Return the functions of the module *name*, or why it cannot be imported."""
    try:
        module = importlib.import_module(name)
        members = [
            *inspect.getmembers(module, inspect.isfunction),
            *inspect.getmembers(module, inspect.isbuiltin),
        ]
        functions = {key: _signature(function) for key, function in members[:FUNCTIONS_MAX]}
    except ModuleNotFoundError as error:
        return {"module": name, "error": str(error), "siblings": _siblings(name)}
    except BaseException as error:  # noqa: BLE001 - importing runs foreign code; SystemExit is an answer too
        return {"module": name, "error": f"{type(error).__name__}: {str(error)[:300]}"}
    return {"module": name, "functions": functions, **_file(module)}


def _signature(function: Any) -> dict[str, Any] | None:
    try:
        return signature_of(function)
    except Exception:  # noqa: BLE001 - foreign annotations can do anything; such a function is not checked
        return None


def _siblings(name: str) -> list[str]:
    """Return the names of the modules beside the one that is missing, for a better guess."""
    path = getattr(sys.modules.get(name.rpartition(".")[0]), "__path__", None)
    return [found.name for found in pkgutil.iter_modules(path)] if path else []


def _file(module: ModuleType) -> dict[str, Any]:
    path = getattr(module, "__file__", None)
    if path is None or not os.path.isfile(path):  # noqa: PTH113 - a str comes in and a str goes out
        return {}
    return {"file": path, "mtime_ns": os.stat(path).st_mtime_ns}  # noqa: PTH116 - as above


if __name__ == "__main__":
    main()
