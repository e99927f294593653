"""Calls one fault as an experiment would, prints what came of it, and heals when it is told to."""

from __future__ import annotations

import importlib
import json
import sys

from agent import settings
from agent.faults import heal
from agent.log import configure
from agent.model import GamedayError


def main() -> None:
    """Inject, say so, wait for a line (or the end) on stdin, heal, say so."""
    configure(settings.current())
    module, _, name = sys.argv[1].partition(":")
    arguments = json.loads(sys.argv[2])
    try:
        _say(getattr(importlib.import_module(module), name)(**arguments))
        sys.stdin.readline()
        _say(heal())
    except GamedayError as error:
        _say({"error": type(error).__name__, "says": str(error)})


def _say(what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
