"""``python -m agent.proxy``: the fault proxy, a process of its own."""

from __future__ import annotations

import argparse
import gc
import sys
from pathlib import Path

import uvloop

from agent.proxy.serve import Options, serve


def main() -> int:
    """Parse the command line and carry bytes until told to stop."""
    parser = argparse.ArgumentParser(prog="agent.proxy")
    parser.add_argument("--home", required=True, type=Path, help="where proxy.json and the arrivals go")
    parser.add_argument("--api", default="127.0.0.1:0", help="host:port or unix:/path")
    parser.add_argument("--link", action="append", default=[], metavar="NAME=LISTEN->UPSTREAM")
    parser.add_argument("--lifeline-fd", type=int, help="the proxy ends when this pipe ends")
    raw = parser.parse_args()
    links = []
    for text in raw.link:
        name, _, rest = text.partition("=")
        listen, arrow, upstream = rest.partition("->")
        if not (name and arrow):
            parser.error(f"--link {text!r}: write NAME=LISTEN->UPSTREAM")
        links.append((name, listen, upstream))
    options = Options(home=raw.home, api=raw.api, links=tuple(links), lifeline_fd=raw.lifeline_fd)
    gc.collect()
    gc.freeze()  # what is imported stays: to look through it again takes milliseconds, while requests wait
    uvloop.run(serve(options))
    return 0


if __name__ == "__main__":
    sys.exit(main())
