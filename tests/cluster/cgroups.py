"""The cgroups that one cluster's pods are in: made before it, gone after it."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path


def mounted(*kinds: str) -> list[Path]:
    """Return where cgroups of these *kinds* are: ``cgroup`` is version 1, ``cgroup2`` version 2."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    return [Path(mount[1]) for mount in mounts if mount[2] in kinds]


def make(name: str) -> None:
    """Make cgroup *name*, such as ``cluster/node-1``, in every hierarchy.

    Version 1 has sets of processors and memory nodes that are empty in a new cgroup; nothing could run there.
    """
    for top in mounted("cgroup") or mounted("cgroup2"):
        above = top
        for part in Path(name).parts:
            here = above / part
            here.mkdir(exist_ok=True)
            for file in ("cpuset.cpus", "cpuset.mems"):
                if (here / "cgroup.clone_children").exists() and (here / file).exists():
                    (here / file).write_text((above / file).read_text())
            if (controllers := above / "cgroup.controllers").exists():
                wanted = " ".join(f"+{c}" for c in controllers.read_text().split())
                (above / "cgroup.subtree_control").write_text(wanted)
            above = here


def remove(name: str, *, within_s: float = 5.0) -> bool:
    """Remove cgroup *name* with all below it; False if some are still there after *within_s*.

    A process that was killed leaves its cgroup a little later than it leaves everything else.
    """
    deadline = time.monotonic() + within_s
    while not _removed(name):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _removed(name: str) -> bool:
    left = False
    for top in mounted("cgroup", "cgroup2"):  # runc uses both where there are both
        tree = [here for here, *_ in (top / name).walk(top_down=False)]
        for here in tree:
            with contextlib.suppress(OSError):
                here.rmdir()
        left = left or (top / name).exists()
    return not left
