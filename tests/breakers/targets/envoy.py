"""Envoy before the dependency, with outlier detection.

``python envoy.py --listen HOST:PORT --dependency HOST:PORT --log FILE --program ENVOY``.  The truth is
Envoy's own event log: EJECT opens and UNEJECT closes; there is no half-open.  Its wall clock is converted
with the offset read at the start.

Differs from the other targets: an error is passed on as the dependency said it, there is no fallback, the
open time is ``open_s`` times the number of ejections so far (``max_open_s`` at most) and ends at a sweep.
Envoy's own ``update_merge_window`` of 1 s makes an ejection that closely follows its predecessor's end take
effect up to that much after it is in the event log; it is 0 here, unless ``merge_window_s`` says otherwise.

Source: envoy/config/cluster/v3/outlier_detection.proto, data/cluster/v3/outlier_detection_event.proto.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from child import Address, State, Truth, parser
from wrapped import keep

if TYPE_CHECKING:
    import argparse
    from asyncio.subprocess import Process

CLUSTER = "dependency"
LOOK_EVERY_S = 0.02
TYPES = "type.googleapis.com/envoy.extensions"
MOVES = {"EJECT": (State.CLOSED, State.OPEN), "UNEJECT": (State.OPEN, State.CLOSED)}


def configuration(options: argparse.Namespace, events: Path) -> dict[str, Any]:
    """Return Envoy's bootstrap configuration."""
    return {
        "static_resources": {
            "listeners": [{"address": _socket(options.listen), "filter_chains": [_chain(options.timeout_s)]}],
            "clusters": [_cluster(options)],
        },
        "cluster_manager": {"outlier_detection": {"event_log_path": str(events)}},
    }


def _socket(address: Address) -> dict[str, Any]:
    return {"socket_address": {"address": address.host, "port_value": address.port}}


def _chain(timeout_s: float) -> dict[str, Any]:
    to_dependency = {"cluster": CLUSTER, "prefix_rewrite": "/item", "timeout": f"{timeout_s}s"}
    host = {
        "name": "all",
        "domains": ["*"],
        "routes": [{"match": {"path": "/call"}, "route": to_dependency}],
    }
    router = {"@type": f"{TYPES}.filters.http.router.v3.Router"}
    manager = {
        "@type": f"{TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "calls",
        "preserve_external_request_id": True,
        "http_filters": [{"name": "router", "typed_config": router}],
        "route_config": {"name": "calls", "virtual_hosts": [host]},
    }
    return {"filters": [{"name": "http", "typed_config": manager}]}


def _cluster(options: argparse.Namespace) -> dict[str, Any]:
    hosts = [options.dependency, *options.spare]
    endpoints = [{"endpoint": {"address": _socket(each)}} for each in hosts]
    return {
        "name": CLUSTER,
        "type": "STATIC",
        "connect_timeout": f"{options.timeout_s}s",
        "load_assignment": {"cluster_name": CLUSTER, "endpoints": [{"lb_endpoints": endpoints}]},
        "common_lb_config": {
            "healthy_panic_threshold": {"value": options.panic_percent},
            "update_merge_window": f"{options.merge_window_s}s",
        },
        "outlier_detection": {
            "consecutive_5xx": options.threshold,
            "interval": f"{options.interval_s}s",
            "base_ejection_time": f"{options.open_s}s",
            "max_ejection_time": f"{options.max_open_s}s",
            "max_ejection_percent": options.max_ejection_percent,
        },
    }


async def follow(events: Path, truth: Truth, offset_s: float, _: Process) -> None:
    """Turn each new line of the event log into one of the truth, for ever."""
    with events.open(encoding="utf-8") as lines:
        rest = ""
        while True:
            rest += lines.read()
            *whole, rest = rest.split("\n")
            for line in whole:
                _take_in(json.loads(line), truth, offset_s)
            await asyncio.sleep(LOOK_EVERY_S)


def _take_in(event: dict[str, Any], truth: Truth, offset_s: float) -> None:
    if event["action"] == "UNEJECT" or event["enforced"]:
        at = datetime.fromisoformat(event["timestamp"]).timestamp() - offset_s
        was, to = MOVES[event["action"]]
        truth.moved(event["cluster_name"], was, to, at=at)


def main() -> None:
    """Read the options, write the configuration, run Envoy."""
    command = parser("envoy")
    command.add_argument("--log", required=True, type=Path)
    command.add_argument("--program", required=True, help="the binary")
    command.add_argument("--timeout-s", type=float, default=0.4)
    command.add_argument("--threshold", type=int, default=5, help="consecutive_5xx")
    command.add_argument("--open-s", type=float, default=2.0, help="base_ejection_time")
    command.add_argument("--max-open-s", type=float, default=300.0, help="max_ejection_time")
    command.add_argument("--interval-s", type=float, default=0.5, help="between two sweeps")
    command.add_argument("--merge-window-s", type=float, default=0.0, help="update_merge_window, see above")
    command.add_argument("--max-ejection-percent", type=int, default=100)
    command.add_argument(
        "--spare", type=Address.parse, action="append", default=[], help="another host beside the dependency"
    )
    command.add_argument("--panic-percent", type=int, default=0, help="healthy_panic_threshold")
    options = command.parse_args()
    folder = options.log.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    events, written = folder / "events.jsonl", folder / "envoy.json"
    events.touch()
    written.write_text(json.dumps(configuration(options, events), indent=1))
    watch = partial(follow, events, Truth(options.log), time.time() - time.monotonic())
    at_once = ["--file-flush-interval-msec", "10"]  # 10 s unless told
    quiet = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]
    run = [options.program, "-c", str(written), *at_once, *quiet]
    sys.exit(asyncio.run(keep(run, watch, piped=False)))


if __name__ == "__main__":
    main()
