"""Live commands to the driver of a run, from another process of the same run that knows its folder.

Lowering the rate, a pause (rate 0), an earlier timeout and another mix of requests do no harm and are
plain calls.  A raised rate does: it is a fault, ``agent.faults.traffic.surge``, which alone calls
:func:`begin_surge`.  Whatever was asked for ends with the run.
"""

from __future__ import annotations

import json
import socket
import tempfile
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.model import GamedayError, UsageError
from agent.traffic.offers import Offer, parse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.traffic.offers import Mix

SOCKET = "traffic.sock"
TIMEOUT_S = 3.0
PATH_MAX_BYTES = 100
"""A little less than ``sun_path`` holds (unix(7): 108 bytes; 104 on macOS)."""


class TrafficUnreachable(GamedayError):
    """The traffic's driver does not answer; a surge ends with its lease."""


class TrafficGone(TrafficUnreachable):
    """No driver runs for this run; what it was told ended with it."""


def change(
    folder: Path,
    *,
    rate_rps: float | None = None,
    timeout_s: float | None = None,
    mix: Mix | None = None,
    for_s: float | None = None,
) -> Offer:
    """Have the traffic of the run in *folder* follow the plan but for what is given here; return the offer.

    A call replaces what an earlier one asked for; without arguments the plan is back, and a surge over.

    Args:
        folder: The run's folder.
        rate_rps: From 0 (a pause) to the plan's.
        timeout_s: Of requests that leave from then on; at most the plan's.
        mix: A share of the requests with another path or further headers.
        for_s: The plan is back after this long, > 0; else at the end of the run.

    Raises:
        UsageError: Out of range; nothing was changed.
        TrafficUnreachable: The driver does not answer.
    """
    fields = {"rate_rps": rate_rps, "timeout_s": timeout_s, "for_s": for_s}
    return parse(_call(folder, do="change", mix=None if mix is None else asdict(mix), **fields)["offer"])


def status(folder: Path) -> dict[str, Any]:
    """Return what the driver offers.

    ``now`` (CLOCK_MONOTONIC, s), ``sent``, ``offer``, ``surge`` (or None), ``plan_rate_rps``,
    ``rate_max_rps``, ``url``.
    """
    return _call(folder, do="status")


def begin_surge(
    folder: Path, *, name: str, rate_rps: float, lease_s: float, max_duration_s: float
) -> dict[str, Any]:
    """Raise the rate above the plan's; it falls back when the lease is not renewed.

    Raises:
        UsageError: Above the ``rate_max_rps`` that the traffic was started with; nothing was changed.
        TrafficUnreachable: The driver does not answer.
    """
    return _call(
        folder, do="surge", name=name, rate_rps=rate_rps, lease_s=lease_s, max_duration_s=max_duration_s
    )


def renew_surge(folder: Path, *, name: str, lease_s: float) -> None:
    """Extend the lease of the surge *name*; one that ended is left alone."""
    _call(folder, do="renew", name=name, lease_s=lease_s)


def end_surge(folder: Path, *, name: str) -> dict[str, Any] | None:
    """Go back to the plan if the surge *name* is in, and return its dose, else None."""
    dose: dict[str, Any] | None = _call(folder, do="end", name=name)["dose"]
    return dose


def _call(folder: Path, **command: Any) -> dict[str, Any]:
    try:
        with reachable(folder) as path, socket.socket(socket.AF_UNIX) as channel:
            channel.settimeout(TIMEOUT_S)
            channel.connect(path)
            channel.sendall(json.dumps(command).encode() + b"\n")
            with channel.makefile("rb") as answers:
                said = answers.readline(1 << 20)
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise TrafficGone(f"no traffic runs for {folder.name}") from error
    except OSError as error:
        raise TrafficUnreachable(f"the traffic of {folder.name} does not answer: {error}") from error
    if not said:
        raise TrafficGone(f"the traffic of {folder.name} has just ended")
    answer: dict[str, Any] = json.loads(said)
    if "error" in answer:
        raise UsageError(f"the traffic of {folder.name}: {answer['error']}")
    return answer


@contextmanager
def reachable(folder: Path) -> Iterator[str]:
    """Name the socket of *folder* by a path that is short enough to be bound and connected to."""
    direct = str(folder / SOCKET)
    if len(direct.encode()) <= PATH_MAX_BYTES:
        yield direct
        return
    with tempfile.TemporaryDirectory(prefix="gameday-") as near:
        link = Path(near) / "run"
        link.symlink_to(folder, target_is_directory=True)
        yield str(link / SOCKET)
