"""Keeps a Kubernetes up until Ctrl-C: ``python tests/cluster/up.py`` prints where its kubeconfig is."""

from __future__ import annotations

import argparse
import os
import select
import signal
import sys
import time
from typing import TYPE_CHECKING

import build
import images
import start

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def main() -> int:
    """Build what is missing, start, wait, take down; return the exit code."""
    parser = argparse.ArgumentParser(prog="up.py", description=__doc__)
    parser.add_argument("--nodes", type=int, default=2, help="real nodes, 1 to 9 (2)")
    parser.add_argument("--build-only", action="store_true", help="only build what is missing")
    parser.add_argument("--until-stdin-ends", action="store_true", help="end with the pipe on standard input")
    options = parser.parse_args()
    for name in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(name, _stop)
    try:
        program, archives = build.cluster_binary(), images.scratch_images()
        if not options.build_only:
            return _keep(program, archives, nodes=options.nodes, until_stdin_ends=options.until_stdin_ends)
    except build.Failed as error:
        sys.stderr.write(f"cluster: {error}\n")
        return 1
    except KeyboardInterrupt:
        pass
    return 0


def _keep(program: Path, archives: Sequence[Path], *, nodes: int, until_stdin_ends: bool) -> int:
    began = time.monotonic()
    with start.start(program=program, nodes=nodes, images=archives, pause=images.PAUSE) as cluster:
        build.say(f"up after {time.monotonic() - began:.1f} s; logs in {cluster.folder}/logs")
        sys.stdout.write(f"{cluster.kubeconfig}\n")
        sys.stdout.flush()
        watched = [cluster.process.stdout, *([sys.stdin] if until_stdin_ends else [])]
        ended, _, _ = select.select(watched, [], [])
        if cluster.process.stdout in ended:
            build.say(f"the cluster ended: {cluster.wait()}")
            return 1
    return 0


def _stop(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    os.nice(5)
    raise SystemExit(main())
