"""Sets a service's wall clock ahead or back, by a command of the operator's that knows how.

Nothing here sets a clock by itself: where a service has a clock of its own (libfaketime, a virtual machine)
differs from place to place.  What is here is that it is set right again.
"""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
import time
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from agent import detached
from agent.model import Call, Fact, GamedayError, UsageError
from agent.safety.context import current_run
from agent.safety.door import inject

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agent.model import Json

OFFSET = "{offset_s}"
STEP_MIN_S = 5.0
GRAIN_S = 2.5
"""A Date header has whole seconds, and servers make one a second."""
COMMAND_S = 15.0
READ_S = 5.0
LAND_WITHIN_S = 5.0
POLL_S = 0.1
OWN_S = 1.0
"""A clock that is set for more than this was set, and did not merely run."""


class ClockError(GamedayError):
    """The command that sets or reads a clock did not do it; the clock may be wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """A service's wall clock: how it is set, and how it is read.

    ``command`` sets it so many seconds ahead of true time; ``reading`` prints it, in seconds since the
    epoch; where that is empty the Date of the answers at ``url`` is taken.
    """

    command: Sequence[str]
    reading: Sequence[str] = ()
    url: str = ""


def step(
    *,
    by_s: float,
    command: Sequence[str],
    reading: Sequence[str] = (),
    url: str = "",
    max_duration_s: float = 60.0,
) -> dict[str, Json]:
    """Set a service's wall clock *by_s* ahead of true time; its monotonic clock is none of our business.

    Args:
        by_s: How far ahead, or back where negative; by five seconds at least, or it could not be seen.
        command: Argument list that sets the clock ``{offset_s}`` seconds ahead of true time, such as ``+30``,
            ``-30``, and ``+0`` to set it right; the same again must change nothing.  No shell is involved.
        reading: Argument list that prints the service's clock, in seconds since the epoch.
        url: Where answers carry its Date, if there is no *reading*; it is asked by OPTIONS.
        max_duration_s: The clock is set right after this, whatever happens, > 0.

    Returns:
        ``{"victims": ["clock of http://..."], "landed": true, "dose": {"measured": {"by_s": 30.1}}}``

    Raises:
        UsageError: Too small a step, no ``{offset_s}``, or nothing to read the clock by.  Nothing was set.
        ClockError: The clock cannot be read, and was not set; or the command failed, and it was set right.
        DidNotLand: The clock did not move, or this host's own did too; it was set right.

    Undo:
        Runs *command* with ``+0``, once a run of it that is under way has ended; harmless where it is right.

    Dead man:
        The reaper; and a timer process of its own session that sets it right after *max_duration_s*.

    Source:
        RFC 9110, section 6.6.1: a server with a clock sends a Date.
    """
    _check(by_s, command, reading, url)
    clock = Clock(command=tuple(command), reading=tuple(reading), url=url)
    mark = current_run().folder / f"clock-{uuid.uuid4().hex}"
    before = _ahead_s(clock)
    read: dict[str, Json] = {"reading": list(reading), "url": url, "before_s": before}
    right: dict[str, Json] = {"command": list(command), "mark": str(mark)}

    def apply() -> None:
        with _alone(mark) as held:
            detached.start([sys.executable, "-c", _TIMER, json.dumps(right), str(max_duration_s)])
            _run(_filled(command, by_s), pass_fds=(held,))

    return inject(
        fault="clocks.step",
        victims=[f"clock of {url or ' '.join(reading)}"],
        population=1,
        apply=apply,
        undo=Call(func=f"{__name__}:set_right", arguments=right),
        landed_check=Call(
            func=f"{__name__}:is_set", arguments={**read, "by_s": by_s, "own_ahead_s": _own_ahead_s()}
        ),
        gone_check=Call(func=f"{__name__}:is_right", arguments=read),
        max_duration_s=max_duration_s,
        asked={"by_s": by_s},
    )


def _check(by_s: float, command: Sequence[str], reading: Sequence[str], url: str) -> None:
    if abs(by_s) < STEP_MIN_S:
        raise UsageError(f"a clock is set by {STEP_MIN_S:g} s at least, or nobody could see it; not {by_s:g}")
    if isinstance(command, str) or not any(OFFSET in word for word in command):
        raise UsageError(f"the command that sets the clock is a list of arguments, with {OFFSET} in one")
    if not reading and not url:
        raise UsageError("give a command that reads the clock, or a URL where answers have its Date")


# undo and checks: what the ledger names


def set_right(*, command: list[str], mark: str) -> None:
    """Undo: set the clock to true time, after a command that is still under way."""
    with _alone(Path(mark)) as held:
        _run(_filled(command, 0.0), pass_fds=(held,))
    Path(mark).unlink(missing_ok=True)


def is_set(*, reading: list[str], url: str, before_s: float, by_s: float, own_ahead_s: float) -> Fact:
    """Tell whether the service's clock has moved by what was asked for, and this host's own has not."""
    clock = Clock(command=(), reading=reading, url=url)
    deadline = time.monotonic() + LAND_WITHIN_S
    while True:
        if abs(_own_ahead_s() - own_ahead_s) > OWN_S:
            return Fact(
                holds=False,
                says="the command set the clock of this host, too, by which leases and records go; give the "
                "service a clock of its own",
            )
        moved = _ahead_s(clock) - before_s
        measured: dict[str, Json] = {"by_s": round(moved, 1)}
        if abs(moved - by_s) <= GRAIN_S:
            return Fact(holds=True, measured=measured)
        if time.monotonic() > deadline:
            says = f"the clock moved by {moved:.1f} s, not {by_s:g}"
            return Fact(holds=False, says=says, measured=measured)
        time.sleep(POLL_S)


def is_right(*, reading: list[str], url: str, before_s: float) -> Fact:
    """Tell whether the service's clock is where it was before."""
    clock = Clock(command=(), reading=reading, url=url)
    deadline = time.monotonic() + LAND_WITHIN_S
    while abs(moved := _ahead_s(clock) - before_s) > GRAIN_S:
        if time.monotonic() > deadline:
            return Fact(holds=False, says=f"the clock is still {moved:+.1f} s from where it was")
        time.sleep(POLL_S)
    return Fact(holds=True)


def _ahead_s(clock: Clock) -> float:
    """Return how far the service's clock is ahead of this host's."""
    return (_printed(clock.reading) if clock.reading else _date(clock.url)) - time.time()


def _own_ahead_s() -> float:
    return time.time() - time.monotonic()


def _printed(command: Sequence[str]) -> float:
    said = _run(command, within_s=READ_S).split()
    try:
        return float(said[-1])
    except (IndexError, ValueError):
        raise ClockError(f"{' '.join(command)} printed no seconds since the epoch: {said!r}") from None


def _date(url: str) -> float:
    try:
        told = httpx.options(url, timeout=READ_S).headers.get("date", "")
        return parsedate_to_datetime(told).timestamp()
    except httpx.HTTPError as error:
        raise ClockError(f"the clock cannot be read: {url}: {type(error).__name__}: {error}") from error
    except ValueError:
        raise ClockError(f"answers at {url} carry no Date: give a command that reads the clock") from None


def _filled(command: Sequence[str], by_s: float) -> list[str]:
    return [word.replace(OFFSET, f"{by_s:+g}") for word in command]


def _run(command: Sequence[str], *, within_s: float = COMMAND_S, pass_fds: Sequence[int] = ()) -> str:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=within_s,
            check=False,
            pass_fds=pass_fds,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ClockError(f"{' '.join(command)}: {error}") from error
    if done.returncode:
        raise ClockError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr.strip()[-300:]}")
    return done.stdout


@contextmanager
def _alone(mark: Path) -> Iterator[int]:
    """Hold *mark*; the command inherits it, so that it stays held when only the agent is dead.

    Raises:
        ClockError: A command is under way for longer than one may take.
    """
    deadline = time.monotonic() + COMMAND_S
    mark.parent.mkdir(parents=True, exist_ok=True)
    with mark.open("w") as held:
        while True:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise ClockError("an earlier command that sets the clock has not ended yet") from None
                time.sleep(POLL_S / 5)
        try:
            yield held.fileno()
        finally:
            fcntl.flock(held, fcntl.LOCK_UN)


_TIMER = """
import json, sys, time
from pathlib import Path
right, s = json.loads(sys.argv[1]), float(sys.argv[2])
time.sleep(s)
if Path(right["mark"]).exists():
    from agent.faults.clocks import set_right
    set_right(**right)
"""
