"""nginx before the dependency: two passively checked upstream servers, which both lead to it.

``python nginx.py --listen HOST:PORT --dependency HOST:PORT --log FILE``.  nginx has no record of its states;
this one is put together from its two logs.  The line "upstream server temporarily disabled" of the error log
carries whole seconds only, so the moment it comes out of the pipe is taken.  The end of being disabled is not
logged at all: the access log tells of attempts at a disabled server, which are its trials, to a millisecond.
What is written is the state of ``server-1``, of ``server-2``, and of ``upstream``: open while both are
disabled.  An answer 5xx from the last server there is to try does not count as a failure, and even ends that
server's being disabled, so ``upstream`` closes now and then for as many calls as it takes to open it again.

Differs from the other targets: rejections are 502, an error is passed on as the dependency said it, there is
no fallback, and the open time is whole seconds and up to a second longer.

Source: ngx_http_upstream_module, ngx_http_proxy_module.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from child import Address, State, Truth, parser
from wrapped import keep

if TYPE_CHECKING:
    import argparse
    from asyncio.subprocess import Process

UPSTREAM = "upstream"
CONFIGURATION = """
daemon off;
master_process off;
env FAKETIME_TIMESTAMP_FILE;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 8192; }}
http {{
    log_format attempts escape=json '{{"ended": $msec, "took": $request_time, "servers": "$upstream_addr",'
        ' "statuses": "$upstream_status", "times": "$upstream_response_time",'
        ' "heads": "$upstream_header_time"}}';
    access_log /dev/stdout attempts;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests 1000000;
    upstream {upstream} {{
{servers}
        keepalive 64;
    }}
    server {{
        listen {listen} backlog=1024;
        location = /call {{
            proxy_pass http://{upstream}/item;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_connect_timeout {timeout_ms}ms;
            proxy_read_timeout {timeout_ms}ms;
            proxy_next_upstream {next_upstream};
        }}
    }}
}}
"""


def names_of(dependency: Address, count: int) -> dict[str, str]:
    """Return address -> name; the second one is the first in IPv6's notation, so that the logs differ."""
    both = {str(dependency): "server-1", f"[::ffff:{dependency.host}]:{dependency.port}": "server-2"}
    return dict(list(both.items())[:count])


def configuration(options: argparse.Namespace, folder: Path) -> str:
    """Return the text of nginx.conf."""
    rule = f"max_fails={options.threshold} fail_timeout={max(1, round(options.open_s))}s"
    servers = [f"        server {each} {rule};" for each in names_of(options.dependency, options.servers)]
    return CONFIGURATION.format(
        folder=folder,
        upstream=UPSTREAM,
        servers="\n".join(servers),
        listen=options.listen,
        timeout_ms=round(options.timeout_s * 1000),
        next_upstream=options.next_upstream,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One request to one server, as the access log tells it; times are CLOCK_MONOTONIC seconds."""

    server: str
    began: float
    ended: float
    good: bool
    """As nginx sees it: an answer that was passed on is good, whatever it says."""


def attempts(line: dict[str, Any], offset_s: float) -> list[Attempt]:
    """Return what one request came to; *offset_s* is what the wall clock is ahead of the monotonic one."""
    began = line["ended"] - line["took"] - offset_s
    found = []
    columns = [line[each].split(", ") for each in ("servers", "statuses", "times", "heads")]
    last = len(columns[0]) - 1
    for n, (server, status, took, head) in enumerate(zip(*columns, strict=True)):
        ended = began + (0.0 if took == "-" else float(took))
        passed_on = n == last and head != "-"
        good = passed_on or (status.isdecimal() and int(status) < 500)
        found.append(Attempt(server=server, began=began, ended=ended, good=good))
        began = ended
    return found


@dataclass(slots=True, kw_only=True)
class Chronicle:
    """Puts the states together from what the logs say."""

    names: dict[str, str]
    truth: Truth
    offset_s: float
    _states: dict[str, State] = field(default_factory=dict)
    _opened: dict[str, float] = field(default_factory=dict)

    def disabled(self, line: str) -> None:
        """Take in a line of the error log that says a server is disabled."""
        server = line.partition('upstream: "http://')[2].partition("/")[0]
        name = self.names.get(server)
        if name and self._state(name) is State.CLOSED:
            self._move(name, State.OPEN, time.monotonic())
            if all(self._state(each) is State.OPEN for each in self.names.values()):
                self._move(UPSTREAM, State.OPEN, time.monotonic())

    def asked(self, line: str) -> None:
        """Take in a line of the access log."""
        trials = []
        for each in attempts(json.loads(line), self.offset_s):
            name = self.names.get(each.server)
            if name and self._state(name) is State.OPEN and each.began > self._opened[name]:
                self._tried(name, each)
                trials.append(each)
        if trials and self._state(UPSTREAM) is State.OPEN:
            last = Attempt(
                server=UPSTREAM,
                began=trials[0].began,
                ended=trials[-1].ended,
                good=any(each.good for each in trials),
            )
            self._tried(UPSTREAM, last)

    def _tried(self, name: str, trial: Attempt) -> None:
        if trial.began > self._opened[name]:
            self._move(name, State.HALF_OPEN, trial.began)
        elif not trial.good:
            return  # another server's trial, under way at the same time, has failed already
        self._move(name, State.CLOSED if trial.good else State.OPEN, trial.ended)

    def _state(self, name: str) -> State:
        return self._states.get(name, State.CLOSED)

    def _move(self, name: str, to: State, at: float) -> None:
        self.truth.moved(name, self._state(name), to, at=at)
        self._states[name] = to
        if to is State.OPEN:
            self._opened[name] = at


async def follow(chronicle: Chronicle, process: Process) -> None:
    """Read both logs until they end."""

    async def errors() -> None:
        assert process.stderr
        async for raw in process.stderr:
            line = raw.decode(errors="replace")
            if "temporarily disabled" in line:
                chronicle.disabled(line)
            elif "[emerg]" in line or "[alert]" in line:
                sys.stderr.write(line)

    async def requests() -> None:
        assert process.stdout
        async for raw in process.stdout:
            chronicle.asked(raw.decode())

    await asyncio.gather(errors(), requests())


def main() -> None:
    """Read the options, write the configuration, run nginx."""
    command = parser("nginx")
    command.add_argument("--log", required=True, type=Path)
    command.add_argument("--program", default="/usr/sbin/nginx")
    command.add_argument("--timeout-s", type=float, default=0.4)
    command.add_argument("--threshold", type=int, default=5, help="max_fails")
    command.add_argument("--open-s", type=float, default=2.0, help="fail_timeout, rounded to whole seconds")
    command.add_argument(
        "--servers", type=int, choices=[1, 2], default=2, help="a single one is never disabled"
    )
    command.add_argument("--next-upstream", default="error timeout http_500 http_502 http_503")
    options = command.parse_args()
    folder = options.log.with_suffix("").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    written = folder / "nginx.conf"
    written.write_text(configuration(options, folder))
    chronicle = Chronicle(
        names=names_of(options.dependency, options.servers),
        truth=Truth(options.log),
        offset_s=time.time() - time.monotonic(),
    )
    run = [options.program, "-p", str(folder), "-e", "stderr", "-c", str(written)]
    sys.exit(asyncio.run(keep(run, partial(follow, chronicle), piped=True)))


if __name__ == "__main__":
    main()
