"""``python -m agent.restorer``: one order from the environment, then silence is watched for."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading

from agent import log as log_of
from agent.model import GamedayError
from agent.restorer.orders import ORDER, Order
from agent.restorer.watch import guard
from agent.settings import Settings


def main() -> int:
    """Guard until the order is done or this pod has to go; return the exit code."""
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    order = Order.from_json(json.loads(os.environ.pop(ORDER)))  # no setting of the agent's
    log_of.configure(Settings())
    try:
        return guard(order, pod=os.uname().nodename, stopped=stopped)
    except GamedayError as error:
        sys.stderr.write(f"{error}\n")  # the kubelet keeps it, as the pod's last words
        return 1


if __name__ == "__main__":
    sys.exit(main())
