"""Keeps a Kubernetes up until Ctrl-C: ``python tests/cluster/up.py`` prints where its kubeconfig is."""

from __future__ import annotations

import argparse
import json
import os
import select
import signal
import sys
import time
from typing import TYPE_CHECKING

import agent_image
import build
import images
import kwok
import load
import start

if TYPE_CHECKING:
    from pathlib import Path

    from start import Nodes

UNABLE = 3
"""The exit code when something is missing on this machine, so that tests can be skipped by name."""


def main() -> int:
    """Build what is missing, start, wait, take down; return the exit code."""
    parser = argparse.ArgumentParser(prog="up.py", description=__doc__)
    parser.add_argument(
        "--kind", choices=["real", "kwok"], default="real", help="nodes that run pods, or only say so"
    )
    parser.add_argument("--nodes", type=int, default=2, help="how many; 1 to 9 if they are real (2)")
    parser.add_argument("--no-agent", action="store_true", help="without the project's own image")
    parser.add_argument("--build-only", action="store_true", help="only build what is missing")
    parser.add_argument("--until-stdin-ends", action="store_true", help="end with the pipe on standard input")
    parser.add_argument("--json", action="store_true", help="print where kubectl is too, as JSON")
    options = parser.parse_args()
    for name in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(name, _stop)
    try:
        program = build.cluster_binary()
        nodes = _nodes(options)
        if not options.build_only:
            return _keep(options, program, nodes)
    except build.Failed as error:
        sys.stderr.write(f"cluster: {error}\n")
        return UNABLE if isinstance(error, build.Unable) else 1
    except KeyboardInterrupt:
        pass
    return 0


def _nodes(options: argparse.Namespace) -> Nodes:
    if options.kind == "kwok":
        return start.Nodes(fake=options.nodes, kwok=kwok.kwok())
    archives = images.scratch_images()
    if not options.no_agent:
        archives.append(agent_image.agent_image())
    return start.Nodes(real=options.nodes, images=load.loaded(archives, pause=images.PAUSE))


def _keep(options: argparse.Namespace, program: Path, nodes: Nodes) -> int:
    began = time.monotonic()
    with start.start(program=program, nodes=nodes) as cluster:
        build.say(f"up after {time.monotonic() - began:.1f} s; logs in {cluster.folder}/logs")
        facts = {"kubeconfig": str(cluster.kubeconfig), "program": str(program)}
        sys.stdout.write(f"{json.dumps(facts) if options.json else cluster.kubeconfig}\n")
        sys.stdout.flush()
        watched = [cluster.process.stdout, *([sys.stdin] if options.until_stdin_ends else [])]
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
