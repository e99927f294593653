"""HAProxy before several processes of a service: leads calls to them in turn, or by lot; checks nothing.

``python balancer.py --listen HOST:PORT --server HOST:PORT --server HOST:PORT --log FILE``.  It has no states.

Source: HAProxy's configuration manual, ``balance roundrobin`` and ``balance random``.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from child import parser
from wrapped import keep

if TYPE_CHECKING:
    from asyncio.subprocess import Process

CONFIGURATION = """
global
    nbthread 1
defaults
    mode http
    timeout connect 1s
    timeout server 30s
    timeout client 60s
    retries 0
frontend calls
    bind {listen}
    default_backend replicas
backend replicas
    balance {balance}
{servers}
"""


async def watch(process: Process) -> None:
    """There is nothing to follow."""
    await process.wait()


def main() -> None:
    """Read the options, write the configuration, run HAProxy."""
    command = parser("balancer")
    command.add_argument("--log", required=True, type=Path, help="beside which its configuration goes")
    command.add_argument("--program", default="/usr/sbin/haproxy")
    command.add_argument("--server", action="append", required=True, metavar="HOST:PORT")
    command.add_argument("--balance", choices=["roundrobin", "random"], default="roundrobin")
    options = command.parse_args()
    servers = "\n".join(f"    server s{n} {each}" for n, each in enumerate(options.server))
    written = options.log.with_suffix(".cfg").resolve()
    written.write_text(CONFIGURATION.format(listen=options.listen, balance=options.balance, servers=servers))
    sys.exit(asyncio.run(keep([options.program, "-db", "-f", str(written)], watch, piped=False)))


if __name__ == "__main__":
    main()
