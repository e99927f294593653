"""Open-loop traffic around an experiment, from before its first look until after its last.

Under ``gameday`` the driver lives until the parent has looked for the last time, and under plain
``chaos run`` until the experiment ends; the death of either ends it.  If it cannot start, the probes
of ``probes.traffic`` say so: a control has no voice of its own.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from agent import detached
from agent import settings as settings_of
from agent.model import NoEvidence, UsageError
from agent.safety.context import current_run
from agent.traffic.plan import Plan
from agent.traffic.samples import FILE, HEADER, LOG, read
from agent.traffic.tls import untrusted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

START_WITHIN_S = 10.0
POLL_S = 0.02

_lifelines: list[int] = []


def before_experiment_control(
    context: Any,  # noqa: ARG001
    url: str,
    rate_rps: float,
    arrivals: str = "clock",
    keys: Sequence[str] | str | int | None = None,
    timeout_s: float = 5.0,
    headers: dict[str, str] | None = None,
    warm_up_s: float = 0.0,
    seed: int = 0,
    max_duration_s: float = 3600.0,
    rate_max_rps: float | None = None,
    **_: Any,
) -> None:
    """Start the driver, and return once its first answers are there and *warm_up_s* is over.

    Args:
        url: ``http://host:port/path``, or ``https://``, with the system's authorities or those in the file
            that ``SSL_CERT_FILE`` names; ``{key}`` in it takes the values of *keys*.
        rate_rps: Requests a second, whatever the answers do.
        arrivals: ``clock`` (exact spacing, keys in turn) or ``poisson`` (keys by chance).
        keys: A list, a text with commas, or a number n for the keys 0 to n-1.
        timeout_s: A request without an answer by then has failed.
        headers: Further request headers.
        warm_up_s: Seconds of traffic before the first look, so that its window is full.
        seed: Repeats the Poisson arrivals.
        max_duration_s: The driver's own hard end.
        rate_max_rps: The most that ``agent.faults.traffic.surge`` may raise the rate to; none by default,
            or with 0.

    Raises:
        UsageError: The target's certificate is not trusted.
        NoEvidence: It did not start.  (Chaos Toolkit hides both; the probes then say it.)
    """
    run = current_run()
    plan = Plan(
        url=url,
        rate_rps=rate_rps,
        arrivals=arrivals,
        keys=keys_of(keys),
        timeout_s=timeout_s,
        headers=tuple((headers or {}).items()),
        seed=seed,
        max_duration_s=max_duration_s,
        rate_max_rps=rate_max_rps or None,
    )
    if why := untrusted(plan.url):
        (run.folder / LOG).write_text(why)
        raise UsageError(why)
    _start(plan, run.folder)
    _await_answers(run.folder / FILE)
    time.sleep(warm_up_s)


def keys_of(keys: Sequence[str] | str | int | None) -> tuple[str, ...]:
    """Return the keys that are meant by a list, a text with commas, or how many there are."""
    if isinstance(keys, str):
        keys = [key.strip() for key in keys.split(",") if key.strip()]
    return tuple(map(str, range(keys) if isinstance(keys, int) else keys or ()))


def after_experiment_control(**_: Any) -> None:
    """Stop the driver, unless a parent still wants to look; then it ends with the parent's run."""
    if not current_run().parent_owned:
        stop()


def stop() -> None:
    """Let go of every driver of this process; each ends with its lifeline."""
    while _lifelines:
        os.close(_lifelines.pop())


def _start(plan: Plan, folder: Path) -> None:
    lifeline = settings_of.current().lifeline_fd
    ours, theirs = -1, lifeline
    if theirs is None:
        theirs, ours = os.pipe()
    command = [sys.executable, "-m", "agent.traffic", "--plan", json.dumps(asdict(plan))]
    with (folder / LOG).open("ab") as errors:
        command += ["--out", str(folder / FILE), "--commands", str(folder), "--lifeline-fd", str(theirs)]
        # In a session of its own: it must outlive a child that is stopped, for the last look.
        detached.start(command, stdout=errors, stderr=errors, pass_fds=[theirs])
    if lifeline is None:
        os.close(theirs)
        _lifelines.append(ours)


def _await_answers(samples: Path) -> None:
    deadline = time.monotonic() + START_WITHIN_S
    while time.monotonic() < deadline:
        if samples.exists() and samples.stat().st_size > HEADER.size and read(samples):
            return
        time.sleep(POLL_S)
    raise NoEvidence(f"the traffic did not start within {START_WITHIN_S:g} s; see {samples.with_name(LOG)}")
