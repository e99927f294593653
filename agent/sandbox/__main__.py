"""``python -m agent.sandbox``: the supervisor, a process of its own."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from agent.model import GamedayError
from agent.sandbox.supervisor import Supervisor


def main() -> int:
    """Run until told to stop."""
    parser = argparse.ArgumentParser(prog="agent.sandbox")
    parser.add_argument("--home", required=True, type=Path)
    parser.add_argument("--gateway-timeout-s", type=float, default=0.2)
    parser.add_argument("--lifeline-fd", type=int, help="the sandbox ends when this pipe ends")
    options = parser.parse_args()
    try:
        Supervisor(
            home=options.home,
            gateway_timeout_s=options.gateway_timeout_s,
            lifeline_fd=options.lifeline_fd,
        ).run()
    except GamedayError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
