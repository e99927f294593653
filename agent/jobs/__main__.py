"""The first process of a Job's pod, ``python -m agent.jobs``: light, since it is there all the time."""

from __future__ import annotations

import os
import sys

from agent.first_process import stand_in


def main() -> int:
    """Play the run in a process of its own, and stay until its reaper has healed whatever it left."""
    if os.getpid() == 1:
        stand_in()
    from agent.jobs.inside import main as play  # noqa: PLC0415  # the first process has no need of it

    return play()


if __name__ == "__main__":
    sys.exit(main())
