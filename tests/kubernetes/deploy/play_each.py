"""Calls one fault as each of several accounts, and prints a line for what each was told."""

from __future__ import annotations

import importlib
import json
import os
import sys

from agent import settings
from agent.faults import heal
from agent.log import configure
from agent.model import GamedayError


def main() -> None:
    """``play_each.py MODULE:NAME ARGUMENTS KUBECONFIG…``; what lands is healed."""
    configure(settings.current())
    module, _, name = sys.argv[1].partition(":")
    fault = getattr(importlib.import_module(module), name)
    for kubeconfig in sys.argv[3:]:
        os.environ["KUBECONFIG"] = kubeconfig
        try:
            told = fault(**json.loads(sys.argv[2]))
            told = {**told, **heal()}
        except GamedayError as error:
            told = {"error": type(error).__name__, "says": str(error)}
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
