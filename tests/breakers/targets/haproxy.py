"""HAProxy before the dependency: calls observed passively, and an active check that marks it up again.

``python haproxy.py --listen HOST:PORT --dependency HOST:PORT --log FILE``.  ``observe layer7`` takes the
server down after so many answers 5xx in a row (``on-error mark-down``); only the active check of ``/health``,
over the same address, brings it back, whatever becomes of the calls.  The truth is its own log of a server
that is DOWN or UP; the moment is the one at which the line comes out of the pipe.

Source: HAProxy's configuration manual, ``observe``, ``on-error``, ``error-limit``, ``option httpchk``.
"""

from __future__ import annotations

import asyncio
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from child import State, Truth, parser
from wrapped import keep

if TYPE_CHECKING:
    import argparse
    from asyncio.subprocess import Process

BREAKER = "dependency"
CONFIGURATION = """
global
    log stdout format raw local0 notice
defaults
    mode http
    log global
    timeout connect {timeout_ms}ms
    timeout server {timeout_ms}ms
    timeout client 60s
    retries 0
frontend calls
    bind {listen}
    http-request set-path /item
    default_backend dependency
backend dependency
    option httpchk GET /health
    http-check expect status 200
    default-server inter {inter_ms}ms rise 2 fall 3 observe layer7 error-limit {threshold} on-error mark-down
    server one {dependency} check
"""


def configuration(options: argparse.Namespace) -> str:
    """Return the text of haproxy.cfg."""
    return CONFIGURATION.format(
        listen=options.listen,
        dependency=options.dependency,
        timeout_ms=round(options.timeout_s * 1000),
        inter_ms=round(options.open_s * 500),
        threshold=options.threshold,
    )


async def follow(truth: Truth, process: Process) -> None:
    """Turn what it says about its server into the truth, until it ends."""
    assert process.stdout
    state = State.CLOSED
    async for raw in process.stdout:
        line = raw.decode(errors="replace")
        to = State.OPEN if " is DOWN" in line else State.CLOSED if " is UP" in line else state
        if line.startswith("Server") and to is not state:
            truth.moved(BREAKER, state, to, at=time.monotonic())
            state = to


def main() -> None:
    """Read the options, write the configuration, run HAProxy."""
    command = parser("haproxy")
    command.add_argument("--log", required=True, type=Path)
    command.add_argument("--program", default="/usr/sbin/haproxy")
    command.add_argument("--timeout-s", type=float, default=0.4)
    command.add_argument("--threshold", type=int, default=5, help="error-limit")
    command.add_argument("--open-s", type=float, default=2.0, help="twice the time between two checks")
    options = command.parse_args()
    folder = options.log.with_suffix("").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    written = folder / "haproxy.cfg"
    written.write_text(configuration(options))
    run = [options.program, "-db", "-f", str(written)]
    sys.exit(asyncio.run(keep(run, partial(follow, Truth(options.log)), piped=True)))


if __name__ == "__main__":
    main()
